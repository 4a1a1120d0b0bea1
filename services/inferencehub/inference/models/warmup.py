"""Warm-up: the requests in the config's `model_warmup`, run on each instance before the model counts as ready.

A config has to ask for it. A guessed input is not safe: zeros of a guessed shape are no picture of a detector, a zero
may divide, and a crash in native code ends the whole pod. A warm-up that fails is a line in the log; the model serves.

As in Triton: `dims` are those of a caller (without the batch, before a `reshape`), a `batch_size` of 0 skips the
request, one row is repeated `batch_size` times, `count` 0 means once, and zeros and random values of strings are empty.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator
from math import prod
from random import Random

from inferencehub.core.oip.model_info import TYPE_NAMES
from inferencehub.core.values.errors import HubError, bad_input
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import DTYPES, Tensor, checked_tensor
from inferencehub.inference.runtimes.runtime import ModelSource
from inferencehub.pb import model_config_pb2 as config_pb

logger = logging.getLogger(__name__)

FLOATS = {"FP16": "e", "FP32": "f", "FP64": "d"}
FOLDER = "warmup"  # in the model's directory: the files that `input_data_file` names


async def warm_up(
    source: ModelSource, run: Callable[[int, InferRequest], Awaitable[None]], instances: Iterable[int]
) -> None:
    """Run the requests of `model_warmup`.

    Args:
        source: the model.
        instances: the numbers of those to warm up.
        run: runs a request of a caller on one instance.
    """
    for trial in source.config.model_warmup:
        place = {"model": source.name, "version": source.version, "warmup": trial.name}
        if not trial.batch_size:
            logger.info("warm-up skipped: its batch_size is 0", extra=place)
            continue
        try:
            request = trial_request(source, trial)
            for instance in instances:
                for _ in range(max(1, trial.count)):
                    await run(instance, request)
        except HubError as error:
            logger.warning("warm-up failed", extra={**place, "reason": error.detail})
        except Exception:
            logger.exception("warm-up failed", extra=place)


def trial_request(source: ModelSource, trial: config_pb.ModelWarmup) -> InferRequest:
    """The request that a warm-up describes.

    Raises:
        HubError: BAD_INPUT if an input has no valid type, dims or data.
    """
    inputs = [trial_input(source, trial, name, value) for name, value in sorted(trial.inputs.items())]
    return InferRequest(source.name, source.version, tuple(inputs))


def trial_input(
    source: ModelSource, trial: config_pb.ModelWarmup, name: str, value: config_pb.ModelWarmup.Input
) -> Tensor:
    """One input of a warm-up: its row, repeated for the batch.

    Raises:
        HubError: BAD_INPUT as in `trial_request`.
    """
    dtype, dims, rows = TYPE_NAMES.get(value.data_type, ""), tuple(value.dims), trial.batch_size
    if dtype not in DTYPES or any(dim < 0 for dim in dims):
        raise bad_input(f"input '{name}' needs a data_type and dims of 0 or more, got {dtype} {list(dims)}")
    times, given = rows if source.config.max_batch_size else 1, value.WhichOneof("input_data_type")
    size = (DTYPES[dtype] or 4) * prod(dims)  # the length of an empty string takes 4 bytes
    row = b""
    if given == "input_data_file":
        row = file_data(source, name, value.input_data_file)
    size, most = max(size, len(row)), source.processes.max_answer_bytes
    if size * times > most:
        raise bad_input(f"input '{name}' has {size * times} bytes, expected at most {most}, as in a call")
    if given == "random_data":
        row = b"".join(random_elements(dtype, prod(dims)))
    elif given != "input_data_file":
        row = bytes(size)
    shape = (rows, *dims) if source.config.max_batch_size else dims
    return checked_tensor(name, dtype, shape, row * times)


def file_data(source: ModelSource, name: str, file: str) -> bytes:
    """The bytes of a file that `input_data_file` names: raw elements of one row, BYTES with their lengths.

    Raises:
        HubError: BAD_INPUT if it cannot be read.
    """
    try:
        return (source.directory.parent / FOLDER / file).read_bytes()
    except OSError as error:
        raise bad_input(f"input '{name}': '{FOLDER}/{file}' cannot be read: {error.strerror}") from None


def random_elements(dtype: str, count: int) -> Iterator[bytes]:
    """Raw elements: from 0 to 1 for floats, 0 or 1 for BOOL, from 0 to 127 for integers, "" for BYTES."""
    random, size = Random(), DTYPES[dtype]
    for _ in range(count):
        if dtype == "BF16":
            yield struct.pack("<f", random.random())[2:]  # the upper half of an FP32
        elif dtype in FLOATS:
            yield struct.pack(f"<{FLOATS[dtype]}", random.random())
        elif dtype == "BYTES":
            yield bytes(4)
        else:
            yield random.randrange(2 if dtype == "BOOL" else 128).to_bytes(size, "little")
