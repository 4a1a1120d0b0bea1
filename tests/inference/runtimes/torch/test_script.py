"""TorchScript: names as in Triton, types and shapes from config.pbtxt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.signature import TensorSpec
from inferencehub.inference.runtimes.python_worker.outputs import WrongOutputError
from tests.inference.runtimes.tables import ROWS, version
from tests.inference.runtimes.torch.networks import Served, defined, script, torch

pytestmark = pytest.mark.heavy

FLOATS = ROWS.astype(np.float32)
IN = ' input { name: "%s" data_type: TYPE_FP32 dims: [ %s ] }'
OUT = ' output { name: "%s" data_type: TYPE_FP32 dims: [ %s ] }'


def test_a_repository_of_triton_serves_unchanged(tmp_path: Path) -> None:
    model = script(version(tmp_path) / "model.pt", torch.nn.Linear(4, 2), torch.zeros(1, 4))
    config = (
        'platform: "pytorch_libtorch" max_batch_size: 256' + IN % ("INPUT__0", 4) + OUT % ("OUTPUT__0", 2)
    )
    served = Served(tmp_path, "model.pt", config)
    assert served.signature.inputs == (TensorSpec("INPUT__0", "FP32", (-1, 4)),)
    for rows in (1, 7, 200):
        expected = model(torch.from_numpy(FLOATS[:rows])).detach().numpy()
        np.testing.assert_allclose(served(FLOATS[:rows])["OUTPUT__0"], expected, atol=1e-6)


SEVERAL = """
def forward(self, left: Tensor, right: Tensor, bias: Optional[Tensor]=None, power: int=3) -> Tuple[Tensor, List[Tensor]]:
    result = left ** power
    if bias is not None:
        result = result + bias
    return result, [right, left - right]
"""


@pytest.mark.parametrize(("first", "second"), [("left", "right"), ("A__0", "B__1"), ("first", "second")])
def test_names_are_arguments_or_numbers_or_the_order_counts(tmp_path: Path, first: str, second: str) -> None:
    defined(version(tmp_path) / "model.pt", SEVERAL)
    config = (
        IN % (first, "-1, 2") + IN % (second, "-1, 2") + OUT % ("y__2", "-1, 2") + OUT % ("z__0", "-1, 2")
    )
    answer = Served(tmp_path, "model.pt", 'backend: "torch"' + config)(FLOATS[:3, :2], FLOATS[:3, 2:])
    np.testing.assert_allclose(answer["y__2"], FLOATS[:3, :2] - FLOATS[:3, 2:], atol=1e-6)
    np.testing.assert_allclose(answer["z__0"], FLOATS[:3, :2] ** 3, atol=1e-5)


def test_an_argument_with_a_default_may_be_listed(tmp_path: Path) -> None:
    defined(version(tmp_path) / "model.pt", SEVERAL)
    bias = ' input { name: "bias" data_type: TYPE_FP32 dims: [ 1 ] optional: true }'
    served = Served(
        tmp_path, "model.pt", IN % ("left", "-1") + IN % ("right", "-1") + bias + OUT % ("result", "-1")
    )
    assert [spec.optional for spec in served.signature.inputs] == [False, False, True]
    one = np.ones(2, np.float32)
    assert served(one * 2, one, one[:1] * 5)["result"].tolist() == [13, 13]


def test_a_dict_gives_outputs_by_its_keys(tmp_path: Path) -> None:
    defined(
        version(tmp_path) / "model.pt",
        'def forward(self, x: Tensor) -> Dict[str, Tensor]:\n    return {"one": x + 1, "two": x + 2}\n',
    )
    one = np.ones((1, 2), np.float32)
    served = Served(tmp_path, "model.pt", IN % ("x", "-1, 2") + OUT % ("two", "-1, 2"))
    assert served(one)["two"].tolist() == [[3, 3]]
    config = IN % ("x", "-1, 2") + OUT % ("two", "-1, 2") + OUT % ("three", "-1, 2")  # "one" is no "two"
    with pytest.raises(WrongOutputError, match=r"no output 'three', only \['two'\]"):
        Served(tmp_path, "model.pt", config)(one)
    config = IN % ("x", "-1, 2") + OUT % ("OUTPUT__1", "-1, 2") + OUT % ("OUTPUT__2", "-1, 2")
    with pytest.raises(WrongOutputError, match=r"no output 'OUTPUT__2', only \['OUTPUT__1'\]"):
        Served(tmp_path, "model.pt", config)(one)


STRICT = """
def forward(self, x: Tensor, index: Tensor) -> Tensor:
    if x.size(0) > 3:
        raise ValueError("more than 3 rows")
    if x.size(1) > 9:
        raise KeyError("a mistake of the model")
    return torch.mm(x, torch.ones(4, 2))[index]
"""


def test_what_the_model_does_not_take_is_a_sentence(tmp_path: Path) -> None:
    defined(version(tmp_path) / "model.pt", STRICT)
    index = ' input { name: "index" data_type: TYPE_INT64 dims: [ -1 ] }'
    served = Served(tmp_path, "model.pt", IN % ("x", "-1, -1") + index + OUT % ("y", "-1, 2"))
    zero = np.zeros(1, np.int64)
    for shape, at, said in (
        ((4, 4), zero, "^more than 3 rows$"),
        ((2, 5), zero, r"shapes cannot be multiplied \(2x5 and 4x2\)$"),
        ((2, 4), zero + 7, "^index 7 is out of bounds for dimension 0 with size 2$"),
    ):
        with pytest.raises(ValueError, match=said):
            served(np.zeros(shape, np.float32), at)
    with pytest.raises(torch.jit.Error, match="a mistake of the model"):
        served(np.zeros((1, 10), np.float32), zero)
    assert served(np.ones((1, 4), np.float32), zero)["y"].tolist() == [[4, 4]]


def test_an_argument_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    defined(
        version(tmp_path) / "model.pt", "def forward(self, x: Tensor, n: int) -> Tensor:\n    return x * n\n"
    )
    with pytest.raises(HubError) as caught:
        Served(tmp_path, "model.pt", IN % ("x", "-1") + OUT % ("y", "-1"))
    assert caught.value.detail == (
        "argument 'n' of the model is a int, which is not supported: expected tensors"
    )
