"""`inferencehub check` as a command: what it prints, and the exit code that CI reads."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

from sklearn.linear_model import LogisticRegression

from tests.cli.test_command import say_here
from tests.hub import mock_model, write_model
from tests.inference.runtimes.tables import CLASSES, ROWS, version


def test_exit_codes_and_both_forms(tmp_path: Path) -> None:
    mock_model(tmp_path, "sound")
    code, out, err = say_here("check", str(tmp_path / "sound"))
    assert (code, err) == (0, "")
    assert out.startswith("OK     sound version 1, mock\n       inputs    features FP32 [-1]\n")
    write_model(tmp_path, "broken", "max_batch_sise: 3")
    code, out, err = say_here("check", str(tmp_path), "--json")
    found = {model["name"]: model for model in json.loads(out)["models"]}
    assert code == 1
    assert (found["sound"]["ok"], found["broken"]["ok"]) == (True, False)
    assert "max_batch_sise" in found["broken"]["fault"]
    assert err == ""


def test_a_pickle_loads_where_the_setting_allows_it(tmp_path: Path) -> None:
    (version(tmp_path) / "model.pkl").write_bytes(pickle.dumps(LogisticRegression().fit(ROWS, CLASSES)))
    code, out, _ = say_here("check", str(tmp_path))
    assert code == 1
    assert "or HUB_ALLOW_PICKLE=true" in out
    code, out, err = say_here("check", str(tmp_path), HUB_ALLOW_PICKLE="true")
    assert (code, err) == (0, ""), out


def test_what_cannot_be_checked_is_one_sentence(tmp_path: Path) -> None:
    code, out, err = say_here("check", str(tmp_path / "not-there"))
    assert (code, out) == (2, "")
    assert "does not exist" in err
    code, out, err = say_here("check", str(tmp_path), HUB_MODEL_GRACE_S="soon")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "HUB_MODEL_GRACE_S" in err
