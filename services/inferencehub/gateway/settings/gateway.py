"""All settings of the gateway, with those that are about its pods and about requests that wait for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from inferencehub.core.process.settings import SettingError, setting
from inferencehub.core.traces.settings import TraceSettings
from inferencehub.gateway.settings.callers import CallerSettings
from inferencehub.gateway.settings.jobs import JobSettings
from inferencehub.gateway.settings.recording import RecordingSettings


class OnDemand(NamedTuple):
    """A model whose pool may have no pods: what a pod would report about the model, known beforehand.

    Args:
        pool: the model's pool.
        slots: batches that one pod runs at a time.
        max_batch_size: rows of one batch; 0 if the model does not batch.
    """

    pool: str
    slots: int
    max_batch_size: int


@dataclass(frozen=True)
class GatewaySettings(CallerSettings, JobSettings, RecordingSettings, TraceSettings):
    """The gateway's settings, read from the environment; docs/settings.md lists them."""

    port: int = setting(3000, "port for HTTP; 0 takes any free port", env="PORT", least=0, most=65535)
    grpc_port: int = setting(3001, "port for gRPC; 0 takes any free port", least=0, most=65535)
    grpc_max_connection_age_s: float = setting(
        300.0,
        "seconds after which a gRPC connection is asked to end, give or take 10 %, so that callers spread over "
        "gateways that came later; its calls may end; 0 for never",
        least=0,
        most=86_400,
    )
    backends: tuple[str, ...] = setting(
        ("inference-service:50051",),
        "address of the inference service: host:port, or several separated by commas",
        env="GRPC_SERVER_URL",
    )
    roll_call: tuple[str, ...] = setting(
        (),
        "where to send pod probes: ops ports of pods behind a load balancer, host:port separated by commas; "
        "finds pods sooner than DNS",
    )
    resolve_s: float = setting(
        1.0, "seconds between two DNS lookups for pods that came or went", least=0.1, most=60
    )
    backend_slots: int = setting(
        4,
        "batches that a pod gets at a time if it does not report its number of instances",
        least=1,
        most=10_000,
    )
    queue_length: int = setting(1000, "rows that may wait for one model; beyond it requests get 429", least=1)
    hold_s: float = setting(
        5.0, "seconds that a request waits while no pod serves its model", least=0, most=300
    )
    on_demand_models: tuple[str, ...] = setting(
        (),
        "models of pools that may have no pods: pool/model:slots or pool/model:slots:max_batch_size, "
        "separated by commas",
    )
    activation_s: float = setting(
        60.0,
        "seconds that a request waits for a pod of one of these models, instead of HUB_HOLD_S",
        least=0,
        most=3600,
    )
    traffic: str = setting(
        "",
        "file that says which version of a model a call gets that names none, as JSON; read again when it changes; see "
        "docs/traffic.md",
    )
    console: bool = setting(
        True,
        "the page /console is on the gateway's port too; the ops port has it always, without the last calls",
    )
    max_body_bytes: int = setting(
        32 * 2**20,
        "largest request body in bytes, before and after decompression",
        least=2**10,
        most=2**30 - 1,
    )
    tier_tls_server_name: str = setting(
        "inference", "name that the certificate of each pod must have; pods are called by their addresses"
    )

    def __post_init__(self) -> None:
        for name, targets in (("GRPC_SERVER_URL", self.backends), ("HUB_ROLL_CALL", self.roll_call)):
            for target in targets:
                host, colon, port = target.rpartition(":")
                sound = host and colon and "/" not in host and port.isdigit() and 0 < int(port) < 65536
                if not sound:
                    raise SettingError(f"{name} has '{target}', expected host:port")
        self.on_demand()
        if not self.tier_tls_server_name:
            raise SettingError(
                "HUB_TIER_TLS_SERVER_NAME is empty, expected the name in the pods' certificates"
            )
        if not self.backends and not self.roll_call:
            raise SettingError("GRPC_SERVER_URL is empty, expected host:port")
        self.check_jobs()
        self.check_callers()
        self.check_traces()
        self.check()

    def on_demand(self) -> dict[str, OnDemand]:
        """`on_demand_models` as a dict by model name.

        Raises:
            SettingError: if an entry has another form; the error names the entry.
        """
        models = {}
        for entry in self.on_demand_models:
            pool, slash, rest = entry.partition("/")
            name, *numbers = rest.split(":")
            sound = slash and pool and name and all(number.isdigit() for number in numbers)
            if not sound or len(numbers) not in (1, 2) or not 0 < int(numbers[0]) <= 10_000:
                raise SettingError(
                    f"HUB_ON_DEMAND_MODELS has '{entry}', expected pool/model:slots[:max_batch_size]"
                )
            models[name] = OnDemand(pool, int(numbers[0]), int(numbers[1]) if len(numbers) == 2 else 0)
        return models
