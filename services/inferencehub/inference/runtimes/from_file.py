"""Runtimes whose model is a file without code of the user, read in the processes of the Python runtime."""

from __future__ import annotations

from importlib.util import find_spec

import msgspec

from inferencehub.core.values.signature import Signature
from inferencehub.inference.runtimes.python.channel import Load
from inferencehub.inference.runtimes.python.runtime import Python
from inferencehub.inference.runtimes.support.tables import list_classes


class FromFile(Python):
    """`source.instances` processes, each with the `Model` of the module `reader` in place of the user's.

    The file tells inputs, outputs and classes; the first process to load it says them.
    """

    gives_several = False
    reader: str
    library: str  # what it imports, and an extra brings

    async def load(self) -> Signature:
        if find_spec(self.library) is None:
            raise ImportError(f"No module named '{self.library}'")
        await super().load()
        ready = self.instances[0].ready
        assert ready is not None
        self.written = ready.written
        list_classes(self.source.config, ready.classes)
        return Signature(ready.inputs, ready.outputs, self.source.config.max_batch_size)

    def _declared(self) -> Signature:
        return Signature((), (), self.source.config.max_batch_size)

    def to_load(self, signature: Signature) -> Load:
        config = self.source.config.SerializeToString()
        return msgspec.structs.replace(super().to_load(signature), reader=self.reader, config=config)
