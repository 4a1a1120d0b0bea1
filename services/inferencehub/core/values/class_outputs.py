"""Which outputs of a model hold a class: the rule of `/predict`, applied once to a signature and a config.

The config's parameters `predict_class`, `predict_label` and `predict_confidence` name outputs. What they do not name is
recognised by dtype and shape. Names only choose between outputs of the same form, and exclude some:

    label     one whole number or one text a row, in an output of its own: [n] or [n, 1]
    scores    one float for each of two or more classes: [n, k], [k] or [n, k, 1, 1]. Classifiers of scikit-learn,
              LightGBM and XGBoost have them beside a label, neural networks usually have them alone

Integers are never scores: those of a quantized model have a scale and a zero point that nothing tells.

An output whose name says that it is something else (an embedding, a regression, boxes, …) holds no scores. A model in
which no class can be found is refused with a reason, before it runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from inferencehub.core.values.structs.struct import Struct

WIDE_INTEGERS = frozenset({"INT32", "INT64", "UINT32", "UINT64"})
# Quantized models give these in place of scores.
SMALL_INTEGERS = frozenset({"INT8", "INT16", "UINT8", "UINT16"})
INTEGERS = WIDE_INTEGERS | SMALL_INTEGERS
FLOATS, TEXTS = frozenset({"FP16", "FP32", "FP64"}), frozenset({"BYTES"})
LABEL_WORDS = ("label", "class", "categor", "predict")  # the first that fits exactly one output chooses it
SCORES_WORDS = ("prob", "softmax", "score", "logit")
# "variable" is the name that skl2onnx and onnxmltools give to the output of a regression or of a transformation.
OTHER = re.compile(
    r"embed|hidden|pooler|pooled|feature|latent|encod(ed|er|ing)|represent|vector|^variable|regress|forecast|box|keypoint"
    r"|landmark|coord|mask|segment|depth|dist(ance|s|$)|neighbor|attention|reconstruct|waveform|audio|token|transform",
    re.IGNORECASE,
)
DETECTION = re.compile(r"box|keypoint|landmark|mask|detection", re.IGNORECASE)
UNKNOWN = -1  # a number of columns that only a call shows


class Described(Protocol):
    """What the rule reads of an output. Declared outputs have it, and tensors."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


class ClassOutputs(Struct, frozen=True):
    """The outputs that hold the class; a name is "" if there is no such output.

    Args:
        number: the class as a number.
        text: the class's name as text.
        scores: a number for each class, or one number that says how sure the model is.
        is_class: whether the config or a name says that `number` is a class; otherwise only its form does.
        is_confidence: whether a single number in `scores` is the confidence itself.
        classes: what the label says for each column of `scores`, in order; () if this is not known.
        refusal: why no class can be found, as the rest of a sentence; "" if one can.
    """

    number: str = ""
    text: str = ""
    scores: str = ""
    is_class: bool = False
    is_confidence: bool = False
    classes: tuple[str, ...] = ()
    refusal: str = ""


class NoClassError(Exception):
    """No class can be found. The text is the reason."""


def find_class(outputs: Sequence[Described], batches: bool, parameter: Callable[[str], str]) -> ClassOutputs:
    """The outputs that hold the class.

    Args:
        outputs: all outputs of the model, at least one.
        batches: whether their first dimension is the batch dimension.
        parameter: the config's parameters: a name to its value, "" if it is not set.
    """
    try:
        return Search(outputs, batches, parameter).found()
    except NoClassError as error:
        return ClassOutputs(refusal=str(error))


class Search:
    """One application of the rule; see `find_class`."""

    def __init__(self, outputs: Sequence[Described], batches: bool, parameter: Callable[[str], str]) -> None:
        self.outputs = outputs
        self.batches = batches
        self.parameter = parameter

    def found(self) -> ClassOutputs:
        """The outputs.

        Raises:
            NoClassError: if they hold no class.
        """
        number = self._named_label("predict_class", INTEGERS | FLOATS | TEXTS)
        text = self._named_label("predict_label", TEXTS)
        scores = self._named("predict_confidence", FLOATS)
        rest = [output for output in self.outputs if output not in (number, text, scores)]
        is_class, is_confidence = number is not None, scores is not None
        if number and number.dtype == "BYTES":
            number, text = None, text or number
        if not is_class:
            number, text, is_class = self._labels(rest, text)
        if not is_class and not text:
            self._refuse_others(rest)
        if not scores:
            scores = self._scores(rest, number or text)
        if not scores and number:
            scores, is_confidence = self._single(rest)
        classes = self._classes(scores)
        if not scores and not ((number or (text and classes)) and self.parameter("predict_class")):
            raise NoClassError(self._nothing(number, text))
        if scores and not number and columns(scores.shape, self.batches) == 1:
            raise NoClassError(f"its only score is {told(scores)}, and no output gives the class as a number")
        return ClassOutputs(
            number.name if number else "",
            text.name if text else "",
            scores.name if scores else "",
            is_class,
            is_confidence,
            classes,
        )

    def _named(self, parameter: str, dtypes: frozenset[str]) -> Described | None:
        """The output that a parameter of the config names; None if it is not set."""
        name = self.parameter(parameter)
        if not name:
            return None
        found = next((output for output in self.outputs if output.name == name), None)
        if found is None:
            raise NoClassError(f"its parameter {parameter} names '{name}', its outputs are {self._all()}")
        if found.dtype not in dtypes:
            kinds = "text" if dtypes == TEXTS else "numbers or text" if dtypes > TEXTS else "floats"
            raise NoClassError(f"its parameter {parameter} names {told(found)}, expected {kinds}")
        return found

    def _named_label(self, parameter: str, dtypes: frozenset[str]) -> Described | None:
        """The same for an output that must have one element a row."""
        found = self._named(parameter, dtypes)
        if found and not self._one_a_row(found) and columns(found.shape, self.batches) not in (1, UNKNOWN):
            raise NoClassError(f"its parameter {parameter} names {told(found)}, expected one element a row")
        return found

    def _labels(
        self, rest: list[Described], text: Described | None
    ) -> tuple[Described | None, Described | None, bool]:
        """The number and the text that may be the class, and whether a name says that they are."""
        labels = [output for output in rest if output.dtype in INTEGERS | TEXTS and self._one_a_row(output)]
        called = [output for output in labels if has_word(output, LABEL_WORDS)]
        several = [
            output
            for output in rest
            if output.dtype in WIDE_INTEGERS | TEXTS
            and has_word(output, LABEL_WORDS)
            and output not in labels
        ]
        if several and not called:
            raise NoClassError(f"its output {told(several[0])} holds several labels a row")
        if not called and len(labels) > 1:
            return None, text, False
        number = pick([output for output in called or labels if output.dtype in INTEGERS], LABEL_WORDS)
        texts = [output for output in called or labels if output.dtype == "BYTES"]
        return number, text or pick(texts, LABEL_WORDS), bool(called)

    def _refuse_others(self, rest: list[Described]) -> None:
        """Refuse a model whose outputs say that another one than the highest score may be the class.

        Raises:
            NoClassError: for a label of another type, or a detector, which has a score for each box.
        """
        for output in rest:
            if DETECTION.search(output.name):
                raise NoClassError(f"its output {told(output)} is that of a detector")
            single = self._one_a_row(output)
            label = has_word(output, LABEL_WORDS) and not has_word(output, (*SCORES_WORDS, "confidence"))
            if (output.dtype == "BOOL" and single) or (output.dtype in FLOATS and single and label):
                raise NoClassError(
                    f"its output {told(output)} may be the class, expected a whole number or text"
                )

    def _scores(self, rest: list[Described], label: Described | None) -> Described | None:
        """The output with a number for each class."""
        wide = [output for output in rest if columns(output.shape, self.batches) not in (0, 1)]
        wide = [output for output in wide if not OTHER.search(output.name)]
        found = pick([output for output in wide if output.dtype in FLOATS], SCORES_WORDS)
        if found is None:
            self._refuse_quantized(wide)
        if found is None or label:
            return found
        for other in rest:
            same = columns(other.shape, self.batches) == columns(found.shape, self.batches)
            if other.dtype in WIDE_INTEGERS and same:
                raise NoClassError(f"its output {told(other)} may hold the classes of {told(found)}")
            beside = other is not found and other.dtype in FLOATS
            if beside and (has_word(other, SCORES_WORDS) or not has_word(found, SCORES_WORDS)):
                raise NoClassError(f"its outputs {told(found)} and {told(other)} may both be the scores")
        return found

    def _refuse_quantized(self, wide: list[Described]) -> None:
        """Refuse a model whose scores are integers, unless the config says that only the class matters.

        Raises:
            NoClassError: if there is such an output.
        """
        for output in wide:
            scores = has_word(output, SCORES_WORDS) or not self.parameter("predict_class")
            if scores and output.dtype in SMALL_INTEGERS:
                raise NoClassError(f"its output {told(output)} holds integers, whose scale is not known")

    def _single(self, rest: list[Described]) -> tuple[Described | None, bool]:
        """A single number beside a class: the confidence, or the probability of the second of two classes."""
        single = [
            output
            for output in rest
            if output.dtype in FLOATS and self._one_a_row(output) and has_word(output, ("confidence", "prob"))
        ]
        found = pick(single, ("confidence", "prob"))
        return found, found is not None and has_word(found, ("confidence",))

    def _one_a_row(self, output: Described) -> bool:
        """Whether an output has one element a row. A label's other dimensions may be unknown until a call."""
        shape = output.shape
        row = shape[1:] if self.batches or (shape and shape[0] == -1) else shape
        return all(dim == 1 or (dim == -1 and has_word(output, LABEL_WORDS)) for dim in row)

    def _classes(self, scores: Described | None) -> tuple[str, ...]:
        listed = self.parameter("predict_classes")
        classes = tuple([part.strip() for part in listed.split(",")]) if listed else ()
        count = columns(scores.shape, self.batches) if scores else len(classes)
        if classes and count not in (UNKNOWN, len(classes)):
            raise NoClassError(
                f"its parameter predict_classes lists {len(classes)} classes for {count} columns"
            )
        return classes

    def _nothing(self, number: Described | None, text: Described | None) -> str:
        if text and not number and self.parameter("predict_class"):
            return f"its label {told(text)} is text, and predict_classes does not list the classes"
        if (label := number or text) and has_word(label, LABEL_WORDS):
            return f"beside the label {told(label)} no output holds a score for each class: {self._all()}; with its name in the parameter predict_class, /predict gives it with the confidence 1"
        return f"no output holds a score for each of two or more classes: {self._all()}"

    def _all(self) -> str:
        shown = ", ".join(map(told, self.outputs[:5]))
        return f"{shown}, …" if len(self.outputs) > 5 else shown


def columns(shape: Sequence[int], batches: bool) -> int:
    """How many classes an output of this shape can hold for one row.

    Returns:
        The number; 1 for a single number, `UNKNOWN` if only a call shows it, 0 if the shape is not that of classes.
    """
    if not shape:
        return UNKNOWN  # a single number, or a model file that does not say
    if not batches and len(shape) == 1:
        return shape[0] if shape[0] != -1 else 0  # may be a number for each of several rows
    if not batches and shape[0] not in (1, -1):
        return 0
    wide = [dim for dim in shape[1:] if dim != 1]
    if not wide:
        return 1
    return wide[0] if len(wide) == 1 and (wide[0] != -1 or len(shape) == 2) else 0


def has_word(output: Described, words: Iterable[str]) -> bool:
    """Whether an output's name has one of the words in it."""
    name = output.name.lower()
    return any(word in name for word in words)


def pick(candidates: list[Described], words: Sequence[str]) -> Described | None:
    """The only candidate, or the one whose name has the first word that any has; None if there is none.

    Raises:
        NoClassError: if several remain.
    """
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    for word in words:
        fitting = [output for output in candidates if has_word(output, (word,))]
        if len(fitting) == 1:
            return fitting[0]
    raise NoClassError(f"it has several outputs of the same form: {', '.join(map(told, candidates[:5]))}")


def told(output: Described) -> str:
    """An output for an error sentence."""
    return f"'{output.name[:80]}' {output.dtype} {list(output.shape)}"
