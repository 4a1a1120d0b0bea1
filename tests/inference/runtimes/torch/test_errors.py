"""Errors of PyTorch at a run: the caller's become a sentence, all others do not."""

from __future__ import annotations

import pytest

from inferencehub.inference.runtimes.torch.errors import refusal

TRACE = """The following operation failed in the TorchScript interpreter.
Traceback of TorchScript, serialized code (most recent call last):
  File "code/__torch__/net.py", line 12, in forward
    return torch.linear(x, weight)
           ~~~~~~~~~~~~ <--- HERE
"""


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("more than 3 rows"), "more than 3 rows"),
        (ValueError(), "it does not take this input"),
        (RuntimeError(f"{TRACE}builtins.ValueError: more than 3 rows\n"), "more than 3 rows"),
        (
            RuntimeError(f"{TRACE}RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x5 and 4x2)\n"),
            "mat1 and mat2 shapes cannot be multiplied (2x5 and 4x2)",
        ),
        (IndexError("index out of range in self"), "index out of range in self"),
        (
            RuntimeError("The size of tensor a (3) must match the size of tensor b (4) at dimension 1"),
            "The size of tensor a (3) must match the size of tensor b (4) at dimension 1",
        ),
        (
            AssertionError("Guard failed: x.size()[0] <= 16"),
            "it takes only inputs with x.size()[0] <= 16",
        ),
        (RuntimeError(f"{TRACE}builtins.KeyError: a mistake of the model\n"), ""),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory for a tensor of this shape"), ""),
        (RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Half'"), ""),
        (RuntimeError("expected scalar type Float but found Double"), ""),
    ],
)
def test_an_error_about_the_input_is_the_caller_s(error: Exception, sentence: str) -> None:
    assert refusal(error) == sentence
