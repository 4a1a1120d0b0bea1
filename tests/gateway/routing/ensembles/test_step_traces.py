"""The trace of an ensemble: a span for each step, with the spans of a call below it."""

from __future__ import annotations

from pathlib import Path

from tests.gateway.routing.ensembles.models import diamond, ensemble, node_model, step
from tests.gateway.routing.ensembles.test_ensembles import BY_THREE, infer
from tests.gateway.test_traces import CAME, TRACE, traced
from tests.hub import eventually, write_model

STEPS = ("step neg", "step abs", "step add")


async def test_each_step_has_its_spans_below_the_call(tmp_path: Path) -> None:
    diamond(tmp_path)
    async with traced(tmp_path) as (hub, collector):
        data = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": BY_THREE}
        body = {"inputs": [data]}
        assert (await hub.post("/v2/models/diamond/infer", body, headers=CAME))[0] == 200
        await eventually(lambda: len(collector.spans) >= 2 + 5 * len(STEPS))
    spans = [one for one in collector.spans if one.span.trace_id.hex() == TRACE]
    (call,) = [one for one in spans if one.span.name.startswith("POST")]
    steps = {one.span.name: one for one in spans if one.span.name.startswith("step ")}
    assert sorted(steps) == sorted(STEPS)
    for name, one in steps.items():
        assert one.parent == call.id
        below = {inner.span.name: inner for inner in spans if inner.parent == one.id}
        model = name.removeprefix("step ")
        assert sorted(below) == [f"call {model}", "queue"]
        pod = [inner.span.name for inner in spans if inner.parent == below[f"call {model}"].id]
        assert sorted(pod) == ["queue", f"run {model}"]
    ends = [steps[name].span.end_time_unix_nano for name in STEPS[:2]]
    assert steps["step add"].span.start_time_unix_nano >= max(ends)
    assert len({one.id for one in spans}) == len(spans) == 2 + 5 * len(STEPS)


async def test_the_step_that_failed_is_seen(tmp_path: Path) -> None:
    node_model(tmp_path, "neg", "Neg")
    io = 'input { name: "x" data_type: TYPE_FP32 dims: [3] } output { name: "y" data_type: TYPE_FP32 dims: [3] }'
    code = "class Model:\n    def __init__(self, directory, parameters):\n        pass\n\n    def predict(self, inputs):\n"
    write_model(
        tmp_path,
        "broken",
        f'backend: "python" max_batch_size: 8 {io}',
        {"1/model.py": code + "        raise RuntimeError('no')\n"},
    )
    ensemble(tmp_path, "chain", step("neg", {"x": "x"}, {"y": "t"}), step("broken", {"x": "t"}, {"y": "y"}))
    async with traced(tmp_path, traces_sampler="always_off") as (hub, collector):
        assert (await infer(hub, "chain"))[0] == 500
        await eventually(lambda: len(collector.spans) >= 12)
    failed = {one.span.name for one in collector.spans if one.failed}
    assert failed == {"POST /v2/models/{model}/infer", "step broken", "call broken", "run broken"}
