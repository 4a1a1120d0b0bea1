"""Models of tables, as scikit-learn, LightGBM and XGBoost make them: rows of features in, a label or a number a row out.

Outputs are called as in the ONNX exports of these libraries: `label`, `probabilities`, and `variable` for a regression.
So a model can change its format, and its callers see no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from inferencehub.core.oip.model_info import TYPE_NAMES
from inferencehub.core.values.class_outputs import FLOATS, INTEGERS
from inferencehub.core.values.errors import bad_input
from inferencehub.core.values.signature import Signature, TensorSpec, fits
from inferencehub.inference.runtimes.support.declared import Entry, model_shape
from inferencehub.pb import model_config_pb2 as config_pb

INPUT, LABEL, PROBABILITIES, VARIABLE = "input", "label", "probabilities", "variable"
CLASSES = "predict_classes"  # the parameter of a config that lists the classes


def settled(config: config_pb.ModelConfig, known: TensorSpec, outputs: Sequence[TensorSpec]) -> Signature:
    """The signature: what the model file says, and what the config says about it.

    A config may give the one input another name, another type of numbers, and a shape where the file leaves it open. It
    may choose some of the outputs, and another type of the same kind.

    Args:
        config: the model's config.
        known: the input as the file has it, the rows first.
        outputs: the outputs as the file has them, the rows first.

    Raises:
        HubError: BAD_INPUT if file and config do not agree.
    """
    if len(config.input) > 1:
        names = [entry.name for entry in config.input]
        raise bad_input(f"config.pbtxt: inputs {names}, expected one of shape {list(known.shape)}")
    inputs = [_settled(config, entry, "input", known) for entry in config.input]
    by_name = {spec.name: spec for spec in outputs}
    for entry in config.output:
        if entry.name not in by_name:
            raise bad_input(
                f"config.pbtxt: output '{entry.name}' is not in the model, which has {list(by_name)}"
            )
    chosen = [_settled(config, entry, "output", by_name[entry.name]) for entry in config.output]
    return Signature(tuple(inputs or [known]), tuple(chosen or outputs), config.max_batch_size)


def _settled(config: config_pb.ModelConfig, entry: Entry, kind: str, known: TensorSpec) -> TensorSpec:
    dtype = TYPE_NAMES[entry.data_type] if entry.data_type else known.dtype
    shape = known.shape
    if entry.dims or entry.HasField("reshape"):
        shape = model_shape(config, entry, kind)
    numbers = FLOATS | INTEGERS
    kinds = (numbers,) if kind == "input" else (FLOATS, INTEGERS)
    same_kind = dtype == known.dtype or any(known.dtype in group and dtype in group for group in kinds)
    if not same_kind or not same_table(shape, known.shape):
        raise bad_input(
            f"config.pbtxt: {kind} '{entry.name}' is {dtype} {list(shape)}, in the model {known.dtype} {list(known.shape)}"
        )
    return replace(known, name=entry.name or known.name, dtype=dtype, shape=shape)


def same_table(shape: tuple[int, ...], known: tuple[int, ...]) -> bool:
    """Whether a declared shape is that of the file, in which -1 is any size; [-1] and [-1, 1] are the same."""
    if known in ((-1,), (-1, 1)) and shape in ((-1,), (-1, 1)):
        return True
    return fits(shape, known)


def class_names(classes: Iterable[object]) -> tuple[str, ...]:
    """The classes as `predict_classes` lists them; () if that parameter could not hold them."""
    names = tuple(map(str, classes))
    plain = all(name and name == name.strip() and "," not in name for name in names)
    return names if plain and len(set(names)) == len(names) else ()


def listed_classes(config: config_pb.ModelConfig) -> list[str]:
    """The classes that a config lists; [] if it lists none."""
    listed = config.parameters[CLASSES].string_value if CLASSES in config.parameters else ""
    return [part.strip() for part in listed.split(",")] if listed else []


def list_classes(config: config_pb.ModelConfig, names: Sequence[str]) -> None:
    """Add the classes that a model file lists to its config, as a user would write them, if the config has none."""
    if names and CLASSES not in config.parameters:
        config.parameters[CLASSES].string_value = ",".join(names)
