"""The scaler's settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from inferencehub.core.process.settings import ProcessSettings, SettingError, setting


class Target(NamedTuple):
    """A pool that may go to zero: its Deployment, and the seconds without demand after which it goes."""

    deployment: str
    quiet_s: float


@dataclass(frozen=True, slots=True)
class ScalerSettings(ProcessSettings):
    """Read from the environment; see the README's table."""

    port: int = setting(
        8443,
        "port for Kubernetes' external metrics, TLS; 0 takes any free one",
        env="PORT",
        least=0,
        most=65535,
    )
    release: str = setting("", "release of the chart that the process belongs to")
    namespace: str = setting("default", "its namespace")
    all_namespaces: bool = setting(
        False, "sum the demand of releases in all namespaces, not of its own alone"
    )
    metrics_api: bool = setting(True, "serve external.metrics.k8s.io")
    service: str = setting("", "Service that the API is reached by; its certificate is for this name")
    certificate_secret: str = setting("", "Secret that keeps the API's certificate")
    make_certificate: bool = setting(True, "make the certificate and renew it; off where somebody else does")
    activate: tuple[str, ...] = setting(
        (), "pools that go to zero pods and come back: pool=deployment:seconds without demand, with commas"
    )
    kubernetes_url: str = setting("https://kubernetes.default.svc", "where Kubernetes' API is")
    credentials: str = setting(
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "directory with the token for it and the certificate of its CA: token, ca.crt",
    )

    def __post_init__(self) -> None:
        if self.metrics_api and not (self.service and self.certificate_secret):
            raise SettingError("HUB_METRICS_API needs HUB_SERVICE and HUB_CERTIFICATE_SECRET")
        if self.activate and not self.release:
            raise SettingError("HUB_ACTIVATE needs HUB_RELEASE")
        self.targets()

    def targets(self) -> dict[str, Target]:
        """`activate` by pool.

        Raises:
            SettingError: naming the entry that is not as described.
        """
        found = {}
        for entry in self.activate:
            pool, _, rest = entry.partition("=")
            deployment, _, seconds = rest.partition(":")
            if not (pool and deployment and seconds.isdigit()):
                raise SettingError(f"HUB_ACTIVATE has '{entry}', expected pool=deployment:seconds")
            found[pool] = Target(deployment, float(seconds))
        return found
