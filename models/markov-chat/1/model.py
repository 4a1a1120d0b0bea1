"""A chain of words that answers a chat; an example of a model that gives its answer piece by piece."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]

ENDS = frozenset(".?!")
LONGEST = 60  # words of a sentence: with a low temperature, the chain may go in a circle


class Model:
    """One instance of the model, with the files of its `directory` and the parameters of its config.pbtxt."""

    def __init__(self, directory: Path, parameters: dict[str, str]) -> None:
        self.chain: dict[str, dict[str, int]] = json.loads((directory / "chain.json").read_text())
        self.sentences = int(parameters.get("sentences", "2"))
        self.states: dict[str, list[str]] = {}  # states by their first word
        for state in self.chain:
            self.states.setdefault(state.split(" ")[0].lower(), []).append(state)

    def predict(self, inputs: Arrays) -> Iterator[Arrays]:
        """messages [1] and parameters [1], both JSON -> text [1], a word or a sign each time."""
        messages = json.loads(inputs["messages"][0])
        asked = json.loads(inputs["parameters"][0]) if "parameters" in inputs else {}
        draws = random.Random(asked.get("seed"))
        temperature = asked.get("temperature", 1.0)
        spaced = ""
        for number in range(self.sentences):
            about = messages[-1]["content"] if number == 0 else ""
            for word in self.sentence(about, draws, temperature):
                yield {
                    "text": np.array(
                        [(word if word in ",;:" or word in ENDS else spaced + word).encode()], object
                    )
                }
                spaced = " "

    def sentence(self, about: str, draws: random.Random, temperature: float) -> Iterator[str]:
        """The words of a sentence. It begins with a word of `about` that the chain knows, the rarest one."""
        known = [word for word in re.findall(r"[\w'-]+", about.lower()) if word in self.states]
        one, two = "", ""
        if known:
            rarest = min(known, key=lambda word: len(self.states[word]))
            one, two = draws.choice(self.states[rarest]).split(" ")
            yield one.capitalize()
            yield two
        for _ in range(LONGEST):
            word = drawn(self.chain[f"{one} {two}"], draws, temperature)
            yield word
            if word in ENDS:
                return
            one, two = two, word


def drawn(after: dict[str, int], draws: random.Random, temperature: float) -> str:
    """A word, drawn by how often it came; the most frequent one at temperature 0."""
    if temperature < 0.01:
        return max(after, key=after.__getitem__)
    weights = [count ** (1 / temperature) for count in after.values()]
    return draws.choices(list(after), weights)[0]
