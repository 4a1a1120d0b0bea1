"""All dashboards, in the order in which they link to each other."""

from __future__ import annotations

from dashboards.jobs import JOBS
from dashboards.model import MODEL
from dashboards.overview import OVERVIEW
from dashboards.pod import POD
from dashboards.scaling import SCALING
from dashboards.slo import SLO
from dashboards.tenant import TENANT
from dashboards.traffic import TRAFFIC

BOARDS = [OVERVIEW, MODEL, TRAFFIC, POD, TENANT, SCALING, JOBS, SLO]
