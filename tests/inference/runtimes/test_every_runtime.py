"""What every runtime promises, tested on each runtime with its model from the repository."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import skops.io
from lightgbm import LGBMClassifier
from sklearn.linear_model import LogisticRegression
from xgboost import XGBClassifier

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.job import Job, Member
from inferencehub.core.lane.sink import OneAnswer
from inferencehub.core.oip import model_info
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor, split_rows
from inferencehub.inference.metrics import Metrics
from inferencehub.inference.models.model import Model, ModelState
from inferencehub.inference.models.repository import Found, scan
from inferencehub.inference.runtimes.runtime import Runtime, make_runtime
from inferencehub.inference.runtimes.support.arrays import from_array, to_array
from inferencehub.inference.runtimes.support.declared import declared
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import MODELS, eventually, write_model
from tests.inference.pod_processes import calling_pod
from tests.inference.runtimes.one_answer import run_once
from tests.inference.runtimes.tables import CLASSES, ROWS
from tests.inference.runtimes.tensorflow.saved_models import write_saved_models

FOUND = {found.name: found for found in scan(MODELS)}
WORDS = np.array([[b"good"], [b"not good"], [b"a table"], ["schön \N{GRINNING FACE}".encode()]], dtype=object)


@dataclass(frozen=True)
class Example:
    """A model, its first input as an array of four rows (one where it does not batch), and its outputs' names."""

    model: str
    input: npt.NDArray[Any]
    outputs: tuple[str, ...]

    def request(self, rows: slice | None = None, outputs: tuple[str, ...] = ()) -> InferRequest:
        spec = SIGNATURES[self.model].inputs[0]
        array = self.input if rows is None else self.input[rows]
        return InferRequest(self.model, "1", (from_array(spec.name, spec.dtype, array),), outputs)

    def found(self, instances: int = 2) -> Found:
        """Its repository entry, with so many instances; the mock's half second is cut short."""
        found = FOUND[self.model]
        assert found.source is not None
        config = type(found.source.config)()
        config.CopyFrom(found.source.config)
        if self.model == "v1-mock":
            config.parameters["delay_ms"].string_value = "20"
        del config.instance_group[:]
        config.instance_group.add(count=instances)
        return replace(found, source=replace(found.source, config=config, instances=instances))


TABLE = """max_batch_size: 8
    input { name: "input" data_type: TYPE_FP64 dims: [ 4 ] }
    output { name: "label" data_type: TYPE_INT64 dims: [ 1 ] }
    output { name: "probabilities" data_type: TYPE_FP64 dims: [ 3 ] }"""
OF_TABLES = ("label", "probabilities")


def sklearn_file(directory: Path) -> None:
    skops.io.dump(LogisticRegression().fit(ROWS, CLASSES), directory / "model.skops")


def lightgbm_file(directory: Path) -> None:
    model = LGBMClassifier(n_estimators=5, n_jobs=1, verbosity=-1).fit(ROWS, CLASSES)
    model.booster_.save_model(directory / "model.txt")


def xgboost_file(directory: Path) -> None:
    XGBClassifier(n_estimators=5, n_jobs=1).fit(ROWS, CLASSES).save_model(directory / "model.ubj")


def tensorflow_file(directory: Path) -> None:
    shutil.move(write_saved_models(directory) / "numbered", directory / "model.savedmodel")


def torch_file(directory: Path) -> None:
    from tests.inference.runtimes.torch.networks import Classifier, export, torch

    export(directory / "model.pt2", Classifier(), torch.zeros(2, 4))


# Models that are fitted now, in the order of their examples below.
FITTED = {
    "fitted-sklearn": (sklearn_file, "FP64"),
    "fitted-lightgbm": (lightgbm_file, "FP64"),
    "fitted-xgboost": (xgboost_file, "FP32"),
    "fitted-tensorflow": (tensorflow_file, "FP32"),
    "fitted-torch": (torch_file, "FP32"),
}
HEAVY = {
    "fitted-tensorflow": "tensorflow",
    "fitted-torch": "torch",
}  # what has its library in another environment
EXAMPLES = [
    Example("v1-mock", np.array([1, 2, 3], np.float32), ("class_id", "confidence")),
    Example("sentiment", WORDS, ("class_id", "confidence", "label")),
    Example("digits", np.arange(256, dtype=np.float32).reshape(4, 64) % 17, ("probabilities",)),
    Example("nearest-colour", np.arange(0, 240, 20, dtype=np.float32).reshape(4, 3), ("scores", "label")),
    *[Example(name, ROWS[:4], OF_TABLES) for name in FITTED],
]
# Each process of a fitted model imports a large library.
MARKS = {name: [pytest.mark.heavy if name in HEAVY else pytest.mark.long] for name in FITTED}
CASES = [pytest.param(example, id=example.model, marks=MARKS.get(example.model, [])) for example in EXAMPLES]
SIGNATURES = {name: declared(found.source.config) for name, found in FOUND.items() if found.source}
SAMPLES = tuple(SIGNATURES)

every = pytest.mark.parametrize("example", CASES)
batching = pytest.mark.parametrize("example", CASES[1:])


@pytest.fixture(scope="module", autouse=True)
def fitted(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The models of `FITTED`, in a repository beside the samples."""
    repository = tmp_path_factory.mktemp("fitted")
    for name, (write, dtype) in FITTED.items():
        if name in HEAVY and find_spec(HEAVY[name]) is None:
            continue
        write_model(repository, name, TABLE.replace("FP64", dtype))
        write(repository / name / "1")
    for found in scan(repository):
        assert found.source is not None, found.reason
        FOUND[found.name] = found
        SIGNATURES[found.name] = declared(found.source.config)


@asynccontextmanager
async def loaded(example: Example, instances: int = 2) -> AsyncIterator[Runtime]:
    found = example.found(instances)
    assert found.source is not None
    runtime = make_runtime(found.runtime, found.source)
    assert await runtime.load() == SIGNATURES[example.model]
    try:
        yield runtime
    finally:
        await runtime.unload()


async def run(runtime: Runtime, request: InferRequest, instance: int = 0) -> tuple[Tensor, ...]:
    return await run_once(runtime, instance, request, monotonic() + 20)


def same(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> None:
    """Equal names, types, shapes and values, but for what a sum in another order may change."""
    assert [(t.name, t.dtype, t.shape) for t in one] == [(t.name, t.dtype, t.shape) for t in other]
    for left, right in zip(one, other, strict=True):
        if left.dtype in ("FP32", "FP64"):
            np.testing.assert_allclose(to_array(left), to_array(right), atol=1e-6)
        else:
            assert bytes(left.data) == bytes(right.data)


async def test_the_metadata_of_a_pod_is_what_each_config_declares() -> None:
    async with calling_pod() as pod:
        queries = pod.server.servicer.queries
        for name in SAMPLES:
            signature = SIGNATURES[name]
            metadata = await queries.model_metadata(pb.ModelMetadataRequest(name=name), None)
            config = (await queries.model_config(pb.ModelConfigRequest(name=name), None)).config
            info = model_info.info_from_proto("1", metadata, config, 0)
            assert info.signature == replace(signature, decoupled=config.model_transaction_policy.decoupled)
            assert info.slots == sum(group.count for group in config.instance_group)
            assert await pod.health(name)


@every
async def test_an_answer_has_all_outputs_in_the_signature_s_order(example: Example) -> None:
    async with loaded(example) as runtime:
        outputs = await run(runtime, example.request())
        signature = SIGNATURES[example.model]
        assert tuple(tensor.name for tensor in outputs) == example.outputs
        for tensor, spec in zip(outputs, signature.outputs, strict=True):
            # Made anew, a tensor checks that its bytes fit its shape.
            assert Tensor(spec.name, spec.dtype, tensor.shape, bytes(tensor.data)) == Tensor(
                tensor.name, tensor.dtype, tensor.shape, bytes(tensor.data)
            )
            rows = (4,) if signature.max_batch_size else ()
            assert tensor.shape == (*rows, *spec.shape[len(rows) :])


@batching
async def test_rows_together_get_the_answers_that_they_get_apart(example: Example) -> None:
    async with loaded(example) as runtime:
        together = await run(runtime, example.request())
        rows = list(zip(*[split_rows(tensor, [1, 1, 1, 1]) for tensor in together], strict=True))
        for index, row in enumerate(rows):
            same(row, await run(runtime, example.request(slice(index, index + 1))))
        first = [bytes(tensor.data) for tensor in rows[0]]
        assert any([bytes(tensor.data) for tensor in row] != first for row in rows[1:])


@every
async def test_all_instances_answer_at_the_same_time_and_the_same(example: Example) -> None:
    async with loaded(example, instances=3) as runtime:
        answers = await asyncio.gather(
            *[
                run(runtime, example.request(), number)
                for number in (
                    0,
                    1,
                    2,
                )
            ]
        )
        for answer in answers[1:]:
            same(answers[0], answer)


@every
async def test_an_instance_runs_again_after_a_cancelled_run(example: Example) -> None:
    async with loaded(example, instances=1) as runtime:
        before = await run(runtime, example.request())
        for _ in range(3):
            task = asyncio.create_task(run(runtime, example.request()))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            same(before, await run(runtime, example.request()))
        assert runtime.recovery(0) is None


def workers(model: str) -> list[object]:
    """The threads and child processes of runtimes."""
    children: list[object] = [*Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    return children + [thread for thread in threading.enumerate() if thread.name.startswith(f"model-{model}")]


@every
async def test_nothing_is_left_after_an_unload(example: Example) -> None:
    before = workers(example.model)
    async with loaded(example) as runtime:
        await run(runtime, example.request())
        if example.model != "v1-mock":
            assert len(workers(example.model)) > len(before)
    await eventually(lambda: workers(example.model) == before)


async def answer(model: Model, request: InferRequest) -> tuple[Tensor, ...]:
    """A request's way through a model's lane."""
    checked, rows = model.info.signature.check(request)
    deadline = monotonic() + 20
    job = Job(checked, rows, (Member(rows, deadline, ""),), monotonic())
    sink = OneAnswer()
    model.lane_to_run().accept(job, sink)
    return (await sink.future).outputs


@every
async def test_wanted_outputs_come_in_the_caller_s_order(example: Example) -> None:
    found, metrics = example.found(), Metrics()
    changes: list[ModelState] = []

    def changed() -> None:
        changes.append(model.state)

    model = Model(found, ByteBudget(10**6), metrics.lane(found.name, found.version), changed)
    with pytest.raises(HubError) as caught:
        model.lane_to_run()
    assert (caught.value.kind, caught.value.detail) == (
        Kind.NOT_READY,
        f"model '{example.model}' does not serve: it is still loading",
    )
    await model.load()
    try:
        assert (model.reason, model.serves, changes) == ("", True, [ModelState.READY])
        everything = await answer(model, example.request())
        backwards = await answer(model, example.request(outputs=example.outputs[::-1]))
        same(everything, backwards[::-1])
        (last,) = await answer(model, example.request(outputs=example.outputs[-1:]))
        same(everything[-1:], (last,))
    finally:
        await model.unload()
    with pytest.raises(HubError) as caught:
        model.lane_to_run()
    assert caught.value.detail == f"model '{example.model}' does not serve: it was unloaded"
