"""A booster of XGBoost out of `model.ubj` or `model.json`, which `save_model` writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import xgboost
from scipy.special import softmax  # of XGBoost's own dependencies

from inferencehub.inference.runtimes.boosters.model import Array, Boosted, unreadable
from inferencehub.inference.runtimes.python.channel import Load

# The time, a line of its source code, and a check that failed; or where it was in its native code.
SOURCE = re.compile(r"^\[[\d:]+\] \S+:\d+: (?:Check failed: .*? : )?|Stack trace:.*", re.DOTALL)
BINARY, SOFTMAX = "binary:logistic", "multi:softmax"


class Model(Boosted):
    """See `Boosted`.

    Raises:
        HubError: MODEL_FAILED if XGBoost does not read the file; BAD_INPUT as in `Boosted`.
    """

    def __init__(self, load: Load) -> None:
        try:
            self.booster = xgboost.Booster(model_file=str(Path(load.directory) / load.file))
        except xgboost.core.XGBoostError as error:
            raise unreadable(load.file, SOURCE.sub("", str(error))) from None
        learner = json.loads(self.booster.save_config())["learner"]
        objective, parameters = learner["objective"]["name"], learner["learner_model_param"]
        several = int(parameters["num_class"])
        # Its booster says the class, and XGBClassifier makes probabilities of margins.
        self.softmax = objective == SOFTMAX
        targets = max(1, int(parameters.get("num_target", 1)))
        # With several targets, a column is the probability of a label of its own, and the columns are no classes.
        classes = 2 if objective == BINARY and targets == 1 else several
        columns = several or targets
        # A model whose training stopped early has trees behind its best one; XGBClassifier leaves them out, too.
        best = self.booster.attr("best_iteration")
        self.trees: Any = (0, int(best) + 1 if best else 0)
        self.linear = learner["gradient_booster"]["name"] == "gblinear"
        super().__init__(load, self.booster.num_features(), columns, classes, "FP32")

    def scores(self, rows: Array) -> Array:
        asked: Any = {"iteration_range": self.trees, "validate_features": False}
        if self.linear:  # which has no prediction in place
            given: Array = self.booster.predict(xgboost.DMatrix(rows), output_margin=self.softmax, **asked)
        else:
            kind = "margin" if self.softmax else "value"
            given = self.booster.inplace_predict(rows, predict_type=kind, **asked)
        return softmax(given, axis=1) if self.softmax else given
