"""Sentiment of English text by rules: words, the words before them, and how loud they are.

Why rules and not a trained model: no dependency, the same answer on every machine, and each verdict
can be traced to lines of the lexicon. How a score is computed:

1. `lexicon.tsv` gives words, phrases, emoji and emoticons a valence between -3 and 3. An
   inflected or stretched word ("annoys", "looove") falls back to its base form.
2. Words directly before it scale the valence ("very", "slightly"). A negation at most SCOPE words
   before it reverses and weakens it: "not good" < 0 < "not bad" < "good".
3. Capitals among small letters, stretched letters and exclamation marks strengthen the valence; a
   question mark weakens it.
4. In "A but B", B counts more than A; "despite A" and "although A" weaken A.
5. The scores of all sentences are added. If the sum is within NEUTRAL of zero, the text is neutral.

Each step looks at a bounded number of neighbours, so the time is linear in the text.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import NamedTuple, Self


def _list(words: str) -> list[str]:
    return words.split()


NEUTRAL = 0.45  # a smaller |score| is neutral
SOFTNESS = 2.0  # a score this far beyond NEUTRAL has confidence 0.75
SCOPE = 3  # words that a negation reaches
LONGEST_PHRASE = 3
LONGEST_WORD = 32  # more letters than this are no word
REMEMBERED = 4096  # different words of one text that are looked up only once
LOUDER, LOUDEST_MARKS, MARK = 1.25, 3, 0.12
QUESTION = 0.6
NEGATED_POSITIVE, NEGATED_NEGATIVE = -0.75, -0.45
BEFORE_CONTRAST, AFTER_CONTRAST, CONCEDED = 0.5, 1.4, 0.5

NEGATIONS = frozenset(
    _list(
        "not no never none nobody nothing nowhere neither nor without hardly barely scarcely rarely seldom "
        "cannot cant dont didnt doesnt isnt arent wasnt wont couldnt wouldnt shouldnt aint lack lacks "
        "lacked lacking"
    )
)
# Negations that are none: "not only fast", "no doubt good"; "can't thank you enough", "couldn't be happier".
NOT_NEGATING = frozenset({("not", "only"), ("not", "just"), ("no", "doubt"), ("without", "doubt")})
UNSURPASSED = frozenset({"can't", "cannot", "cant", "couldn't", "couldnt"})
COMPARATIVES = frozenset({"enough", "better", "happier", "easier", "nicer"})

SCALES: Mapping[str, float] = {
    **dict.fromkeys(_list("absolutely completely extremely incredibly insanely totally utterly"), 1.5),
    **dict.fromkeys(_list("amazingly deeply exceptionally highly hugely truly unbelievably way"), 1.4),
    **dict.fromkeys(_list("very really so such too most super especially particularly remarkably"), 1.3),
    **dict.fromkeys(_list("much more quite pretty rather thoroughly even far simply"), 1.15),
    **dict.fromkeys(_list("fairly mostly relatively reasonably"), 0.8),
    **dict.fromkeys(_list("slightly somewhat little bit marginally mildly partly kinda sorta"), 0.6),
}
CONTRASTS = frozenset({"but", "however", "nevertheless", "nonetheless"})
CONCESSIONS = frozenset({"although", "though", "despite"})
BREAK = ","
STEERING = CONTRASTS | CONCESSIONS | {BREAK, "not"}  # change the weight of what follows
# A negation reaches over none of these: "no problems and great staff".
BARRIERS = CONTRASTS | CONCESSIONS | {BREAK, "and", "because"}

# Endings, and what the base form may have in their place.
ENDINGS: Sequence[tuple[str, Sequence[str]]] = (
    ("'s", ("",)),
    *((ending, ("y",)) for ending in ("iest", "ier", "ies", "ied", "ily")),
    *((ending, ("", "e")) for ending in ("ingly", "edly", "est", "ing", "es", "ed", "er")),
    ("ly", ("", "le")),
    ("s", ("",)),
)
RUN = re.compile(r"(.)\1+")
STRETCH = re.compile(r"(.)\1\1")
WORD = r"(?P<word>[^\W\d_]+(?:['\u2019][^\W\d_]+)*)"
MARKS = r"(?P<end>[.!?\u2026\n]+)|(?P<comma>[,;:()\u2013\u2014]+)"
LABELS = ("negative", "neutral", "positive")


@dataclass(frozen=True, slots=True)
class Sentiment:
    """A verdict: class_id 0 is negative, 1 neutral, 2 positive; confidence is from 0.5 (between two classes) to 1."""

    class_id: int
    confidence: float
    label: str


class _Word(NamedTuple):
    text: str
    valence: float = 0.0


PAUSE = _Word(BREAK)


class SentimentRules:
    """Classifies text with a lexicon of entry -> valence. Never changes after construction."""

    def __init__(self, lexicon: Mapping[str, float]) -> None:
        self._words = {entry: valence for entry, valence in lexicon.items() if entry[0].isalpha()}
        self._symbols = {entry: valence for entry, valence in lexicon.items() if not entry[0].isalpha()}
        self._phrase_starts = {entry.split(" ")[0] for entry in self._words if " " in entry}
        self._squeezed = {RUN.sub(r"\1", word): word for word in (*self._words, *SCALES, *NEGATIONS)}
        self._token = re.compile("|".join((WORD, *_symbol_patterns(self._symbols), MARKS)))

    @classmethod
    def load(cls) -> Self:
        """Reads the lexicon that ships beside this module."""
        source = resources.files("inferencehub.inference.runtimes.sentiment") / "lexicon.tsv"
        rows = (line.split("\t") for line in source.read_text(encoding="utf-8").splitlines())
        return cls({entry: float(valence) for entry, valence in rows})

    def classify(self, text: str) -> Sentiment:
        """The verdict on a text. A text without any known word is neutral with confidence 1."""
        score = self.score(text)
        beyond = abs(score) - NEUTRAL
        if beyond < 0:
            return Sentiment(1, 0.5 - 0.5 * beyond / NEUTRAL, LABELS[1])
        class_id = 2 if score > 0 else 0
        return Sentiment(class_id, 0.5 + 0.5 * beyond / (beyond + SOFTNESS), LABELS[class_id])

    def score(self, text: str) -> float:
        """The sum over all sentences, unbounded: its sign is the direction, its absolute value the strength."""
        total, words, seen, shouted = 0.0, list[_Word](), dict[str, _Word](), text.isupper()
        for token in self._token.finditer(text):
            found = token[0]
            if token.lastgroup == "word":
                word = seen.get(found)
                if word is None:
                    word = self._word(found, capitals_count=not shouted)
                    if len(seen) < REMEMBERED:
                        seen[found] = word
                words.append(word)
            elif token.lastgroup == "comma":
                words.append(PAUSE)
            elif token.lastgroup == "end":
                total += self._sentence(words) * _loudness(found)
                words = []
            else:
                total += self._symbols[found]
        return total + self._sentence(words)

    def _word(self, found: str, *, capitals_count: bool) -> _Word:
        if len(found) > LONGEST_WORD and not STRETCH.search(found):
            return _Word("")
        text, loudness = found.lower().replace("\u2019", "'"), 1.0
        if capitals_count and len(found) > 1 and found.isupper():
            loudness *= LOUDER
        valence = next((self._words[form] for form in _forms(text) if form in self._words), None)
        if valence is None and STRETCH.search(text):
            squeezed = RUN.sub(r"\1", text)[:LONGEST_WORD]
            text = next(
                (self._squeezed[form] for form in _forms(squeezed) if form in self._squeezed), squeezed
            )
            valence, loudness = self._words.get(text), loudness * LOUDER
        return _Word(text, (valence or 0.0) * loudness)

    def _sentence(self, words: Sequence[_Word]) -> float:
        words = self._join_phrases(words)
        total, weight, paired = 0.0, 1.0, False
        for index, word in enumerate(words):
            if not word.valence and word.text not in STEERING:
                continue
            following = words[index + 1] if index + 1 < len(words) else PAUSE
            if (word.text, following.text) == ("not", "only"):
                paired = True
            elif word.text in CONTRASTS and not paired:
                total, weight = total * BEFORE_CONTRAST, AFTER_CONTRAST
            elif word.text in CONCESSIONS:
                weight *= CONCEDED
            elif word.text == BREAK:
                weight = max(weight, 1.0)
            elif word.valence and not (word.text in SCALES and following.valence):
                total += weight * _in_context(words, index)
        return total

    def _join_phrases(self, words: Sequence[_Word]) -> list[_Word]:
        joined, index = list[_Word](), 0
        while index < len(words):
            word, length = words[index], 1
            if word.text in self._phrase_starts:
                for longer in range(LONGEST_PHRASE, 1, -1):
                    phrase = " ".join(part.text for part in words[index : index + longer])
                    if phrase in self._words:
                        word, length = _Word(phrase, self._words[phrase]), longer
                        break
            joined.append(word)
            index += length
        return joined


def _forms(text: str) -> Iterable[str]:
    """The word itself, then all base forms that it may be an inflected form of."""
    yield text
    if not text.isascii():
        return
    for ending, replacements in ENDINGS:
        if text.endswith(ending) and len(text) - len(ending) >= 3:
            stem = text[: -len(ending)]
            for replacement in replacements:
                yield stem + replacement
            if stem[-1] == stem[-2]:
                yield stem[:-1]


def _in_context(words: Sequence[_Word], index: int) -> float:
    """The valence of words[index], scaled and negated by the words before it."""
    valence, adjacent = words[index].valence, True
    for at in range(index - 1, max(index - 1 - SCOPE, -1), -1):
        text = words[at].text
        if text in BARRIERS:
            break
        if _negates(words, at):
            valence *= NEGATED_POSITIVE if valence > 0 else NEGATED_NEGATIVE
            break
        adjacent = adjacent and text in SCALES
        if adjacent:
            valence *= SCALES[text]
    return valence


def _negates(words: Sequence[_Word], at: int) -> bool:
    text = words[at].text
    if text not in NEGATIONS and not text.endswith("n't"):
        return False
    ahead = [word.text for word in words[at + 1 : at + 6]]
    if text in UNSURPASSED and not COMPARATIVES.isdisjoint(ahead):
        return False
    return not ahead or (text, ahead[0]) not in NOT_NEGATING


def _loudness(end: str) -> float:
    loudness = 1 + MARK * min(end.count("!"), LOUDEST_MARKS)
    return loudness * QUESTION if "?" in end and "!" not in end else loudness


def _symbol_patterns(symbols: Iterable[str]) -> list[str]:
    """Patterns for emoji and emoticons. Emoticons (ASCII) match only if no letter or digit is next to them."""
    longest_first = sorted(symbols, key=len, reverse=True)
    emoji = "|".join(re.escape(symbol) for symbol in longest_first if not symbol.isascii())
    emoticons = "|".join(re.escape(symbol) for symbol in longest_first if symbol.isascii())
    patterns = {emoji: f"(?P<emoji>{emoji})", emoticons: rf"(?P<emoticon>(?<!\w)(?:{emoticons})(?!\w))"}
    return [pattern for alternatives, pattern in patterns.items() if alternatives]
