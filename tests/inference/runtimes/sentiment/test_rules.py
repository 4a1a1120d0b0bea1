"""The sentiment rules: the effect of each one on an answer, and the accuracy of all on labelled sentences.

`sentiment_labelled.tsv` is a test set: it was written before lexicon and rules, which were tuned on other
sentences (154 of 170 right when first measured). A sentence that fails is not to be fixed by adding its words
to the lexicon.
"""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencehub.inference.runtimes.sentiment.rules import Sentiment, SentimentRules
from tests.long_runs import examples
from tests.machine import slowed

LABELLED = Path(__file__).with_name("sentiment_labelled.tsv")
NEGATIVE, NEUTRAL, POSITIVE = 0, 1, 2
RULES = SentimentRules.load()

VOCABULARY = "not never can't very slightly good bad LOVE sooo but only , . ! ? :) \U0001f621 enough"
WORDS = st.sampled_from(VOCABULARY.split())


def labelled() -> list[tuple[str, str]]:
    rows = (line.split("\t") for line in LABELLED.read_text(encoding="utf-8").splitlines())
    return [(label, sentence) for label, sentence in rows]


def test_four_of_five_labelled_sentences_are_right() -> None:
    rows = labelled()
    wrong = [f"{label}: {sentence}" for label, sentence in rows if RULES.classify(sentence).label != label]
    assert len(rows) >= 150
    assert len(wrong) <= 0.2 * len(rows), "\n".join(wrong)


def test_no_class_is_left_out() -> None:
    for wanted in ("negative", "neutral", "positive"):
        answers = [RULES.classify(sentence).label for label, sentence in labelled() if label == wanted]
        assert answers.count(wanted) >= 0.7 * len(answers), wanted


@pytest.mark.parametrize(
    ("text", "class_id"),
    [
        ("I love this, it is not bad at all", POSITIVE),
        ("This is good.", POSITIVE),
        ("This is not good.", NEGATIVE),
        ("This isn't good.", NEGATIVE),
        ("This isn\u2019t good.", NEGATIVE),
        ("It was never really good.", NEGATIVE),
        ("Hardly good.", NEGATIVE),
        ("Without charm.", NEGATIVE),
        ("not bad", POSITIVE),
        ("It never disappoints.", POSITIVE),
        ("not only good but cheap", POSITIVE),
        ("No, it is good.", POSITIVE),
        ("There are no problems and the staff is great.", POSITIVE),
        ("I can't praise it enough.", POSITIVE),
        ("The food was good but the service was terrible.", NEGATIVE),
        ("The service was terrible but the food was good, really excellent.", POSITIVE),
        ("\U0001f621", NEGATIVE),
        ("the parcel came \u2764\ufe0f", POSITIVE),
        ("the parcel came :)", POSITIVE),
        ("the parcel came :-(", NEGATIVE),
        ("see http://example.test/a", NEUTRAL),
        ("\U0001f44d\U0001f3fd", POSITIVE),
        ("looooove it", POSITIVE),
        ("The table is made of oak.", NEUTRAL),
        ("", NEUTRAL),
        (" \n\t", NEUTRAL),
        ("\u5929\u6c17 \u043f\u0440\u0438\u0432\u0435\u0442 \x00 \ud800", NEUTRAL),
    ],
)
def test_class(text: str, class_id: int) -> None:
    assert RULES.classify(text).class_id == class_id


@pytest.mark.parametrize(
    ("weaker", "stronger"),
    [
        ("a good film", "a very good film"),
        ("a very good film", "an extremely good film"),
        ("a slightly good film", "a good film"),
        ("not bad", "good"),
        ("a good film", "a GOOD film"),
        ("a good film", "a gooood film"),
        ("a good film", "a sooo good film"),
        ("a good film", "a good film!"),
        ("a good film!", "a good film!!!"),
        ("a good film?", "a good film"),
        ("a good film", "a good film \U0001f600"),
        ("although it was bad, good", "although it was fun, good"),
    ],
)
def test_strength(weaker: str, stronger: str) -> None:
    assert 0 < RULES.score(weaker) < RULES.score(stronger)
    assert RULES.classify(weaker).confidence < RULES.classify(stronger).confidence


def test_intensifiers_work_on_negative_words_too() -> None:
    assert RULES.score("extremely bad") < RULES.score("bad") < RULES.score("slightly bad") < 0


def test_capitals_tell_nothing_in_a_text_of_capitals() -> None:
    assert RULES.score("A GOOD FILM") == RULES.score("a good film")


def test_inflections_are_found_by_their_base_form() -> None:
    rules = SentimentRules(
        {"annoy": -2.0, "love": 2.0, "stop": -1.0, "tasty": 2.0, ":)": 1.0, "\U0001f600": 1.0}
    )
    for word in ("annoys", "annoyed", "annoying", "annoyingly", "stopped", "stopping"):
        assert rules.score(word) < 0, word
    for word in ("loves", "loved", "loving", "tastier", "tastiest"):
        assert rules.score(word) > 0, word
    assert rules.score("stoppage") == 0


def test_a_lexicon_without_symbols_will_do() -> None:
    assert SentimentRules({"good": 1.0}).score("good :) \U0001f600") == 1.0


def test_two_loads_give_equal_answers() -> None:
    other = SentimentRules.load()
    for _, sentence in labelled():
        assert other.classify(sentence) == RULES.classify(sentence) == RULES.classify(sentence)


@given(st.one_of(st.text(), st.lists(WORDS).map(" ".join), st.text(alphabet=":;=()DP<3>/\\'!?.o^_- aA")))
@settings(**examples(300))
def test_any_text_has_a_verdict(text: str) -> None:
    verdict = RULES.classify(text)
    assert isinstance(verdict, Sentiment)
    assert verdict.label == ("negative", "neutral", "positive")[verdict.class_id]
    assert 0.5 <= verdict.confidence <= 1.0


def seconds(unit: str, length: int, enough: float = 0.0) -> float:
    """CPU time for a text of `length` characters: the best of three, or the first that is below `enough`."""
    text = (unit * (length // len(unit) + 1))[:length]
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        RULES.classify(text)
        best = min(best, time.process_time() - start)
        if best < enough:
            break
    return best


@pytest.mark.timing
def test_a_megabyte_of_prose_takes_less_than_a_second() -> None:
    assert seconds("I love this, it is not bad at all. ", 1_000_000, enough=1.0) < slowed(1.0)


UNITS = ("a", "a ", "no ", "not good ", "can't ", "sooo ", "but ", "(", ":", ">:", "a'", "!", "\U0001f600")


@pytest.mark.timing
@pytest.mark.parametrize("unit", UNITS)
def test_ten_times_the_text_takes_no_hundred_times_as_long(unit: str) -> None:
    most = 40 * seconds(unit, 50_000) + 0.05
    assert seconds(unit, 500_000, enough=most) < most
