"""The inference service's settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inferencehub.core.process.settings import PREFIX, SettingError, TierSettings, setting
from inferencehub.core.tls.certificate import Certificate

# Where models are if no setting says so. In the image the second one is meant: a Dockerfile copies models there, and a
# volume is mounted there.
GIVEN = ("models", "/models")


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
    models: str = setting(
        "", "directory of the model repository; without it ./models, then /models, then the samples"
    )
    samples: str = setting("", "directory of sample models, which are served if no models are given")
    model_control: str = setting(
        "none",
        "when models change: none: at a start of the process alone; poll: when the repository has changed; explicit: when "
        "calls load or unload them",
        choices=("none", "poll", "explicit"),
    )
    repository_poll_s: float = setting(
        15.0,
        "seconds between two looks at the repository if HUB_MODEL_CONTROL is poll, or at the names of its models if it is "
        "explicit",
        least=0.05,
        most=3600,
    )
    load_models: tuple[str, ...] = setting(
        (),
        "models to load at the start if HUB_MODEL_CONTROL is explicit, separated by commas; * for all of the repository",
    )
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
    model_env: tuple[str, ...] = setting(
        (),
        "environment variables that the processes of Python models get besides the usual ones: names or patterns such as HF_*, separated by commas",
    )
    gateway: str = setting(
        "",
        "address of the gateway's gRPC port, host:port, for Python models that call other models; without it they call none",
    )
    gateway_key: str = setting(
        "",
        "file with the API key that goes with these calls, where the gateway asks callers for one; read again when it changes",
    )
    gateway_tls_ca: str = setting(
        "",
        "file with the authorities that sign the gateway's certificate for callers, as PEM; these calls are then TLS; read "
        "again when it changes",
    )
    gateway_tls_server_name: str = setting(
        "", "name that this certificate must have; the host of HUB_GATEWAY if empty"
    )
    gateway_tls_cert: str = setting(
        "",
        "file with the certificate that these calls show, followed by those that signed it, as PEM, where the gateway asks "
        "callers for one (HUB_TLS_CA); read again when it changes",
    )
    gateway_tls_key: str = setting("", "file with the key of this certificate, as PEM, without a password")
    model_grace_s: float = setting(
        30.0,
        "seconds that a Python model's run may go on beyond its deadline before its process is killed, at most; runs get as long as they usually take",
        least=0,
        most=3600,
    )
    allow_pickle: bool = setting(
        False,
        "load scikit-learn models from pickles too (model.joblib, model.pkl), and a model.pt2 of PyTorch with pickled objects "
        "in it: a pickle runs code when it is loaded, so set it only if you trust everybody who can write to the model repository",
    )
    max_message_bytes: int = setting(
        64 * 2**20, "largest gRPC message that is received or sent, in bytes", least=2**10, most=2**31 - 1
    )

    tier_tls_client_names: tuple[str, ...] = setting(
        ("gateway",),
        "names of which the certificate of each client must have one, separated by commas, if the tiers speak TLS",
    )
    health_port: int = setting(
        50053,
        "port for health over plain gRPC and nothing else, if the tiers speak TLS, which kubelets do not; "
        "0 takes any free port",
        least=0,
        most=65535,
    )

    direct_calls: bool = setting(
        False,
        "let others than gateways call over gRPC too if the tiers speak TLS: they show a certificate of HUB_TIER_TLS_CA and "
        "send one of HUB_API_KEYS; if the tiers speak in plain, everybody may call",
    )

    def __post_init__(self) -> None:
        self.check()
        if not self.tier_tls_client_names:
            raise SettingError("HUB_TIER_TLS_CLIENT_NAMES is empty, expected at least one name")
        if self.load_models and self.model_control != "explicit":
            raise SettingError(
                f"HUB_LOAD_MODELS is set and HUB_MODEL_CONTROL is '{self.model_control}', expected 'explicit'"
            )
        self.check_gateway()
        if self.direct_calls and not self.tier_tls_cert:
            raise SettingError(
                "HUB_DIRECT_CALLS is true and the tiers speak in plain, so that nobody can be told apart from a gateway; "
                "expected HUB_TIER_TLS_CERT, HUB_TIER_TLS_KEY and HUB_TIER_TLS_CA"
            )
        if self.direct_calls and not self.api_keys:
            raise SettingError(
                "HUB_DIRECT_CALLS is true, expected HUB_API_KEYS with the keys of direct callers"
            )

    def check_gateway(self) -> None:
        """Raise `SettingError` if the settings of models' calls do not go together."""
        secured = [f"gateway_tls_{part}" for part in ("cert", "key", "server_name")]
        for names, needed, expected in (
            (("gateway_key", "gateway_tls_ca"), "gateway", "the address of the gateway"),
            (secured, "gateway_tls_ca", "the file with the authorities of the gateway's certificate"),
        ):
            for name in names:
                if getattr(self, name) and not getattr(self, needed):
                    missing = PREFIX + needed.upper()
                    raise SettingError(
                        f"{PREFIX}{name.upper()} is set and {missing} is not, expected {expected}"
                    )
        if bool(self.gateway_tls_cert) != bool(self.gateway_tls_key):
            raise SettingError(
                "HUB_GATEWAY_TLS_CERT and HUB_GATEWAY_TLS_KEY belong together, expected both or none"
            )

    def gateway_certificate(self) -> Certificate | None:
        """What models' calls trust, and show, at the gateway; None if they are in plain.

        Raises:
            BadFile: if it can't be used.
        """
        if not self.gateway_tls_ca:
            return None
        host = self.gateway.rpartition(":")[0].strip("[]") or self.gateway
        files = (self.gateway_tls_cert, self.gateway_tls_key, self.gateway_tls_ca)
        return Certificate("HUB_GATEWAY_TLS", *files, calls=self.gateway_tls_server_name or host)

    def repository(self) -> Path:
        """The directory whose models are served.

        It is `models`. If that is not set, it is ./models or /models, and `samples` if neither exists.

        Raises:
            SettingError: if it is no directory.
        """
        candidates = [self.models] if self.models else [*GIVEN, *filter(None, [self.samples])]
        for candidate in map(Path, candidates):
            if candidate.is_dir():
                return candidate
        places = " or ".join(f"'{candidate}'" for candidate in candidates)
        raise SettingError(f"there is no model repository at {places}; HUB_MODELS names its directory")

    def serves_samples(self) -> bool:
        """Whether the models to serve are the samples.

        Raises:
            SettingError: as `repository`.
        """
        return bool(self.samples) and self.repository().resolve() == Path(self.samples).resolve()
