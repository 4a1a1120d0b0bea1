"""What a model file says of its inputs and outputs, held against what its config says of the same.

What the config leaves out, the file tells. What both say must agree; the config may fix a dimension that the file has
as -1. If the config lists inputs or outputs, only these are used: an output of a type that the protocol does not have
is no obstacle then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from inferencehub.core.oip.model_info import TYPE_NAMES
from inferencehub.core.values.errors import bad_input
from inferencehub.core.values.signature import TensorSpec, fits
from inferencehub.inference.runtimes.support.declared import Entry, model_shape
from inferencehub.pb import model_config_pb2 as config_pb


class Side:
    """The inputs or the outputs of a model.

    Args:
        config: the config.
        kind: "input" or "output", for error sentences.
        names: all that the file has.
        of_file: the spec of one of them as the file has it, with -1 for a variable dimension. It raises HubError for a type that
            the protocol does not have.
        optional: the inputs that a caller may leave out.
        passed_over: those of them that are not offered unless the config lists them.
    """

    def __init__(
        self,
        config: config_pb.ModelConfig,
        kind: str,
        names: Sequence[str],
        of_file: Callable[[str], TensorSpec],
        optional: Collection[str] = (),
        passed_over: Collection[str] = (),
    ) -> None:
        self.config = config
        self.kind = kind
        self.names = names
        self.of_file = of_file
        self.optional = optional
        self.passed_over = passed_over

    def agreed(self, entries: Iterable[Entry]) -> tuple[TensorSpec, ...]:
        """The config's entries as specs, in its order; the file's specs if the config has none.

        Raises:
            HubError: BAD_INPUT if file and config do not agree, or whatever `of_file` raises.
        """
        entries = list(entries)
        if not entries:
            specs = [self.of_file(name) for name in self.names if name not in self.passed_over]
            for spec in specs:
                self._check_batch(spec)
            return tuple(specs)
        specs = [self._of_both(entry) for entry in entries]
        missing = set(self.names) - {spec.name for spec in specs} - set(self.optional)
        if self.kind == "input" and missing:
            raise bad_input(f"config.pbtxt: the model's input '{min(missing)}' is not listed")
        return tuple(specs)

    def _of_both(self, entry: Entry) -> TensorSpec:
        if entry.name not in self.names:
            raise bad_input(
                f"config.pbtxt: {self.kind} '{entry.name}' is not in the model, which has {sorted(self.names)}"
            )
        file = self.of_file(entry.name)
        spec = declared_spec(self.config, entry, self.kind, file)
        self._check_batch(file, known=spec)
        must_agree(self.kind, spec, file)
        return spec

    def _check_batch(self, file: TensorSpec, known: TensorSpec | None = None) -> None:
        """Refuse an input or output without a variable first dimension if the model batches."""
        batch = self.config.max_batch_size
        if not batch or file.shape[:1] == (-1,):
            return
        if not file.any_shape:
            raise bad_input(
                f"config.pbtxt: max_batch_size {batch}, but '{file.name}' has shape {list(file.shape)} in the "
                "model, whose first dimension is not variable"
            )
        if (known or file).any_shape and self.kind == "input":
            raise bad_input(
                f"config.pbtxt: max_batch_size {batch}, but input '{file.name}' has no shape in the model, expected "
                "its dims in the config"
            )


def declared_spec(config: config_pb.ModelConfig, entry: Entry, kind: str, file: TensorSpec) -> TensorSpec:
    """The spec of a config's entry; what it leaves out, the file tells."""
    dtype = TYPE_NAMES[entry.data_type] if entry.data_type else file.dtype
    spec = replace(file, name=entry.name, dtype=dtype)
    if entry.dims or entry.HasField("reshape"):
        spec = replace(spec, shape=model_shape(config, entry, kind), any_shape=False)
    return spec


def must_agree(kind: str, spec: TensorSpec, file: TensorSpec) -> None:
    """Refuse a spec of a config whose type or shape is not the file's.

    Raises:
        HubError: BAD_INPUT.
    """
    if spec.dtype != file.dtype or not (file.any_shape or fits(spec.shape, file.shape)):
        raise bad_input(
            f"config.pbtxt: {kind} '{spec.name}' is {spec.dtype} {list(spec.shape)}, "
            f"in the model {file.dtype} {list(file.shape)}"
        )
