"""A model in Python that records each run in a file, so that a test can count runs in all processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.hub import Hub, write_model

SOURCE = """
import os
import time
from pathlib import Path


class Model:
    def __init__(self, directory, parameters):
        self.log = Path(parameters["log"])
        self.seconds = float(parameters["seconds"])
        if (directory / "broken").exists():
            raise ValueError("it is broken")
        self.held = directory / "held"
        self.wait()

    def wait(self):
        while self.held.exists():
            time.sleep(0.01)

    def predict(self, inputs):
        x = inputs["x"]
        with self.log.open("a") as log:
            log.write(f"{x.tolist()}\\n")
        time.sleep(self.seconds)
        self.wait()
        if (x < 0).any():
            os._exit(9)
        return {"y": x * 2}
"""


def python_model(
    repository: Path,
    name: str,
    log: Path,
    seconds: float = 0.0,
    held: bool = False,
    slots: int = 1,
    more: str = "",
) -> None:
    """A model that doubles its FP32 input `x` of any length, in `seconds`; it dies of a negative number.

    Args:
        repository: where to write it.
        name: its name.
        log: the file that gets one line a run.
        seconds: how long a run takes.
        held: loading waits for `release`, as a run does after `hold`; a file `broken` in the version directory makes it fail.
        slots: its instances.
        more: of its config.
    """
    write_model(
        repository,
        name,
        f"""backend: "python"
        input {{ name: "x" data_type: TYPE_FP32 dims: [-1] }}
        output {{ name: "y" data_type: TYPE_FP32 dims: [-1] }}
        instance_group {{ count: {slots} kind: KIND_CPU }}
        parameters {{ key: "log" value {{ string_value: "{log}" }} }}
        parameters {{ key: "seconds" value {{ string_value: "{seconds}" }} }}
        {more}""",
        {"1/model.py": SOURCE},
    )
    if held:
        hold(repository, name)


def hold(repository: Path, name: str) -> None:
    """Let each run of a model wait before its end, until `release`."""
    (repository / name / "1" / "held").touch()


def release(repository: Path, name: str) -> None:
    """Let a model end its loading, or its runs."""
    (repository / name / "1" / "held").unlink()


def runs(log: Path) -> list[str]:
    """One line for each run."""
    return log.read_text().splitlines() if log.exists() else []


async def double(hub: Hub, model: str, *values: float) -> tuple[int, Any, str]:
    """Status, doubled values or error, and the pod, of such a model."""
    x = {"name": "x", "datatype": "FP32", "shape": [len(values)], "data": values}
    async with hub.client.post(f"/v2/models/{model}/infer", json={"inputs": [x]}) as answer:
        body = await answer.json()
        found = body["outputs"][0]["data"] if answer.status == 200 else body["error"]
        return answer.status, found, answer.headers.get("x-served-by", "")
