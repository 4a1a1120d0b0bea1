"""Changes out of a seed: values of JSON with one thing changed, and bytes of which some are changed."""

from __future__ import annotations

import random
from typing import Any

NUMBERS = [0, -1, 1, 65, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30, 1e39, -1e39, 1e308, 5e-324, 0.1, -0.0,
           float("nan"), float("inf"), float("-inf")]  # fmt: skip
WHOLE = [0, -1, 255, 256, -(2**31), 2**31, 2**64 - 1, 2**64]
TEXTS = [
    "",
    "FP32",
    "INT64",
    "BYTES",
    "BOOL",
    "BF16",
    "\x00",
    "é漢😀",
    "x" * 300,
    "digits",
    "absent",
    "../..",
    "NaN",
]
SHAPES = [
    [0, 2**40, 2**40],
    [0, 2**30, 2**30, 1],
    [1, 0, 2**30, 2**31],
    [2**20] * 3,
    [2**40, 0],
    [0] * 5,
    [-1],
    [1] * 33,
]
OTHERS: list[Any] = [None, True, False, [], {}, [[]], [[[1]]], [None], {"a": {"b": 1}}, ["a", 1, None, True]]
KEYS = ["features", "text", "model_name", "inputs", "outputs", "parameters", "id", "name", "shape", "datatype", "data",
        "hub_members", "sequence_id", "x", "instances", "signature_name", "b64", "ready", "log_info", "count",
        "shared_memory_region", "content_type", "classification", "binary_data_size", "binary_data", "timeout",
        "priority", "triton_enable_empty_final_response"]  # fmt: skip
TOKENS = [b"[", b'"\xff":1,', b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\ud800", b"\\u0000", b"NaN", b"-Infinity", b"1e400",
          b"null", b"true", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"0" * 50, b"9" * 500, b"[" * 2000,
          b"[" * 900 + b"]" * 900]  # fmt: skip


class Changes:
    """See the module's text."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def any_value(self) -> Any:
        """A value that does not belong there."""
        kinds: list[list[Any]] = [NUMBERS, TEXTS, OTHERS]
        return self.random.choice(self.random.choice(kinds))

    def bend(self, value: Any) -> Any:
        """`value` with one thing changed, anywhere inside it."""
        pick = self.random
        if isinstance(value, dict) and value and pick.random() < 0.8:
            bent, key = dict(value), pick.choice(list(value))
            match pick.randrange(5):
                case 0:
                    del bent[key]
                case 1:
                    bent[pick.choice(KEYS)] = bent.pop(key)
                case 2:
                    bent[pick.choice(KEYS)] = self.any_value()
                case 3 if "shape" in bent:
                    bent["shape"] = pick.choice(SHAPES)
                case _:
                    bent[key] = self.bend(value[key])
            return bent
        if isinstance(value, list) and value and pick.random() < 0.8:
            bent_list, at = list(value), pick.randrange(len(value))
            match pick.randrange(6):
                case 0:
                    del bent_list[at]
                case 1:
                    bent_list.insert(at, self.any_value())
                case 2:
                    bent_list *= pick.choice([0, 2, 70])
                case 3:
                    return [bent_list]
                case _:
                    bent_list[at] = self.bend(value[at])
            return bent_list
        return self.any_value()

    def spoil(self, body: bytes) -> bytes:
        """`body` with some of its bytes changed."""
        pick, spoilt = self.random, bytearray(body)
        for _ in range(pick.choice([1, 1, 1, 3, 20])):
            at = pick.randrange(len(spoilt) + 1)
            match pick.randrange(6):
                case 0 if at < len(spoilt):
                    spoilt[at] ^= 1 << pick.randrange(8)
                case 1:
                    del spoilt[at:]
                case 2:
                    del spoilt[at : at + pick.randrange(1, 9)]
                case 3:
                    spoilt[at:at] = pick.randbytes(pick.randrange(1, 9))
                case 4:
                    spoilt[at:at] = spoilt[at : at + pick.randrange(1, 60)]
                case _:
                    spoilt[at:at] = pick.choice(TOKENS)
        return bytes(spoilt)
