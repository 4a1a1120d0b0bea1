"""The names of a pod's health service: "" for the whole process, each model by its name, and a name for each probe.

Probe names contain a "/", so no model can have the same name:

    probe/started   the models in the repository are known, and loading has begun
    probe/ready     same as "": the process is not draining, and the required models serve
    probe/live      the event loop works
    probe/open      the models are known, and the process is not draining. A gateway looks at this name and at each
                    model's own, so that a model serves as soon as it is loaded, whatever its neighbours do
"""

from __future__ import annotations

from inferencehub.core.oip import extension

STARTED, READY, LIVE, OPEN = "probe/started", "probe/ready", "probe/live", extension.OPEN
AT_START = {"": False, READY: False, STARTED: False, LIVE: True, OPEN: False}
