"""The closed-loop jobs for all peers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """A number of clients that each send the same kind of request and wait for the answer."""

    name: str
    title: str
    model: str
    form: str  # row, json or binary: how it is asked
    clients: int
    quick: bool = False


JOBS = (
    Job("three-64", "3 floats, JSON, 64 clients", "three", "row", 64, quick=True),
    Job("three-1", "3 floats, JSON, 1 client", "three", "row", 1, quick=True),
    Job("digits-64", "digits (ONNX, 64 floats), JSON, 64 clients", "digits", "row", 64, quick=True),
    Job("image-json-1", "1x3x224x224 as JSON, 1 client", "image", "json", 1, quick=True),
    Job("image-json-8", "1x3x224x224 as JSON, 8 clients", "image", "json", 8),
    Job("image-binary-1", "1x3x224x224 as bytes, 1 client", "image", "binary", 1, quick=True),
    Job("image-binary-8", "1x3x224x224 as bytes, 8 clients", "image", "binary", 8),
)
WALL = ("three-64", "three-1")  # what the echo is asked, too
