"""ExportedPrograms: the file tells inputs and outputs, and answers are PyTorch's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.signature import TensorSpec
from tests.inference.runtimes.tables import ROWS, version
from tests.inference.runtimes.torch.networks import BATCH, Classifier, Served, export, torch

pytestmark = pytest.mark.heavy

FLOATS = ROWS.astype(np.float32)
FOUR = torch.zeros(2, 4)


def test_the_file_tells_inputs_and_outputs(tmp_path: Path) -> None:
    model = export(version(tmp_path) / "model.pt2", Classifier(), FOUR)
    served = Served(tmp_path, "model.pt2")
    assert served.signature.inputs == (TensorSpec("x", "FP32", (-1, 4)),)
    assert served.signature.outputs == (
        TensorSpec("label", "INT64", (-1, 1)),
        TensorSpec("probabilities", "FP32", (-1, 3)),
    )
    for rows in (1, 7, 200, 0):
        answer = served(FLOATS[:rows])
        with torch.inference_mode():
            expected = model(torch.from_numpy(FLOATS[:rows]))
        assert np.array_equal(answer["label"], expected["label"].numpy())
        np.testing.assert_allclose(answer["probabilities"], expected["probabilities"].numpy(), atol=1e-6)


class Several(torch.nn.Module):  # type: ignore[misc]
    """Several inputs and outputs, in a pair, by keyword, and one that is not a tensor."""

    def forward(self, pair: Any, power: int, *, bias: Any, mask: Any = None) -> Any:
        left, right = pair
        return left**power + bias, [right.double(), left > 0]


@pytest.fixture
def several(tmp_path: Path) -> Any:
    shapes = {"pair": (BATCH, BATCH), "power": None, "bias": BATCH, "mask": None}
    pair = (torch.zeros(3, 2), torch.zeros(3, 2))
    return export(
        version(tmp_path) / "model.pt2", Several(), pair, 3, shapes=shapes, bias=torch.zeros(3, 1), mask=None
    )


LEFT, RIGHT, BIAS = FLOATS[:5, :2], FLOATS[5:10, :2], FLOATS[:5, 3:]


def right_answers(module: Any) -> list[Any]:
    bias = torch.from_numpy(BIAS)
    power, (double, positive) = module((torch.from_numpy(LEFT), torch.from_numpy(RIGHT)), 3, bias=bias)
    return [power.numpy(), double.numpy(), positive.numpy()]


def test_inputs_and_outputs_may_be_in_pairs_and_lists(tmp_path: Path, several: Any) -> None:
    served = Served(tmp_path, "model.pt2")
    assert [spec.name for spec in served.signature.inputs] == ["pair_0", "pair_1", "bias"]
    assert [(spec.name, spec.dtype) for spec in served.signature.outputs] == [
        ("OUTPUT__0", "FP32"),
        ("OUTPUT__1", "FP64"),
        ("OUTPUT__2", "BOOL"),
    ]
    answer = served(LEFT, RIGHT, BIAS)
    for got, expected in zip(answer.values(), right_answers(several), strict=True):
        assert np.array_equal(got, expected)


OUTPUTS = (
    'output { name: "SIGN__2" data_type: TYPE_BOOL dims: [ 2 ] } output { name: "POWER__0" dims: [ 2 ] }'
)
INPUTS = """max_batch_size: 8 input { name: "%s" dims: [ 1 ] }
    input { name: "%s" data_type: TYPE_FP32 } input { name: "%s" dims: [ 2 ] }"""


@pytest.mark.parametrize("names", [("bias", "pair_1", "pair_0"), ("BIAS__2", "RIGHT__1", "LEFT__0")])
def test_a_config_names_them_as_triton_does(tmp_path: Path, several: Any, names: tuple[str, ...]) -> None:
    served = Served(tmp_path, "model.pt2", INPUTS % names + OUTPUTS)
    assert [(spec.name, spec.shape) for spec in served.signature.inputs] == [
        (names[0], (-1, 1)),
        (names[1], (-1, 2)),
        (names[2], (-1, 2)),
    ]
    answer = served(BIAS, RIGHT, LEFT)
    power, _, positive = right_answers(several)
    assert list(answer) == ["SIGN__2", "POWER__0"]
    assert np.array_equal(answer["SIGN__2"], positive)
    assert np.array_equal(answer["POWER__0"], power)


def test_rows_beyond_the_bound_of_the_export_are_refused(tmp_path: Path) -> None:
    limited = {"x": {0: torch.export.Dim("batch", max=16)}}
    export(version(tmp_path) / "model.pt2", Classifier(), FOUR, shapes=limited)
    served = Served(tmp_path, "model.pt2")
    assert len(served(FLOATS[:16])["label"]) == 16
    with pytest.raises(ValueError, match="16"):
        served(FLOATS[:17])
    assert Served(tmp_path, "model.pt2", "max_batch_size: 16").signature.max_batch_size == 16
    with pytest.raises(HubError) as caught:
        Served(tmp_path, "model.pt2", "max_batch_size: 17")
    assert caught.value.detail == ("config.pbtxt: max_batch_size 17, and the model takes at most 16 rows")


class Typed(torch.nn.Module):  # type: ignore[misc]
    """Gives its inputs back, each with one added."""

    def forward(self, half: Any, brain: Any, byte: Any, long: Any) -> Any:
        return {"half": half + 1, "brain": brain + 1, "byte": byte + 1, "long": long + 1}


def test_numbers_of_all_sizes(tmp_path: Path) -> None:
    types = (torch.float16, torch.bfloat16, torch.uint8, torch.int64)
    export(version(tmp_path) / "model.pt2", Typed(), *[torch.zeros(3, 2, dtype=each) for each in types])
    served = Served(tmp_path, "model.pt2")
    dtypes = ["FP16", "BF16", "UINT8", "INT64"]
    assert [spec.dtype for spec in served.signature.inputs] == dtypes
    assert [spec.dtype for spec in served.signature.outputs] == dtypes
    one = np.array([[1, 2]])
    answer = served(one.astype(np.float16), one / 2, one.astype(np.uint8), one * 2**53 + 1)
    assert {name: array.tolist() for name, array in answer.items()} == {
        "half": [[2, 3]],
        "brain": [[1.5, 2]],
        "byte": [[2, 3]],
        "long": [[2**53 + 2, 2**54 + 2]],
    }


class Product(torch.nn.Module):  # type: ignore[misc]
    """A product of two inputs."""

    def forward(self, x: Any, count: Any) -> Any:
        return x * count


def test_what_is_no_tensor_of_the_protocol_is_refused(tmp_path: Path) -> None:
    auto = {"x": None, "count": torch.export.Dim.DYNAMIC}
    export(version(tmp_path / "number") / "model.pt2", Product(), FOUR, 3, shapes=auto)
    export(version(tmp_path / "complex") / "model.pt2", Product(), FOUR + 1j, FOUR)
    for name, said in {
        "number": "input 'count' of the model is no tensor",
        "complex": "input 'x' of the model is a tensor of torch.complex64",
    }.items():
        with pytest.raises(HubError) as caught:
            Served(tmp_path / name, "model.pt2")
        assert caught.value.detail == f"{said}, which is not supported"
