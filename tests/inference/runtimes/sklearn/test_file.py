"""Files of scikit-learn models: which are read, and what is said of the others."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import joblib
import numpy as np
import pytest
import sklearn
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from inferencehub.core.values.errors import HubError
from inferencehub.inference.check.models import check
from inferencehub.inference.check.report import as_text
from inferencehub.inference.runtimes.sklearn.file import read_estimator
from inferencehub.inference.settings import InferenceSettings
from tests.hub import running_pod, write_model
from tests.inference.runtimes.tables import CLASSES, ROWS, loaded, source_of, version

FITTED = LogisticRegression().fit(ROWS, CLASSES)
SKOPS = skops.io.dumps(FITTED)


def pickled(estimator: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(estimator))


@pytest.mark.long
@pytest.mark.parametrize(("file", "dump"), [("model.joblib", joblib.dump), ("model.pkl", pickled)])
async def test_a_pickle_is_loaded_only_where_the_setting_allows_it(
    tmp_path: Path, file: str, dump: Callable[[Any, Path], object]
) -> None:
    dump(FITTED, version(tmp_path) / file)
    with pytest.raises(HubError) as caught:
        async with loaded(source_of(tmp_path, file)):
            pass
    assert caught.value.detail == (
        f"{file} is read as a pickle, and a pickle runs code when it is loaded: expected model.skops, written with "
        "skops.io.dump, or HUB_ALLOW_PICKLE=true if you trust everybody who can write to the model repository"
    )
    async with loaded(source_of(tmp_path, file, allow_pickle=True)) as model:
        assert np.array_equal((await model(ROWS))["label"], FITTED.predict(ROWS))


def refusal(file: Path, *trusted: str) -> str:
    """Why a file is not served."""
    with pytest.raises(HubError) as caught:
        read_estimator(file, set(trusted))
    return caught.value.detail


def test_types_that_are_not_trusted_are_named(tmp_path: Path) -> None:
    file = tmp_path / "model.skops"
    skops.io.dump(FunctionTransformer(joblib.dump).fit(ROWS), file)
    assert refusal(file, "", "os.system") == (
        "model.skops has types that are not trusted: joblib.numpy_pickle.dump; if you trust them, list them in the "
        "parameter trusted_types of config.pbtxt, separated by commas"
    )
    assert read_estimator(file, {"joblib.numpy_pickle.dump"}).func is joblib.dump
    # Some versions of skops know trees to be harmless.
    skops.io.dump(DecisionTreeClassifier().fit(ROWS, CLASSES), file)
    assert read_estimator(file, {"sklearn.tree._tree.Tree"}).predict(ROWS).shape == (200,)


def test_what_a_script_has_defined_must_move_into_a_module(tmp_path: Path) -> None:
    file = tmp_path / "model.skops"
    script = f"""import numpy as np, skops.io
from sklearn.preprocessing import FunctionTransformer
def double(rows): return rows * 2
skops.io.dump(FunctionTransformer(double).fit(np.eye(2)), {str(file)!r})"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert refusal(file, "__main__.double") == (
        "model.skops needs __main__.double, which a script or a notebook has defined: put it into a module that the pod "
        "can import, write the file anew with it, and list that name in the parameter trusted_types of config.pbtxt"
    )


def test_what_is_no_fitted_estimator_is_told(tmp_path: Path) -> None:
    file = tmp_path / "model.skops"
    skops.io.dump({"a": 1}, file)
    assert refusal(file) == "model.skops holds a dict, expected an estimator of scikit-learn"
    skops.io.dump(LogisticRegression(), file)
    assert refusal(file) == "model.skops holds a LogisticRegression that is not fitted"


@pytest.mark.long
async def test_a_pod_goes_on_without_models_that_are_broken(tmp_path: Path) -> None:
    foreign = "model.skops cannot be loaded: it is no file of skops.io.dump, or it is cut off ({})"
    zipless = foreign.format("File is not a zip file")
    other = BytesIO()
    with ZipFile(other, "w") as archive:
        archive.writestr("readme", "")
    without = foreign.format("KeyError: \"There is no item named 'schema.json' in the archive\"")
    wrong = 'input { name: "x" data_type: TYPE_FP64 dims: [ -1, 5 ] }'
    cases = {
        "empty": ("", b"", zipless),
        "foreign": ("", pickle.dumps(FITTED), zipless),
        "cut": ("", SKOPS[: len(SKOPS) // 2], zipless),
        "other": ("", other.getvalue(), without),
        "wrong": (wrong, SKOPS, "config.pbtxt: input 'x' is FP64 [-1, 5], in the model FP64 [-1, 4]"),
    }
    for name, (config, content, _) in cases.items():
        write_model(tmp_path, name, config, {"1/model.skops": content})
    write_model(tmp_path, "good", "", {"1/model.skops": SKOPS})
    async with running_pod(tmp_path) as pod:
        for name, (_, _, expected) in cases.items():
            assert (pod.models.serves(name), pod.models.get(name).reason) == (False, expected)
        assert pod.models.serves("good")


OLD = f"0{sklearn.__version__[1:]}"  # of the same length


def by_another_version(content: bytes, name: str = "LogisticRegression") -> bytes:
    """A skops file as that version would have written it, with its class of that name."""
    with ZipFile(BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["schema.json"] = parts["schema.json"].replace(sklearn.__version__.encode(), OLD.encode())
    parts["schema.json"] = parts["schema.json"].replace(b"LogisticRegression", name.encode())
    written = BytesIO()
    with ZipFile(written, "w") as archive:
        for part, data in parts.items():
            archive.writestr(part, data)
    return written.getvalue()


@pytest.mark.long
async def test_another_version_of_scikit_learn_is_named(tmp_path: Path) -> None:
    note = f"written by scikit-learn {OLD}, here is {sklearn.__version__}"
    (version(tmp_path / "skops") / "model.skops").write_bytes(by_another_version(SKOPS))
    pickle_of_old = pickle.dumps(FITTED).replace(sklearn.__version__.encode(), OLD.encode())
    (version(tmp_path / "pickle") / "model.pkl").write_bytes(pickle_of_old)
    settings = InferenceSettings(allow_pickle=True)
    for repository in ("skops", "pickle"):
        report = await check(tmp_path / repository, settings, 0)
        assert report.ok
        assert f"file      {note}\n" in as_text(report)
    (version(tmp_path / "here") / "model.skops").write_bytes(SKOPS)
    assert not (await check(tmp_path / "here", settings, 0)).models[0].written
    gone = by_another_version(SKOPS, "LogisticRegressiom")
    (version(tmp_path / "gone") / "model.skops").write_bytes(gone)
    (model,) = (await check(tmp_path / "gone", settings, 0)).models
    assert model.fault.startswith("it does not load: model.skops ")
    assert model.fault.endswith(f"; {note}")
