"""The gateway's settings."""

from __future__ import annotations

from dataclasses import dataclass

from inferencehub.core.settings import SettingError, TierSettings, setting


@dataclass(frozen=True, slots=True)
class GatewaySettings(TierSettings):
    """Read from the environment; see the README's table."""

    port: int = setting(3000, "port for HTTP; 0 takes any free one", env="PORT", least=0, most=65535)
    backends: tuple[str, ...] = setting(
        ("inference-service:50051",),
        "where inference is: host:port, several with commas",
        env="GRPC_SERVER_URL",
    )
    roll_call: tuple[str, ...] = setting(
        (),
        "ops ports of pods behind a load balancer, host:port with commas, that are asked who is there; finds pods sooner than DNS",
    )
    resolve_s: float = setting(
        1.0, "seconds between two looks at DNS for pods that came or went", least=0.1, most=60
    )
    backend_slots: int = setting(
        4,
        "batches that a backend gets at a time if it does not tell its instance count",
        least=1,
        most=10_000,
    )
    queue_length: int = setting(1000, "rows that may wait for one model; beyond it callers get 429", least=1)
    hold_s: float = setting(
        5.0, "seconds for which a request waits while no pod serves its model", least=0, most=300
    )
    max_body_bytes: int = setting(
        32 * 2**20,
        "largest request body, in bytes, also once it is decompressed",
        least=2**10,
        most=2**30 - 1,
    )
    header_timeout_s: float = setting(
        10.0, "seconds in which a request's head must be there", least=0.1, most=600
    )
    body_timeout_s: float = setting(
        30.0, "seconds in which a request's body must be there", least=0.1, most=3600
    )
    cors_origins: tuple[str, ...] = setting(
        (), "origins whose pages may call from a browser, with commas, * for all; no CORS headers if empty"
    )

    def __post_init__(self) -> None:
        for name, targets in (("GRPC_SERVER_URL", self.backends), ("HUB_ROLL_CALL", self.roll_call)):
            for target in targets:
                host, colon, port = target.rpartition(":")
                sound = host and colon and "/" not in host and port.isdigit() and 0 < int(port) < 65536
                if not sound:
                    raise SettingError(f"{name} has '{target}', expected host:port")
        if not self.backends:
            raise SettingError("GRPC_SERVER_URL is empty, expected host:port")
        for origin in self.cors_origins:
            if origin != "*" and not origin.startswith(("http://", "https://")):
                raise SettingError(f"HUB_CORS_ORIGINS has '{origin}', expected * or https://host")
        self.check_timeouts()
