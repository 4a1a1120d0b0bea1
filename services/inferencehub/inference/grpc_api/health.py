"""The names of a pod's health service: "" for the whole process, each model by its name, and a name for each probe.

Probe names contain a "/", so no model can have the same name:

    probe/started   the models in the repository are known, and loading has begun
    probe/ready     same as "": the process is not draining, and the required models serve
    probe/live      the event loop works
    probe/open      the models are known, and the process is not draining. A gateway looks at this name and at each
                    model's own, so that a model serves as soon as it is loaded, whatever its neighbours do
    probe/listed    changes whenever the list of models does, so that gateways read it again; its value means nothing
"""

from __future__ import annotations

import asyncio

from inferencehub.core.grpc_server.health import Health
from inferencehub.core.oip import extension
from inferencehub.inference.models.registry import Models

STARTED, READY, LIVE, OPEN = "probe/started", "probe/ready", "probe/live", extension.OPEN
AT_START = {"": False, READY: False, STARTED: False, LIVE: True, OPEN: False}
PAUSE_S = 0.1  # between two changes of `extension.LISTED`: of two at once, a watch would see none


class Listed:
    """Changes the status of `extension.LISTED` when the list of models has changed.

    Args:
        health: the health service.
        models: the models of the process.
    """

    def __init__(self, health: Health, models: Models) -> None:
        self._health = health
        self._models = models
        self._shown: object = None
        self._value = False
        self._pausing = False

    def look(self) -> None:
        """The list may have changed."""
        if self._pausing or not self._models.scanned:
            return
        now = (self._models.changes, [model.state for model in self._models])
        if now != self._shown:
            self._shown, self._value, self._pausing = now, not self._value, True
            self._health.set({extension.LISTED: self._value})
            asyncio.get_running_loop().call_later(PAUSE_S, self._again)

    def _again(self) -> None:
        self._pausing = False
        self.look()
