"""Small networks, and their files as PyTorch writes them. Who imports this needs PyTorch, or is skipped."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import Signature
from inferencehub.inference.runtimes.python_worker.loaded import Loaded
from inferencehub.inference.runtimes.runtime import make_runtime, runtime_of
from inferencehub.inference.runtimes.support.arrays import from_array, to_array
from inferencehub.inference.runtimes.torch.runtime import Torch
from tests.inference.runtimes.tables import Array, source_of

pytest.importorskip("torch", reason="make test-heavy installs PyTorch and runs this")
import torch as torch  # others import it from here, behind the line above

BATCH = {0: torch.export.Dim("batch")}


class Classifier(torch.nn.Module):  # type: ignore[misc]
    """Rows of four features in; a dict of scores and labels out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))

    def forward(self, x: Any) -> Any:
        scores = self.layers(x).softmax(1)
        return {"label": scores.argmax(1, keepdim=True), "probabilities": scores}


class Pictures(torch.nn.Module):  # type: ignore[misc]
    """Pictures [rows, 3, height, width] in; scores of two classes out, the first for a red one."""

    def forward(self, pictures):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - TorchScript reads annotations
        shade = pictures.mean(dim=(2, 3))
        return torch.stack((shade[:, 0], shade[:, 2]), dim=1).softmax(1)


def export(file: Path, module: Any, *inputs: Any, shapes: Any = None, **named: Any) -> Any:
    """Write an ExportedProgram; the first dimension of each input has any size unless `shapes` says more."""
    dynamic = shapes if shapes is not None else dict.fromkeys(arguments(module, inputs, named), BATCH)
    program = torch.export.export(module.eval(), inputs, named, dynamic_shapes=dynamic)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.export.save(program, file)
    return module


def arguments(module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> list[str]:
    """The names of the arguments of `forward` that are given."""
    names = [name for name in module.forward.__code__.co_varnames if name != "self"]
    return [*names[: len(inputs)], *named]


def defined(file: Path, code: str) -> None:
    """Write TorchScript whose `forward` is this code."""
    file.parent.mkdir(parents=True, exist_ok=True)
    module = type("Defined", (torch.jit.ScriptModule,), {})()
    module.define(code)
    module.save(file)


class Served:
    """A model in the test's own process, as the process of an instance loads and calls it.

    Args:
        repository: where model `m` has its file already.
        file: the file's name.
        config: its config.pbtxt.
        allow_pickle: as the setting.

    Raises:
        HubError: as `Model`.
    """

    def __init__(self, repository: Path, file: str, config: str = "", allow_pickle: bool = False) -> None:
        source = source_of(repository, file, config, allow_pickle=allow_pickle)
        runtime = make_runtime(runtime_of(source.config), source)
        assert isinstance(runtime, Torch)
        load = runtime.to_load(Signature((), (), source.config.max_batch_size))
        self.loaded = Loaded(runtime.placed(load, 0))
        ready = self.loaded.ready
        self.signature = Signature(ready.inputs, ready.outputs, source.config.max_batch_size)

    def __call__(self, *arrays: Array) -> dict[str, Array]:
        """Its outputs by name, for its inputs in the order of its signature.

        Raises:
            HubError: if the inputs do not fit the signature.
            Exception: whatever the model raises.
        """
        specs = zip(self.signature.inputs, arrays, strict=True)
        inputs = tuple(from_array(spec.name, spec.dtype, array) for spec, array in specs)
        request, rows = self.signature.check(InferRequest("m", "1", inputs))
        given = self.loaded.model.predict({each.name: to_array(each).copy() for each in request.inputs})
        rows = rows if self.signature.max_batch_size else 0
        return {each.name: to_array(each) for each in self.loaded.outputs(given, rows, 1)}


def script(file: Path, module: Any, *traced: Any) -> Any:
    """Write TorchScript: traced with these inputs if there are any."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of PyTorch say that TorchScript is deprecated
        module = torch.jit.trace(module.eval(), traced) if traced else torch.jit.script(module.eval())
        module.save(file)
    return module
