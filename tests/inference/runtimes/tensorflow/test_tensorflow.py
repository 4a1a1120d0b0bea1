"""SavedModels: their answers are TensorFlow's own, and what is broken in one costs nothing but itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.signature import TensorSpec
from inferencehub.inference.runtimes.tensorflow.runtime import Tensorflow
from tests.hub import eventually, running_hub, running_pod, write_model
from tests.inference.runtimes.tables import Array, loaded, source_of, version
from tests.inference.runtimes.tensorflow.saved_models import EXPECTED, REVIEWS, ROWS, write_saved_models

pytestmark = pytest.mark.heavy

FILE = "model.savedmodel"
PARAMETER = 'parameters {{ key: "{}" value {{ string_value: "{}" }} }}'
PICK = PARAMETER.format("TF_SIGNATURE_DEF", "pick")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of `saved_models.py`."""
    return write_saved_models(tmp_path_factory.mktemp("saved"))


@pytest.fixture(scope="module")
def expected(written: Path) -> dict[str, Array]:
    """What TensorFlow itself answers."""
    with np.load(written / EXPECTED) as answers:
        return dict(answers)


def put(written: Path, name: str, directory: Path) -> None:
    """Copy a SavedModel into a version's directory."""
    shutil.copytree(written / name, directory / FILE)


def texts(array: Array) -> list[str]:
    return [element.decode() for element in array.ravel()]


async def refusal(source: Any) -> HubError:
    """The error of a model that does not load."""
    with pytest.raises(HubError) as caught:
        async with loaded(source):
            pass
    return caught.value


async def test_signature_and_values_are_tensorflow_s(
    tmp_path: Path, written: Path, expected: dict[str, Array]
) -> None:
    put(written, "table", version(tmp_path))
    async with loaded(source_of(tmp_path, FILE)) as served:
        assert served.signature.inputs == (TensorSpec("x", "FP32", (-1, 4)),)
        assert served.signature.outputs == (
            TensorSpec("label", "BYTES", (-1,)),
            TensorSpec("probabilities", "FP32", (-1, 3)),
            TensorSpec("together", "INT32", (-1,)),
        )
        for _ in range(2):
            answer = await served(ROWS)
            assert np.array_equal(answer["probabilities"], expected["table.probabilities"])
            assert texts(answer["label"]) == expected["table.label"].tolist()
        assert (await served(ROWS[:0]))["probabilities"].shape == (0, 3)


async def test_types_and_shapes(tmp_path: Path, written: Path) -> None:
    put(written, "kinds", version(tmp_path))
    async with loaded(source_of(tmp_path, FILE)) as served:
        assert served.signature.inputs == (
            TensorSpec("any", "FP32", (), any_shape=True),
            TensorSpec("flag", "BOOL", (-1,)),
            TensorSpec("half", "BF16", (-1,)),
            TensorSpec("text", "BYTES", (-1,)),
        )
        for given in (np.float32(2), np.ones((2, 1, 3), np.float32)):
            array = np.asarray(given)
            text = np.array([b"a\0b\0", "né".encode()], object)
            answer = await served(array, np.array([True]), np.array([1.5, -2], np.float32), text)
            assert (answer["same"].shape, answer["sum"].item()) == (array.shape, array.sum())
            assert answer["upper"].tolist() == [b"A\0B\0", "Né".encode()]
            assert answer["double"].tolist() == [3, -4]
            assert (answer["opposite"].tolist(), answer["word"].tolist()) == ([False], b"one")


async def test_a_config_chooses_signature_and_tag(tmp_path: Path, written: Path) -> None:
    put(written, "table", version(tmp_path))
    async with loaded(source_of(tmp_path, FILE, PICK)) as served:
        assert [spec.name for spec in served.signature.inputs] == ["divisor", "index"]
        answer = await served(np.array([2, 3], np.int32), np.array([3, 1], np.int32))
        assert answer["quotient"].tolist() == [1, 0]
    none = source_of(tmp_path, FILE, PARAMETER.format("TF_SIGNATURE_DEF", "absent"))
    assert (await refusal(none)).detail == (
        "model.savedmodel has no signature 'absent', only 'pick', 'serving_default'; the parameter TF_SIGNATURE_DEF names "
        "another one"
    )
    put(written, "old", version(tmp_path / "old"))  # of TensorFlow 1
    config = PARAMETER.format("TF_SIGNATURE_DEF", "triple") + PARAMETER.format("TF_GRAPH_TAG", "mine")
    async with loaded(
        source_of(tmp_path / "old", FILE, f'platform: "tensorflow_savedmodel" {config}')
    ) as served:
        assert (await served(np.ones((1, 2), np.float32)))["y"].tolist() == [[3, 3]]


async def test_a_config_must_agree_with_the_file(tmp_path: Path, written: Path) -> None:
    put(written, "table", version(tmp_path))
    wrong = source_of(tmp_path, FILE, 'input { name: "x" data_type: TYPE_FP64 dims: [ -1, 4 ] }')
    assert (await refusal(wrong)).detail == (
        "config.pbtxt: input 'x' is FP64 [-1, 4], in the model FP32 [-1, 4]"
    )
    put(written, "complex", version(tmp_path / "complex"))
    error = await refusal(source_of(tmp_path / "complex", FILE))
    assert error.detail == "output 'turned' of the model is a complex64 tensor, which is not supported"
    async with loaded(source_of(tmp_path / "complex", FILE, 'output { name: "x" }')) as served:
        assert {name: array.tolist() for name, array in (await served(ROWS[0])).items()} == {
            "x": (ROWS[0] + 1).tolist()
        }


async def test_predict_finds_the_class_of_a_keras_model(
    tmp_path: Path, written: Path, expected: dict[str, Array]
) -> None:
    write_model(tmp_path, "reviews", "max_batch_size: 8 " + PARAMETER.format("predict_classes", "bad,good"))
    put(written, "reviews", tmp_path / "reviews" / "1")
    write_model(tmp_path, "table", "max_batch_size: 8 " + PARAMETER.format("predict_classes", "low,mid,high"))
    put(written, "table", tmp_path / "table" / "1")
    async with running_hub(tmp_path) as hub:
        for review, scores in zip(REVIEWS, expected["reviews"], strict=True):
            status, answer, _ = await hub.post("/predict", {"model_name": "reviews", "text": review})
            assert (status, answer["class_id"], answer["error"]) == (200, int(np.argmax(scores)), "")
            assert answer["confidence"] == pytest.approx(scores.max(), rel=1e-5)
        for row, label in zip(ROWS, expected["table.label"], strict=True):
            status, answer, _ = await hub.post("/predict", {"model_name": "table", "features": row.tolist()})
            assert (status, answer["error"], answer["label"]) == (200, "", label)


async def test_requests_share_a_run(tmp_path: Path, written: Path, expected: dict[str, Array]) -> None:
    write_model(tmp_path, "table", "max_batch_size: 8")
    put(written, "table", tmp_path / "table" / "1")
    async with running_hub(tmp_path) as hub:

        async def ask(number: int) -> int:
            data = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROWS[number % 4].tolist()}
            status, answer, _ = await hub.post("/v2/models/table/infer", {"inputs": [data]})
            assert status == 200, answer
            outputs = {output["name"]: output["data"] for output in answer["outputs"]}
            assert outputs["label"] == [expected["table.label"][number % 4]]
            np.testing.assert_allclose(
                outputs["probabilities"], expected["table.probabilities"][number % 4], 1e-5
            )
            return int(outputs["together"][0])

        together = await asyncio.gather(*[ask(number) for number in range(64)])
        assert max(together) == 8


async def test_a_wrong_input_is_a_sentence(tmp_path: Path, written: Path) -> None:
    write_model(tmp_path, "m", PICK)
    put(written, "table", tmp_path / "m" / "1")
    async with running_hub(tmp_path) as hub:

        async def ask(index: list[int], divisor: list[int]) -> tuple[int, Any]:
            inputs = [
                {"name": name, "datatype": "INT32", "shape": [len(data)], "data": data}
                for name, data in (("index", index), ("divisor", divisor))
            ]
            status, answer, _ = await hub.post("/v2/models/m/infer", {"inputs": inputs})
            return status, answer.get("error")

        begin = "model 'm': does not take this input: "
        assert await ask([0, 7], [1, 1]) == (400, f"{begin}indices[1] = 7 is not in [0, 4)")
        assert await ask([0, 1], [1, 0]) == (400, f"{begin}Integer division by zero")
        assert await ask([0, 1, 2], [1, 1]) == (400, f"{begin}Incompatible shapes: [3] vs. [2]")
        assert await ask([0, 1], [1, 1]) == (200, None)


async def test_the_sentence_is_without_the_graph_s_nodes(tmp_path: Path, written: Path) -> None:
    put(written, "number", version(tmp_path))
    async with loaded(source_of(tmp_path, FILE)) as served:
        with pytest.raises(HubError) as caught:
            await served(np.array([b"seven"], object))
        assert caught.value.detail == (
            "model 'm': does not take this input: StringToNumberOp could not correctly convert string: seven"
        )


async def test_a_pod_goes_on_without_models_that_are_broken(tmp_path: Path, written: Path) -> None:
    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    weights = "variables.data-00000-of-00001"
    cases: dict[str, tuple[Any, str]] = {
        "graph": (lambda d: cut(d / "saved_model.pb"), "model.savedmodel cannot be loaded: Cannot parse file b'saved_model.pb'"),
        "no-graph": (lambda d: (d / "saved_model.pb").unlink(), "model.savedmodel cannot be loaded: SavedModel file does not exist at: "),
        "weights": (lambda d: cut(d / "variables" / weights), "model.savedmodel cannot be loaded: Read less bytes than requested"),
        "no-index": (lambda d: (d / "variables" / "variables.index").unlink(), "model.savedmodel cannot be loaded: Unsuccessful TensorSliceReader constructor: "),
        "lfs": (lambda d: (d / "variables" / weights).write_bytes(pointer), f"'model.savedmodel/variables/{weights}' is a Git LFS pointer"),
    }  # fmt: skip
    for name, (spoil, _) in cases.items():
        write_model(tmp_path, name, "")
        put(written, "table", tmp_path / name / "1")
        spoil(tmp_path / name / "1" / FILE)
    write_model(tmp_path, "file", "", {f"1/{FILE}": b"\0"})
    write_model(tmp_path, "unsigned", "")
    put(written, "unsigned", tmp_path / "unsigned" / "1")
    write_model(tmp_path, "good", "")
    put(written, "table", tmp_path / "good" / "1")
    reasons = {name: reason for name, (_, reason) in cases.items()}
    reasons["file"] = "model.savedmodel is not in version 1"
    reasons["unsigned"] = "model.savedmodel has no signature 'serving_default', only none"
    async with running_pod(tmp_path) as pod:
        for name, reason in reasons.items():
            model = pod.models.get(name)
            assert (model.serves, model.reason[: len(reason)]) == (False, reason)
            assert str(tmp_path) not in model.reason
        assert pod.models.serves("good")


async def test_a_crash_costs_its_own_call(tmp_path: Path, written: Path) -> None:
    put(written, "slow", version(tmp_path))
    source = source_of(tmp_path, FILE, "instance_group { count: 2 }")
    begun = tmp_path / "begun"
    async with loaded(source) as served:
        runtime = served.runtime
        assert isinstance(runtime, Tensorflow)

        async def count(times: int) -> Any:
            path = np.array([str(begun).encode()], object)
            return (await served(path, np.array([times], np.int32)))["count"].tolist()

        run = asyncio.create_task(count(2**31 - 1))
        await eventually(begun.exists)
        process = runtime.instances[0].process
        assert process is not None
        os.kill(process.pid, signal.SIGABRT)
        with pytest.raises(HubError) as caught:
            await run
        assert (caught.value.kind, caught.value.detail) == (
            Kind.MODEL_FAILED,
            "model 'm': its process ended (signal 6) while it ran",
        )
        assert runtime.recovery(1) is None
        recovery = runtime.recovery(0)
        assert recovery is not None
        await recovery
        assert await count(3) == [3]
