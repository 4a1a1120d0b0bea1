"""The processes of `inferencehub run`, each with an environment of its own, made from one environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from inferencehub.cli.processes.directories import models_in
from inferencehub.cli.processes.ports import Port, chosen, refuse_taken
from inferencehub.cli.processes.rollout import Rollout
from inferencehub.cli.processes.supervisor import Tier
from inferencehub.core.process.settings import PREFIX, SettingError, read_settings, refuse_unknown, variables
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.inference.settings import InferenceSettings

DEFAULTS = {"HUB_LOG_FORMAT": "human", "HUB_DRAIN_WAIT_S": "0"}


RELOAD = {"HUB_READY_AFTER": "all", "HUB_REQUIRED_MODELS": "", "HUB_HEALTH_PORT": "0"}


def tiers(
    environ: Mapping[str, str], pods: int, port: Port, ops_port: Port, reload: bool = False
) -> tuple[Tier, list[Tier | Rollout]]:
    """Split one environment into those of the gateway and of each inference service.

    Args:
        environ: the settings of both tiers.
        pods: number of inference services.
        port, ops_port: ports of the first inference service.
        reload: whether it is replaced when its models change.

    Raises:
        SettingError: if a setting is unknown to both tiers or has an invalid value, a port is taken, or there are no
            models.
    """
    settings = (GatewaySettings, InferenceSettings)
    refuse_unknown(environ, [name for cls in settings for name, _ in variables(cls)])
    front = settings_of(GatewaySettings, environ)
    grpc = chosen(Port(read_settings(GatewaySettings, front).grpc_port, "HUB_GRPC_PORT"))
    front["HUB_GRPC_PORT"] = str(grpc.number)  # models call others there
    back = {"HUB_GATEWAY": f"127.0.0.1:{grpc.number}", **settings_of(InferenceSettings, environ)}
    read = read_settings(InferenceSettings, {**back, "PORT": "0"})
    refuse_empty(read.repository())
    ports = {"PORT": port, "HUB_OPS_PORT": ops_port}
    if read.stream_port:  # with 0, each process takes a free one
        ports["HUB_STREAM_PORT"] = Port(read.stream_port, "HUB_STREAM_PORT")
    if read.tier_tls_cert and read.health_port:
        ports["HUB_HEALTH_PORT"] = Port(read.health_port, "HUB_HEALTH_PORT")
    used: list[Port] = []
    inference: list[Tier | Rollout] = []
    if reload:
        return reloading(environ, front, back, read, chosen(port), chosen(ops_port))
    for place in range(pods):
        own = {name: chosen(first, place) for name, first in ports.items()}
        used += own.values()
        name = "the inference service" + (f" at port {own['PORT'].number}" if pods > 1 else "")
        inference.append(Tier(name, "inference", {**back, **numbers(own)}, own["HUB_OPS_PORT"].number))
    addresses = ",".join(f"127.0.0.1:{tier.settings['PORT']}" for tier in inference)
    return gateway({"GRPC_SERVER_URL": addresses, **front}, used), inference


def reloading(
    environ: Mapping[str, str],
    front: dict[str, str],
    back: dict[str, str],
    read: InferenceSettings,
    port: Port,
    ops_port: Port,
) -> tuple[Tier, list[Tier | Rollout]]:
    """As `tiers`, for one inference service that is replaced when its models change.

    Raises:
        SettingError: also if the ops ports speak TLS.
    """
    if read.ops_tls_cert:
        raise SettingError(
            "HUB_OPS_TLS_CERT is set, and --reload asks the ops port in plain; expected one of them"
        )
    wait = environ.get("HUB_DRAIN_WAIT_S", "0.5")  # a gateway has noticed by then
    back = {**back, **RELOAD, "HUB_DRAIN_WAIT_S": wait}
    probed = chosen(Port(0, "--reload"))

    def make() -> Tier:
        return Tier("the inference service", "inference", back, ops_port.number, spare=True)

    front = {
        **front,
        "GRPC_SERVER_URL": "",
        "HUB_ROLL_CALL": f"127.0.0.1:{probed.number}",
    }
    ports = (port.number, ops_port.number)
    rollout = Rollout("the inference service", read.repository(), probed.number, ports, make)
    return gateway(front, [port, ops_port, probed]), [rollout]


def gateway(front: dict[str, str], used: list[Port]) -> Tier:
    """The gateway, with these settings.

    Args:
        front: its settings; a port that is 0 becomes a free one.
        used: the ports of the other processes.

    Raises:
        SettingError: as `tiers`.
    """
    parsed = read_settings(GatewaySettings, front)
    own = {
        name: chosen(Port(getattr(parsed, field.name), name))
        for name, field in variables(GatewaySettings)
        if name.endswith("PORT")
    }
    refuse_taken([*own.values(), *used])
    return Tier("the gateway", "gateway", {**front, **numbers(own)}, own["HUB_OPS_PORT"].number)


def settings_of(cls: type, environ: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a tier with the settings `cls` gets, over what differs on a laptop."""
    names = {name for name, _ in variables(cls)}
    mine = {name: value for name, value in environ.items() if name in names or not name.startswith(PREFIX)}
    return {**DEFAULTS, **mine}


def numbers(ports: Mapping[str, Port]) -> dict[str, str]:
    """Ports as the values of their variables."""
    return {name: str(port.number) for name, port in ports.items()}


def refuse_empty(repository: Path) -> None:
    """Refuse a repository in which no directory can be a model.

    Raises:
        SettingError: if there is none, or the repository cannot be read.
    """
    try:
        models = models_in(repository)
    except OSError as error:
        raise SettingError(f"the model repository '{repository}' cannot be read: {error.strerror}") from None
    if not models:
        raise SettingError(
            f"the model repository '{repository}' has no models, expected directories such as <model>/1; "
            "HUB_MODELS names the repository"
        )
