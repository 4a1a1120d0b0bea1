"""Each template of `inferencehub new` is a model that serves as it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import click
import pytest

from inferencehub.cli.client import Caller
from inferencehub.cli.new.command import new
from inferencehub.cli.new.template import templates
from inferencehub.cli.predict import asked, parts_of
from inferencehub.testing import load
from tests.cli.test_command import say_here
from tests.hub import MODELS, running_hub
from tests.inference.runtimes.tables import CLASSES, ROWS
from tests.pages import table_names

FILE = MODELS / "digits" / "1" / "model.onnx"
KINDS = sorted(templates())
# A file for each template, and what its model says to it: an output and its first value.
CALLS: dict[str, tuple[bytes, str, Any]] = {
    "chat": (
        json.dumps({"messages": json.dumps([{"role": "user", "content": "hello"}])}).encode(),
        "text",
        "You",
    ),
    "image": (b"P3 1 1 255 9 9 9", "label", "dark"),
    "lightgbm": (b"[2, 2, 2, 0]", "label", 1),
    "onnx": (json.dumps([[0.0] * 64]).encode(), "probabilities", None),
    "sklearn": (b"[2, 2, 2, 0]", "label", "high"),
    "torch": (b"[[2, 2, 2, 0]]", "label", None),
    "xgboost": (b"[2, 2, 2, 0]", "label", 2),
    "python": (b"[0, 5, 0, 0]", "scores", None),
    "text": (b"Where is my parcel?", "label", "question"),
}


def fitted(kind: str, folder: Path) -> Path:
    """The file that a template takes: a model that was fitted here, or that of a sample."""
    if kind == "sklearn":
        from sklearn.linear_model import LogisticRegression
        from skops.io import dump

        dump(
            LogisticRegression().fit(ROWS, [("low", "mid", "high")[number] for number in CLASSES]),
            folder / "any.skops",
        )
        return folder / "any.skops"
    if kind == "lightgbm":
        from lightgbm import LGBMClassifier

        LGBMClassifier(n_estimators=5, verbose=-1).fit(ROWS, CLASSES).booster_.save_model(folder / "any.txt")
        return folder / "any.txt"
    if kind == "xgboost":
        return boosted(folder / "any.ubj")
    if kind == "torch":
        from tests.inference.runtimes.torch.networks import Classifier, export, torch

        export(folder / "model.pt2", Classifier(), torch.zeros(2, 4))
        return folder / "model.pt2"
    return FILE


def boosted(file: Path) -> Path:
    """Trees of XGBoost, in the format that the file's suffix says."""
    from xgboost import XGBClassifier

    XGBClassifier(n_estimators=5).fit(ROWS, CLASSES).save_model(file)
    return file


def write(kind: str, repository: Path, folder: Path) -> Path:
    """The directory of a new model that is called like its template."""
    template, directory = templates()[kind], repository / kind
    for path, content in template.files(
        kind, directory, fitted(kind, folder) if template.takes_file else None
    ):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    return directory


def test_each_template_has_a_call_here_and_a_row_in_the_docs() -> None:
    assert sorted(CALLS) == KINDS
    assert set(KINDS) <= table_names("docs/cli.md")


# PyTorch is not in the environment of development.
each = pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.heavy if kind == "torch" else pytest.mark.long) for kind in KINDS],
)


@each
def test_a_new_model_passes_its_check_and_its_own_test(
    kind: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    given = (
        ("--file", str(fitted(kind, tmp_path_factory.mktemp("fitted"))))
        if templates()[kind].takes_file
        else ()
    )
    arguments = ("new", "mine", "--from", kind, "--into", str(tmp_path), *given)
    code, out, _ = say_here(*arguments)
    assert code == 0
    assert sorted(out.split()) == sorted(str(path) for path in tmp_path.rglob("*") if path.is_file())
    assert "{name}" not in (tmp_path / "mine/config.pbtxt").read_text()
    code, out, err = say_here("check", str(tmp_path / "mine"))
    assert (code, err) == (0, "")
    pytest_here = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "mine"))
    done = subprocess.run(pytest_here, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_file_keeps_the_format_that_its_suffix_says(tmp_path: Path) -> None:
    given = boosted(tmp_path / "given.json")
    new.main(
        ["risk", "--from", "xgboost", "--into", str(tmp_path), "--file", str(given)], standalone_mode=False
    )
    assert [path.name for path in (tmp_path / "risk" / "1").iterdir()] == ["model.json"]
    assert '"model.json"' in (tmp_path / "risk" / "test_risk.py").read_text()
    code, out, err = say_here("check", str(tmp_path / "risk"))
    assert (code, err) == (0, ""), out


@each
async def test_each_new_model_answers_through_both_tiers(tmp_path: Path, kind: str) -> None:
    write(kind, tmp_path / "models", tmp_path)
    content, output, expected = CALLS[kind]
    async with running_hub(tmp_path / "models") as hub:
        answer = await asked(Caller(hub.url, "", None), f"/v2/models/{kind}", content, False)
        part = parts_of(answer)[0]
        outputs = {one["name"]: one["data"] for one in part["outputs"]} if "outputs" in part else part
        found = outputs[output]
        assert found if expected is None else found in (expected, [expected])


async def test_the_picture_that_the_template_names_can_be_sent_as_it_is(tmp_path: Path) -> None:
    config = (write("image", tmp_path / "models", tmp_path) / "config.pbtxt").read_text()
    [picture] = re.findall(r"predict image (\S+)", config)
    content = (tmp_path / picture).read_bytes()
    async with running_hub(tmp_path / "models") as hub:
        answer = await asked(Caller(hub.url, "", None), "/v2/models/image", content, False)
    assert parts_of(answer)[0]["outputs"][1]["data"] == ["light"]


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("image", [b"P3 2 2 255 1 2"], "expected P3, width, height"),
        ("image", [b"P3 0 0 255"], "expected P3, width, height"),
        ("image", [b"P3 1 1 0 1 1 1"], "expected P3, width, height"),
        ("chat", [b"[]"], "messages: expected a list in JSON"),
        ("chat", [b'[{"role":"user"}]'], "messages: expected a list in JSON"),
        ("chat", [b"hello"], "messages: expected a list in JSON"),
    ],
)
def test_what_a_new_model_does_not_take_is_its_caller_s_fault(
    tmp_path: Path, kind: str, given: list[bytes], said: str
) -> None:
    model = load(write(kind, tmp_path, tmp_path))
    name = {"image": "image", "chat": "messages"}[kind]
    with pytest.raises(ValueError, match=said):
        list(model.answers({name: [given] if kind == "image" else given}))


@pytest.mark.heavy
async def test_a_picture_that_pillow_does_not_read_is_its_caller_s_fault(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="make test-heavy installs Pillow")
    write("image", tmp_path / "models", tmp_path)
    large, small = BytesIO(), BytesIO()
    image.new("1", (20000, 10000)).save(large, "PNG")
    image.effect_noise((64, 64), 50).save(small, "PNG")
    unknown = "the picture cannot be read: it is damaged, or in no known format"
    cases = {
        large.getvalue(): "the picture cannot be read: Image size (200000000 pixels) exceeds limit",
        small.getvalue()[:300]: unknown,
        b"no picture": unknown,
    }
    async with running_hub(tmp_path / "models") as hub:
        for content, said in cases.items():
            status, answer, _ = await hub.post(
                "/v2/models/image/infer", content, headers={"content-type": "image/png"}
            )
            assert (status, said in answer["error"]) == (400, True), answer


@pytest.mark.long
async def test_new_models_are_found_by_other_endpoints(tmp_path: Path) -> None:
    for kind in ("chat", "text"):
        write(kind, tmp_path / "models", tmp_path)
    async with running_hub(tmp_path / "models") as hub:
        body = {"model": "chat", "messages": [{"role": "user", "content": "good morning"}]}
        status, answer, _ = await hub.post("/v1/chat/completions", body)
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "You said: good morning")
        status, answer, _ = await hub.post("/predict", {"model_name": "text", "text": "Where is it?"})
        assert (status, answer["label"], answer["class_id"]) == (200, "question", 1)


def test_the_tests_of_several_new_models_run_together_and_the_comments_name_their_directories(
    tmp_path: Path,
) -> None:
    for name, file in (("one", "test_one.py"), ("two.5-b", "test_two_5_b.py")):
        new.main([name, "--from", "python", "--into", str(tmp_path)], standalone_mode=False)
        assert (tmp_path / name / file).exists()
        assert f"inferencehub check {tmp_path / name} " in (tmp_path / name / "config.pbtxt").read_text()
    pytest_here = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path))
    done = subprocess.run(pytest_here, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout


def test_the_repository_is_made(tmp_path: Path) -> None:
    code, _, err = say_here("new", "reviews", "--from", "text", "--into", str(tmp_path / "a" / "mine"))
    assert code == 0, err
    assert (tmp_path / "a/mine/reviews/1/model.py").is_file()


def test_what_cannot_be_written_is_refused(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (tmp_path / "there").mkdir()
    no_zip, script = (tmp_path_factory.mktemp("given") / name for name in ("iris.skops", "model.pt"))
    no_zip.write_bytes(FILE.read_bytes())
    script.write_bytes(b"PK")
    for arguments, said in (
        (("there", "--from", "python"), "is there already"),
        (("_mine", "--from", "python"), "no sign at the start"),
        (("../mine", "--from", "text"), "expected letters"),
        (("mine", "--from", "onnx"), "--from onnx needs --file"),
        (
            ("mine", "--from", "sklearn", "--file", str(FILE)),
            "does not end with .skops, expected an estimator",
        ),
        (
            ("mine", "--from", "xgboost", "--file", str(FILE)),
            "does not end with .ubj or .json, expected boosted",
        ),
        (
            ("mine", "--from", "sklearn", "--file", str(no_zip)),
            "does not begin with 'PK', expected an estimator",
        ),
        (
            ("mine", "--from", "onnx", "--file", str(no_zip)),
            "does not end with .onnx, expected a model in ONNX",
        ),
        (("mine", "--from", "torch", "--file", str(script)), "does not end with .pt2, expected a program"),
    ):
        with pytest.raises(click.UsageError, match=re.escape(said)):
            new.main([*arguments, "--into", str(tmp_path)], standalone_mode=False)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
