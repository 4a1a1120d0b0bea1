"""Boosted trees from a file: LightGBM's and XGBoost's own formats, which hold no code.

Each instance is a process, though both libraries release the GIL: LightGBM 4.7 ends its process when it loads a file that
was cut off after its first 900 bytes, and that must not be the pod. The environment of the process bounds the threads of
both libraries to the instance's share of the pod's cores.
"""

from __future__ import annotations

from inferencehub.inference.runtimes.from_file import FromFile


class LightGbm(FromFile):
    """`source.instances` processes with a booster of LightGBM each."""

    reader = "inferencehub.inference.runtimes.boosters.lightgbm"
    library = "lightgbm"


class XgBoost(FromFile):
    """`source.instances` processes with a booster of XGBoost each."""

    reader = "inferencehub.inference.runtimes.boosters.xgboost"
    library = "xgboost"
