"""Which way of control the settings choose."""

from __future__ import annotations

from inferencehub.inference.models.control.control import ByRepository, Control
from inferencehub.inference.models.control.explicit import Explicit
from inferencehub.inference.models.control.poll import Polling
from inferencehub.inference.models.registry import Models
from inferencehub.inference.settings import InferenceSettings


def control_of(settings: InferenceSettings, models: Models) -> Control:
    """The control of the models of a process.

    Raises:
        OSError: if there is no place for copies of models.
    """
    if settings.model_control == "poll":
        return Polling(models, settings.repository_poll_s)
    if settings.model_control == "explicit":
        return Explicit(models, settings.load_models, settings.repository_poll_s)
    return ByRepository(models)
