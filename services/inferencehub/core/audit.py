"""The audit log: who was refused, who changed settings, and which files of keys and certificates came into use."""

from __future__ import annotations

import logging

logger = logging.getLogger("inferencehub.audit")
