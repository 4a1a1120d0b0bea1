"""The classification extension: the highest values of an output, as text "value:index" or "value:index:label".

Source: Open Inference Protocol, "classification extension". Values are written as Triton writes them: numbers with a
fraction with six digits behind the point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from inferencehub.core.values.errors import bad_input
from inferencehub.core.values.tensors import Tensor, checked_tensor, pack_bytes
from inferencehub.inference.runtimes.support.arrays import to_array
from inferencehub.pb import model_config_pb2 as config_pb

Labels = Mapping[str, Sequence[str]]


def read_labels(config: config_pb.ModelConfig, directory: Path) -> dict[str, list[str]]:
    """The labels of each output whose config names a `label_filename`: a text file with one label a line.

    Args:
        config: the model's config.
        directory: the model's directory.

    Raises:
        HubError: BAD_INPUT if a file is missing or is not UTF-8 text.
    """
    labels = {}
    for output in config.output:
        if output.label_filename:
            try:
                text = (directory / output.label_filename).read_text("utf-8")
            except (OSError, UnicodeDecodeError):
                raise bad_input(
                    f"config.pbtxt: output '{output.name}' has label_filename '{output.label_filename}', expected a "
                    "UTF-8 text file of that name in the model's directory"
                ) from None
            # A line ends with a newline only: a label may hold other characters that Python splits at.
            lines = text.removesuffix("\n").split("\n")
            labels[output.name] = [line.removesuffix("\r") for line in lines]
    return labels


def top_classes(tensor: Tensor, count: int, batches: bool, labels: Sequence[str]) -> Tensor:
    """The highest values of a tensor, the highest first; of equal values the one with the lower index first.

    Args:
        tensor: numbers; every dimension but the batch dimension is part of the index.
        count: how many; all if there are fewer. NaN counts as the lowest number.
        batches: whether the first dimension is the batch dimension.
        labels: the classes' names; () if there are none.

    Returns:
        A BYTES tensor of shape [rows, count], or [count] if the model does not batch.
    """
    array = to_array(tensor)
    rows = array.shape[0] if batches else 1
    flat = array.reshape(rows, -1) if array.size else array.reshape(rows, 0)
    order = flat if flat.dtype.kind != "f" else np.where(np.isnan(flat), -np.inf, flat)
    size = flat.shape[1]
    count = min(count, size)
    # A stable sort of the reversed row, read backwards: descending, and equal values in the order of their index.
    best = size - 1 - np.argsort(order[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :count]
    texts = []
    for row, indices in zip(flat, best.tolist(), strict=True):
        for index in indices:
            value = row[index].item()
            text = f"{value:f}:{index}" if isinstance(value, float) else f"{value}:{index}"
            texts.append(
                (f"{text}:{labels[index]}" if index < len(labels) and labels[index] else text).encode()
            )
    shape = (rows, count) if batches else (count,)
    return checked_tensor(tensor.name, "BYTES", shape, pack_bytes(texts))
