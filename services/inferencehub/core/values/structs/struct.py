"""`Struct` and its codec, which are msgspec's.

What the process of a Python model imports takes them from here, because `standard.py` stands in for this module where the
interpreter of a model's own environment runs that process. Everything else imports msgspec.
"""

from __future__ import annotations

from msgspec import MsgspecError, Struct
from msgspec.msgpack import Decoder, Encoder
from msgspec.structs import replace

__all__ = ["Decoder", "Encoder", "MsgspecError", "Struct", "replace"]
