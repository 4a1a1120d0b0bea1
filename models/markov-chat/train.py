"""Counts which word follows which two in text.txt, and writes that as 1/chain.json.

    python models/markov-chat/train.py [OUTPUT]

A chain of order two: a state is two words, and from each state it goes to a word as often as the text does. A sentence
begins in the state of two empty words and ends with a sign that ends sentences. The text is the project's own.
"""

import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).parent
WORD = re.compile(r"[\w'-]+|[^\w\s]")
ENDS = frozenset(".?!")


def chain_of(text: str) -> dict[str, dict[str, int]]:
    """How often each word follows each state; a state is two words with a space between them."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    one, two = "", ""
    for word in WORD.findall(text):
        found[f"{one} {two}"][word] += 1
        one, two = ("", "") if word in ENDS else (two, word)
    return {state: dict(sorted(after.items())) for state, after in sorted(found.items())}


def main() -> None:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "1" / "chain.json"
    chain = chain_of((HERE / "text.txt").read_text())
    output.write_text(json.dumps(chain, ensure_ascii=False, separators=(",", ":"), indent=0) + "\n")
    choices = sum(len(after) > 1 for after in chain.values())
    print(f"{len(chain)} states, {choices} of them with a choice; {output.stat().st_size} bytes written")


if __name__ == "__main__":
    main()
