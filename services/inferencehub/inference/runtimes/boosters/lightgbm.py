"""A booster of LightGBM out of `model.txt`, which `Booster.save_model` writes."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np

from inferencehub.inference.runtimes.boosters.model import Array, Boosted, unreadable
from inferencehub.inference.runtimes.python.channel import Load

OBJECTIVE = "objective="


class Model(Boosted):
    """See `Boosted`.

    Raises:
        HubError: MODEL_FAILED if LightGBM does not read the file; BAD_INPUT as in `Boosted`.
    """

    def __init__(self, load: Load) -> None:
        file = Path(load.directory) / load.file
        try:
            self.booster = lightgbm.Booster(model_file=str(file))
        except lightgbm.basic.LightGBMError as error:
            raise unreadable(load.file, error) from None
        columns = self.booster.num_model_per_iteration()
        objective = objective_of(file)
        classes = 2 if objective == "binary" else columns if objective.startswith("multiclass") else 0
        super().__init__(load, self.booster.num_feature(), columns, classes, "FP64")

    def scores(self, rows: Array) -> Array:
        if rows.dtype.kind != "f":  # LightGBM would make FP32 of integers
            rows = rows.astype(np.float64)
        given: Array = self.booster.predict(rows)
        return given


def objective_of(file: Path) -> str:
    """The objective's name, such as binary or multiclass; "" if the file does not say it.

    The line is `objective=binary sigmoid:1`. The library shows it only together with all trees.
    """
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith(OBJECTIVE):
                return line.removeprefix(OBJECTIVE).split()[0]
            if line.startswith("Tree="):
                break
    return ""
