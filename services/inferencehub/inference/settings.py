"""The inference service's settings."""

from __future__ import annotations

from dataclasses import dataclass

from inferencehub.core.process.settings import TierSettings, setting


@dataclass(frozen=True, slots=True)
class InferenceSettings(TierSettings):
    """All settings, read from the environment; docs/settings.md lists them."""

    port: int = setting(50051, "port for gRPC; 0 takes any free port", env="PORT", least=0, most=65535)
    stream_port: int = setting(
        0,
        "port for the streams of gateways; the pod announces it to them; 0 takes any free port",
        least=0,
        most=65535,
    )
    models: str = setting("models", "directory of the model repository")
    required_models: tuple[str, ...] = setting(
        (),
        "models that must serve for the process to be ready, separated by commas; if empty, HUB_READY_AFTER decides",
    )
    ready_after: str = setting(
        "all",
        "all: the process is ready once the load of each model has ended and one serves; first: once one serves",
        choices=("all", "first"),
    )
    pool: str = setting("default", "pool that the process belongs to; each pool is scaled separately")
    max_message_bytes: int = setting(
        64 * 2**20, "largest gRPC message that is received or sent, in bytes", least=2**10, most=2**31 - 1
    )
