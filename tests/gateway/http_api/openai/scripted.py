"""Models that say what the caller tells them to, so that tests know what must come."""

from __future__ import annotations

from pathlib import Path

from tests.hub import write_model

# The last message, or the prompt, is JSON: `pieces` to give, and what else to do, such as to wait after each piece for the
# file whose path is `go` and the number of the piece. Else it is the only piece.
# What it does goes into a file: the number of the piece that it gave last, or "closed".
SCRIPTED = """
import json, os, time, numpy as np

class Model:
    def __init__(self, directory, parameters):
        self.log = os.open(parameters["log"], os.O_CREAT | os.O_WRONLY)
        self.whole, self.counts = "whole" in parameters, "counts" in parameters

    def predict(self, inputs):
        return self.outputs(*self.read(inputs), -1) if self.whole else self.pieces(*self.read(inputs))

    def read(self, inputs):
        given = {name: value.ravel()[0].decode() for name, value in inputs.items()}
        said = given["messages"] if "messages" in given else given["prompt"]
        if "messages" in given:
            said = json.loads(said)[-1]["content"]
        script = json.loads(said) if said.startswith("{") else {"pieces": [said]}
        if script.get("show"):
            script["pieces"] = [json.dumps(given)]
        return script, inputs

    def pieces(self, script, inputs):
        made = 0
        try:
            for made, piece in enumerate(script["pieces"] * script.get("times", 1), 1):
                self.say(made)
                yield self.outputs(script, inputs, made)
                time.sleep(script.get("pause_s", 0))
                while "go" in script and not os.path.exists(script["go"] + str(made)):
                    time.sleep(0.01)
            if "error" in script:
                raise (RuntimeError if script.get("bug") else ValueError)(script["error"])
        finally:
            self.say("closed")

    def outputs(self, script, inputs, made):
        pieces = script["pieces"]
        if "error" in script and made < 0:
            raise ValueError(script["error"])
        text = "".join(pieces) if made < 0 else pieces[(made - 1) % len(pieces)]
        text = bytes.fromhex(text) if script.get("hex") else text.encode()
        last = made < 0 or made == len(pieces) * script.get("times", 1)
        found = {"text": self.one(text)}
        if self.counts:
            found["finish_reason"] = self.one(script.get("finish", "stop").encode() if last else b"")
            found["prompt_tokens"] = np.array([42])
            found["completion_tokens"] = np.array([10 * (len(pieces) if made < 0 else made)])
        return found

    def one(self, text):
        return np.array([text], dtype=object)

    def say(self, word):
        os.pwrite(self.log, f"{word:<10}".encode(), 0)
"""
DECOUPLED = "model_transaction_policy { decoupled: true }"
API = 'parameters { key: "api" value { string_value: "%s" } }'


def text(name: str, more: str = "") -> str:
    """An input or output of one text."""
    return f'{{ name: "{name}" data_type: TYPE_STRING dims: [1] {more} }}'


def scripted(
    models: Path,
    name: str,
    api: str = "openai-chat",
    decoupled: bool = True,
    counts: bool = False,
    parameters: bool = True,
    more: str = "",
) -> None:
    """A scripted model."""
    config = f"""backend: "python" {DECOUPLED if decoupled else ""} {API % api if api else ""} {more}
        input {text("prompt" if api == "openai-completion" else "messages")}
        {f"input {text('parameters', 'optional: true')}" if parameters else ""}
        output {text("text")}
        parameters {{ key: "log" value {{ string_value: "{models / name}.log" }} }}"""
    if not decoupled:
        config += ' parameters { key: "whole" value { string_value: "1" } }'
    if counts:
        config += f"""output {text("finish_reason")}
            output {{ name: "prompt_tokens" data_type: TYPE_INT32 dims: [1] }}
            output {{ name: "completion_tokens" data_type: TYPE_INT64 dims: [1] }}
            parameters {{ key: "counts" value {{ string_value: "1" }} }}"""
    write_model(models, name, config, {"1/model.py": SCRIPTED})


def did(models: Path, name: str) -> str:
    """What a scripted model did last."""
    return (models / f"{name}.log").read_text().strip()
