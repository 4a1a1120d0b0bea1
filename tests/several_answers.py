"""A model that gives several answers, as tests need it, and what it has written down of its runs."""

from __future__ import annotations

from pathlib import Path
from struct import pack
from typing import Any

from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from tests.hub import write_model
from tests.written import request_to_proto

DECOUPLED = "model_transaction_policy { decoupled: true }"
COUNTER = """
import os, time
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        self.log = os.open(parameters["log"], os.O_CREAT | os.O_WRONLY)

    ASYNC def predict(self, inputs, parameters):
        count, rest = int(inputs["count"].ravel()[0]), inputs.get("text_input")
        word = rest.ravel()[0].decode() if rest is not None else ""
        shape = (1, 1) if inputs["count"].ndim == 2 else (1,)
        try:
            self.say("began")
            for made in range(1, abs(count) + 1):
                self.say(made)
                text = parameters.get("prefix", "") + word + str(made) + "." * parameters.get("width", 0)
                yield {"text_output": np.array(text.encode(), dtype=object).reshape(shape)}
                while "steps" in parameters and made < abs(count) and self.steps(parameters["steps"]) < made:
                    time.sleep(0.005)
                time.sleep(parameters.get("pause_s", 0))
            if count < 0:
                raise ValueError("it is below zero")
        finally:
            self.say("closed")

    def steps(self, file):
        return os.path.getsize(file) if os.path.exists(file) else 0

    def say(self, word):
        os.pwrite(self.log, f"{word:<10} {time.monotonic():<20}".encode(), 0)
"""


def counting_model(
    repository: Path,
    name: str = "counter",
    instances: int = 1,
    asynchronous: bool = False,
    more: str = DECOUPLED,
) -> None:
    """A model that counts to its input `count`, an INT32: an answer for each number, in its output `text_output`.

    A text is the parameter `prefix`, the input `text_input`, the number, and `width` dots. If `count` is below zero, the
    model counts to -`count` and then refuses its input. After an answer it waits `pause_s`; before answer n it also waits
    until the file `steps` has n - 1 bytes.

    Args:
        repository: where to write it; `word` and `moment` read what its runs say.
        name: its name.
        instances: how many.
        asynchronous: whether its generator is asynchronous.
        more: of its config, which says by itself that the model gives several answers.
    """
    config = f"""backend: "python" {more}
        instance_group {{ count: {instances} }}
        input {{ name: "count" data_type: TYPE_INT32 dims: [1] }}
        input {{ name: "text_input" data_type: TYPE_STRING dims: [1] optional: true }}
        output {{ name: "text_output" data_type: TYPE_STRING dims: [1] }}
        parameters {{ key: "log" value {{ string_value: "{repository / name}.log" }} }}"""
    source = COUNTER.replace("ASYNC ", "async " if asynchronous else "")
    write_model(repository, name, config, {"1/model.py": source})


def word(repository: Path, name: str = "counter") -> str:
    """What the model wrote last: "began", the number of the answer that it made, or "closed"."""
    return (repository / f"{name}.log").read_text().split()[0]


def moment(repository: Path, name: str = "counter") -> float:
    """When it wrote this, in seconds of `time.monotonic`."""
    return float((repository / f"{name}.log").read_text().split()[1])


def count_to(count: int, id: str = "", model: str = "counter", **parameters: Any) -> bytes:
    """A serialized ModelInferRequest to such a model."""
    tensor = Tensor("count", "INT32", (1,), pack("<i", count))
    message = request_to_proto(InferRequest(model, "", (tensor,), (), parameters))
    message.id = id
    return message.SerializeToString()


def text_of(response: Any) -> str:
    """The text in a ModelInferResponse of such a model."""
    text: str = response.raw_output_contents[0][4:].decode()
    return text
