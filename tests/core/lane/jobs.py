"""Makes small jobs for tests."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from itertools import count
from time import monotonic

from inferencehub.core.lane.batch import Batch
from inferencehub.core.lane.job import Job, Member
from inferencehub.core.values.requests import InferRequest, InferResponse, Parameter
from inferencehub.core.values.tensors import Tensor

_numbers = count(1)


def request(
    values: Sequence[float], model: str = "m", parameters: Mapping[str, Parameter] | None = None
) -> InferRequest:
    """A call with one row for each value."""
    data = array("f", values).tobytes()
    return InferRequest(model, "", (Tensor("x", "FP32", (len(values), 1), data),), (), parameters or {})


def job(
    rows: int = 1,
    deadline: float = float("inf"),
    arrived: float | None = None,
    value: float | None = None,
    parameters: Mapping[str, Parameter] | None = None,
) -> Job:
    """A job of one member that arrives now, if nothing else is said; its rows all hold `value`, else a number that no other job has."""
    number = float(next(_numbers)) if value is None else value
    return Job(
        request([number] * rows, parameters=parameters),
        rows,
        (Member(rows, deadline, ""),),
        monotonic() if arrived is None else arrived,
    )


def values(answer: InferRequest | InferResponse) -> list[float]:
    """The numbers of the first tensor."""
    tensors = answer.inputs if isinstance(answer, InferRequest) else answer.outputs
    numbers = array("f")
    numbers.frombytes(bytes(tensors[0].data))
    return list(numbers)


def echo(batch: Batch) -> InferResponse:
    """The answer of a model that gives back what it gets."""
    merged = batch.request()
    return InferResponse(merged.model, "1", merged.inputs)
