"""scikit-learn models from a file: skops, or a pickle where a setting allows it.

Each instance is a process, the one of the Python runtime, with a class of ours (`model.py`) in place of the user's. It
is no thread, because pipelines hold the GIL: tokenizing a text, choosing columns of a table and walking through a forest
are Python for the most part. Measured on two cores, with a pipeline of TF-IDF and a logistic regression, 32 texts of 200
words: with one instance as a thread of the pod, half of the event loop's timers came more than 5 ms late, with two
instances 15 ms; as a process 0.5 ms. These timers are health checks and the calls of all other models. A pickle that is
not what it seems, a run that hangs and a crash cost one call, too.
"""

from __future__ import annotations

from inferencehub.core.values.errors import bad_input
from inferencehub.core.values.signature import Signature
from inferencehub.inference.runtimes.from_file import FromFile


class Sklearn(FromFile):
    """`source.instances` processes with a fitted estimator each."""

    reader = "inferencehub.inference.runtimes.sklearn.model"
    library = "skops"

    async def load(self) -> Signature:
        file = self.source.file
        if file.suffix != ".skops" and not self.source.processes.allow_pickle:
            raise bad_input(
                f"{file.name} is read as a pickle, and a pickle runs code when it is loaded: expected model.skops, written "
                "with skops.io.dump, or HUB_ALLOW_PICKLE=true if you trust everybody who can write to the model repository"
            )
        return await super().load()
