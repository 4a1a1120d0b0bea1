"""scikit-learn models from a file: skops, or a pickle where a setting allows it.

Each instance is a process, the one of the Python runtime, with a class of ours (`model.py`) in place of the user's. It
is no thread, because pipelines hold the GIL: tokenizing a text, choosing columns of a table and walking through a forest
are Python for the most part. Measured on two cores, with a pipeline of TF-IDF and a logistic regression, 32 texts of 200
words: with one instance as a thread of the pod, half of the event loop's timers came more than 5 ms late, with two
instances 15 ms; as a process 0.5 ms. These timers are health checks and the calls of all other models. A pickle that is
not what it seems, a run that hangs and a crash cost one call, too.
"""

from __future__ import annotations

from importlib.util import find_spec

import msgspec

from inferencehub.core.values.errors import bad_input
from inferencehub.core.values.signature import Signature
from inferencehub.inference.runtimes.python.channel import Load
from inferencehub.inference.runtimes.python.runtime import Python
from inferencehub.inference.runtimes.support.tables import list_classes

READER = "inferencehub.inference.runtimes.sklearn.model"
SKOPS = ".skops"
NEEDED = {
    SKOPS: "skops"
}  # the library that reads a file, by its suffix; joblib, which scikit-learn brings, reads the rest


class Sklearn(Python):
    """`source.instances` processes with a fitted estimator each."""

    gives_several = False

    async def load(self) -> Signature:
        file = self.source.file
        library = NEEDED.get(file.suffix, "sklearn")
        if find_spec(library) is None:
            raise ImportError(f"No module named '{library}'")
        if file.suffix != SKOPS and not self.source.processes.allow_pickle:
            raise bad_input(
                f"{file.name} is read as a pickle, and a pickle runs code when it is loaded: expected model.skops, written "
                "with skops.io.dump, or HUB_ALLOW_PICKLE=true if you trust everybody who can write to the model repository"
            )
        await super().load()
        ready = self.instances[0].ready
        assert ready is not None
        list_classes(self.source.config, ready.classes)
        return Signature(ready.inputs, ready.outputs, self.source.config.max_batch_size)

    def _declared(self) -> Signature:
        return Signature((), (), self.source.config.max_batch_size)  # the file tells

    def to_load(self, signature: Signature) -> Load:
        config = self.source.config.SerializeToString()
        return msgspec.structs.replace(super().to_load(signature), reader=READER, config=config)
