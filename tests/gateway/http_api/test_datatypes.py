"""Every datatype in JSON through a model and back."""

from collections.abc import AsyncIterator
from math import prod
from typing import Any

import pytest
import pytest_asyncio

from inferencehub.gateway.json_codec.tensor_json import FLAT
from tests.hub import Hub, running_hub, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

ECHO = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"out_" + name: array for name, array in inputs.items()}
"""
PROTO_TYPES = {name: "TYPE_" + ("STRING" if name == "BYTES" else name) for name in FLAT}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    tensors = [
        f'{way} {{ name: "{prefix}{name}" data_type: {kind} dims: [{dims}] }}'
        for name, kind in PROTO_TYPES.items()
        for way, prefix in (("input", ""), ("output", "out_"))
        for dims in ("-1, -1" if name == "FP64" else "-1",)
    ]
    write_model(models, "echo", 'backend: "python"\n' + "\n".join(tensors), {"1/model.py": ECHO})
    async with running_hub(models) as hub:
        yield hub


VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False],
    "BYTES": ["", "é 漢 😀 \u0000 \" \\"],
    "FP16": [65504.0, -0.5, 6.103515625e-05],
    "FP32": [3.4028234663852886e38, 0.10000000149011612],
    "FP64": [[1.7976931348623157e308, 0.1], [5e-324, -0.0]],
    **{f"INT{bits}": [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": [0, 2**bits - 1] for bits in (8, 16, 32, 64)},
}  # fmt: skip


def echo_body(values: dict[str, list[Any]]) -> dict[str, Any]:
    """A call of the echo model."""
    shapes = {
        name: [len(data), len(data[0])] if name == "FP64" else [len(data)] for name, data in values.items()
    }
    return {
        "id": "e1",
        "inputs": [
            {"name": name, "shape": shapes[name], "datatype": name, "data": values[name]} for name in FLAT
        ],
    }


async def test_every_datatype_comes_back(hub: Hub) -> None:
    status, answer, _ = await hub.post("/v2/models/echo/infer", echo_body(VALUES))
    assert status == 200, answer
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("e1", "echo", "1")
    assert [output["name"] for output in answer["outputs"]] == [f"out_{name}" for name in FLAT]
    for output in answer["outputs"]:
        sent = VALUES[output["datatype"]]
        assert output["data"] == (sent[0] + sent[1] if output["datatype"] == "FP64" else sent)
        assert len(output["data"]) == prod(output["shape"])


async def test_nan_and_infinity_come_back_as_they_were(hub: Hub) -> None:
    strange = [float("nan"), float("inf"), float("-inf"), 1.0]
    values = VALUES | {"FP16": strange, "FP32": strange, "FP64": [strange]}
    status, answer, _ = await hub.post("/v2/models/echo/infer", echo_body(values))
    assert status == 200, answer
    found = {output["datatype"]: output["data"] for output in answer["outputs"]}
    assert [found[name] for name in ("FP16", "FP32", "FP64")] == [["NaN", "Infinity", "-Infinity", 1.0]] * 3


async def test_only_the_outputs_that_are_asked_for_in_their_order(hub: Hub) -> None:
    wanted = [{"name": "out_UINT8"}, {"name": "out_BOOL"}]
    status, answer, _ = await hub.post(
        "/v2/models/echo/versions/1/infer", echo_body(VALUES) | {"outputs": wanted}
    )
    assert (status, [output["name"] for output in answer["outputs"]]) == (200, ["out_UINT8", "out_BOOL"])
