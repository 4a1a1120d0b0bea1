"""The answer of `/predict`, read from a model's outputs: the class, how sure the model is, and the class's name.

`core/values/class_outputs.py` says which outputs hold them. If there is a label, the class is what it says:

- The confidence is the value of the label's own column of the scores. The column is known if the config lists the
  classes, which the pod completes from the model file where it can. Else it is the column of the highest score if that
  is the label's, or if the label cannot be the number of a column at all (classes 10, 20, 30, or -1 and 1): classifiers
  give the class of the highest score as the label. A label that would be the number of another column is refused,
  because its own column is not known.
- A text label is the class's name, and the class is the number of its column. Without scores it is the label's place in
  the listed classes.

Without a label, the class is the number of the column with the highest score. A confidence is the score itself if the
scores are a probability distribution, else its softmax value.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import exp, isfinite

import msgspec

from inferencehub.core.oip.predict import CODES, cannot_predict, packer
from inferencehub.core.values.class_outputs import ClassOutputs, find_class
from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.signature import ModelInfo
from inferencehub.core.values.tensors import DTYPES, Tensor, unpack_bytes

READ = CODES | {"FP16": "e"}
ONE = {dtype: struct.Struct(f"<{code}").unpack for dtype, code in READ.items()}
MOST_SCORES = 2**17  # more classes than any classifier has, and few enough to read on the event loop


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """A class, how sure the model is of it (0 to 1), and the class's name where the model gives one."""

    class_id: int
    confidence: float
    label: str = ""


def read_prediction(info: ModelInfo, response: InferResponse) -> Prediction:
    """Class, confidence and label of the one row.

    Raises:
        HubError: MODEL_FAILED if the outputs hold no finite number or no class where they should, BAD_INPUT if they
            hold several rows, UNSUPPORTED if their shapes or values do not say which class it is.
    """
    where = info.class_outputs or class_outputs_of(info, response)
    label = text_of(info, response.output(where.text)) if where.text else ""
    if not where.number and not where.scores:
        return Prediction(listed(info, where, label), 1.0, label)
    if not where.number:
        return of_column(info, where, scores_of(info, response.output(where.scores)), label)
    number = one_number(info, response.output(where.number))
    if not abs(number) < 2**31 or number != (class_id := int(number)):
        raise failed(info, f"gave the class {number}, expected a whole number of 32 bits")
    if not where.scores:
        return Prediction(class_id, 1.0, label)
    tensor = response.output(where.scores)
    if not where.is_confidence or len(tensor.data) != DTYPES[tensor.dtype]:
        return Prediction(class_id, confidence_of(info, where, class_id, scores_of(info, tensor)), label)
    confidence = one_number(info, tensor)
    if not isfinite(confidence):
        raise not_finite(info, tensor)
    return Prediction(class_id, confidence, label)


def class_outputs_of(info: ModelInfo, response: InferResponse) -> ClassOutputs:
    """The outputs that hold the class, of a model that declares no outputs: found in its answer.

    Raises:
        HubError: MODEL_FAILED if there is no output, UNSUPPORTED if no class can be found.
    """
    if not response.outputs:
        raise failed(info, "gave no output")
    found = find_class(response.outputs, False, info.parameter)
    if found.refusal:
        raise cannot_predict(info, found.refusal)
    return found


def of_column(info: ModelInfo, where: ClassOutputs, scores: Sequence[float], label: str) -> Prediction:
    """The prediction where only columns give the class a number.

    Raises:
        HubError: UNSUPPORTED if there is one column, or if `label` is not one of the classes.
    """
    if len(scores) == 1:
        raise cannot_predict(info, f"its output '{where.scores}' gave a single number")
    highest = max(scores)
    known = label and where.classes
    column = listed(info, where, label, scores) if known else scores.index(highest)
    if not known and label.isdecimal() and int(label) < len(scores) and scores[int(label)] != highest:
        raise unclear(info, where, int(label))
    return Prediction(column, share_of_label(info, where, column, highest, scores), label)


def confidence_of(info: ModelInfo, where: ClassOutputs, class_id: int, scores: Sequence[float]) -> float:
    """The confidence in a class that its own output gives.

    Raises:
        HubError: UNSUPPORTED if the class's column is not known.
    """
    highest = max(scores)
    if where.classes:
        column = listed(info, where, str(class_id), scores)
        return share_of_label(info, where, column, highest, scores)
    if len(scores) == 1:
        return of_two(info, where, class_id, highest)
    if 0 <= class_id < len(scores):
        if scores[class_id] != highest:
            raise unclear(info, where, class_id)
        return share(scores, class_id, highest, where.scores)
    if not where.is_class:
        raise unclear(info, where, class_id)
    return share(scores, scores.index(highest), highest, where.scores)


def of_two(info: ModelInfo, where: ClassOutputs, class_id: int, probability: float) -> float:
    """The confidence in class 0 or 1 where the one score is the probability of class 1.

    Raises:
        HubError: UNSUPPORTED if the class and the score do not agree on that.
    """
    confidence = probability if class_id else 1.0 - probability
    if "prob" not in where.scores.lower() or class_id not in (0, 1) or not 0.5 <= confidence <= 1.0:
        raise cannot_predict(
            info,
            f"its output '{where.number or where.text}' says class {class_id}, and {probability:g}, the only number in "
            f"'{where.scores}', may be the confidence or the probability of another class",
        )
    return confidence


def share_of_label(
    info: ModelInfo, where: ClassOutputs, column: int, highest: float, scores: Sequence[float]
) -> float:
    """How sure scores are of a label's column; see `share`.

    Raises:
        HubError: UNSUPPORTED if the scores are no probabilities and another one is higher. The label was not made from
            them then, so they may mean anything: a binary SVC of scikit-learn gives them with the opposite sign.
    """
    if scores[column] != highest and not are_shares(scores, highest, where.scores):
        raise cannot_predict(
            info,
            f"its output '{where.number or where.text}' says the class of column {column}, but '{where.scores}', which are "
            "no probabilities, are higher in another column",
        )
    return share(scores, column, highest, where.scores)


def share(scores: Sequence[float], column: int, highest: float, name: str) -> float:
    """How sure scores are of a column: its value if they are shares, else its softmax value.

    Args:
        scores: one number for each column.
        column: the column.
        highest: the highest score.
        name: the output's name.
    """
    if are_shares(scores, highest, name):
        return scores[column]
    return exp(scores[column] - highest) / sum([exp(score - highest) for score in scores])


def are_shares(scores: Sequence[float], highest: float, name: str) -> bool:
    """Whether scores are confidences as they are: a distribution, or from 0 to 1 and called probabilities.

    Those of an output that says that they are logits never are.
    """
    add_up = abs(sum(scores) - 1.0) < 1e-3
    if (add_up or highest <= 1.0) and min(scores) >= 0.0:
        name = name.lower()
        return "logit" not in name and (add_up or "prob" in name)
    return False


def listed(info: ModelInfo, where: ClassOutputs, label: str, scores: Sequence[float] = ()) -> int:
    """The column of a label, where the config lists the classes; `scores` if the model gives them.

    Raises:
        HubError: MODEL_FAILED if the label is not listed, or if there are more or fewer columns; UNSUPPORTED if there is
            a single one.
    """
    if len(scores) == 1 < len(where.classes):
        raise cannot_predict(
            info, f"its output '{where.scores}' gave a single number for {len(where.classes)} classes"
        )
    wrong = where.scores and len(scores) != len(where.classes)
    if wrong or label not in where.classes:
        beside = f" and {len(scores)} scores" if where.scores else ""
        raise failed(
            info,
            f"gave the class '{label[:80]}'{beside}, its predict_classes lists {len(where.classes)} "
            f"classes: {', '.join(where.classes)[:200]}",
        )
    return where.classes.index(label)


def one_number(info: ModelInfo, tensor: Tensor) -> float:
    """The one element of a numeric tensor.

    Raises:
        HubError: MODEL_FAILED if the tensor is empty or not numeric, BAD_INPUT if it has several elements.
    """
    if tensor.dtype not in ONE or not tensor.data:
        raise no_class(tensor)
    try:
        number: float = ONE[tensor.dtype](tensor.data)[0]
    except struct.error:
        raise several_rows(info, tensor) from None
    return number


def scores_of(info: ModelInfo, tensor: Tensor) -> Sequence[float]:
    """All elements of a numeric tensor, which are finite and belong to one row.

    Raises:
        HubError: MODEL_FAILED if the tensor is empty, not numeric or not finite, BAD_INPUT if it has several rows,
            UNSUPPORTED if it is too large.
    """
    if tensor.dtype not in ONE or not tensor.data:
        raise no_class(tensor)
    count = len(tensor.data) // DTYPES[tensor.dtype]
    if count > MOST_SCORES:
        raise HubError(
            Kind.UNSUPPORTED,
            f"model '{info.name}' gave {count} scores, expected at most {MOST_SCORES}; use /v2",
        )
    if count > 1 and tensor.shape != (1, count) and not one_row(tensor.shape):
        raise several_rows(info, tensor)
    values: Sequence[float] = packer(READ[tensor.dtype], count).unpack(tensor.data)
    # The sum shows quickly whether all are finite; very large finite numbers can make it infinite, too.
    if not isfinite(sum(values)) and not all(map(isfinite, values)):
        raise not_finite(info, tensor)
    return values


def text_of(info: ModelInfo, tensor: Tensor) -> str:
    """The one element of a BYTES tensor as text.

    Raises:
        HubError: MODEL_FAILED if the tensor is empty or not of BYTES, BAD_INPUT if it has several elements.
    """
    if tensor.dtype != "BYTES" or not len(tensor.data):
        raise no_class(tensor)
    elements = unpack_bytes(tensor.data)
    if len(elements) != 1:
        raise several_rows(info, tensor)
    return elements[0].decode(errors="replace")


def one_row(shape: tuple[int, ...]) -> bool:
    """Whether several scores of this shape are those of one row, as in [k], [1, k] and [1, k, 1, 1]."""
    return len(shape) < 2 or (shape[0] == 1 and sum([dim != 1 for dim in shape]) < 2)


def several_rows(info: ModelInfo, tensor: Tensor) -> HubError:
    """The error for an output that is not that of one row."""
    return bad_input(
        f"model '{info.name}' gave output '{tensor.name}' of shape {list(tensor.shape)}, expected the class of one row; "
        f"use /v2/models/{info.name}/infer for several"
    )


def unclear(info: ModelInfo, where: ClassOutputs, class_id: int) -> HubError:
    """The error for a class whose column is not known."""
    return cannot_predict(
        info,
        f"its output '{where.number}' says class {class_id}, which is not the column of the highest score in "
        f"'{where.scores}', and its config does not list the classes of the columns in predict_classes",
    )


def failed(info: ModelInfo, what: str) -> HubError:
    """The error for an answer that holds no class."""
    return HubError(Kind.MODEL_FAILED, f"model '{info.name}' {what}")


def not_finite(info: ModelInfo, tensor: Tensor) -> HubError:
    """The error for NaN or infinity."""
    return failed(info, f"gave a number that is not finite in output '{tensor.name}'")


def no_class(tensor: Tensor) -> HubError:
    """The error for an output without numbers or without text."""
    return HubError(
        Kind.MODEL_FAILED, f"output '{tensor.name}' is {tensor.dtype} {list(tensor.shape)}: no class in it"
    )
