"""The scaler's settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from inferencehub.core.process.settings import ProcessSettings, SettingError, setting

TIERS = ("gateway", "inference")


class Kept(NamedTuple):
    """The Secret that stores a tier's certificate, and the DNS name in it."""

    secret: str
    name: str


@dataclass(frozen=True, slots=True)
class ScalerSettings(ProcessSettings):
    """All settings, read from the environment; docs/settings.md lists them."""

    port: int = setting(
        8443,
        "port for the metrics API (TLS); 0 takes any free port",
        env="PORT",
        least=0,
        most=65535,
    )
    release: str = setting("", "release of the chart that the process belongs to")
    namespace: str = setting("default", "namespace of that release")
    all_namespaces: bool = setting(False, "sum the demand of releases in all namespaces, not only in its own")
    metrics_api: bool = setting(True, "serve external.metrics.k8s.io, with TLS, at `PORT`")
    service: str = setting("", "Service in front of this API; its certificate is for this name")
    certificate_secret: str = setting("", "Secret that stores the API's certificate")
    make_certificate: bool = setting(
        True, "make the certificate and renew it; turn it off where another tool does"
    )
    authority_secret: str = setting(
        "",
        "Secret that stores the authority of the tiers' certificates, which the scaler then makes and renews; it makes "
        "none if empty",
    )
    tier_certificates: tuple[str, ...] = setting(
        (), "where these are: tier=Secret:DNS name for gateway and inference; separated by commas"
    )
    tier_settle_s: float = setting(
        300.0,
        "seconds after a change of these Secrets until all pods have the files; a new authority signs nothing before, "
        "and an old one is trusted as long",
        least=1,
        most=86_400,
    )
    activate: tuple[str, ...] = setting(
        (),
        "pools without a pod get one: pool=deployment; separated by commas. After the seconds without demand in the "
        "Deployment's annotation `inferencehub/quiet-seconds` the last pod is removed; it never is if that is no number",
    )
    kubernetes_url: str = setting("https://kubernetes.default.svc", "address of the Kubernetes API")
    credentials: str = setting(
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "directory with the token for that API and the certificate of its CA: token, ca.crt",
    )

    def __post_init__(self) -> None:
        self.check_files("ops")
        if self.metrics_api and not (self.service and self.certificate_secret):
            raise SettingError("HUB_METRICS_API needs HUB_SERVICE and HUB_CERTIFICATE_SECRET")
        if self.activate and not self.release:
            raise SettingError("HUB_ACTIVATE needs HUB_RELEASE")
        self.targets()
        if bool(self.authority_secret) != bool(self.certificates()):
            raise SettingError(
                "HUB_AUTHORITY_SECRET and HUB_TIER_CERTIFICATES belong together, expected both or none"
            )

    def certificates(self) -> dict[str, Kept]:
        """The entries of `tier_certificates`, by tier.

        Raises:
            SettingError: if an entry does not have the format tier=Secret:name, or if not both tiers have one.
        """
        found = {}
        for entry in self.tier_certificates:
            tier, _, rest = entry.partition("=")
            secret, _, name = rest.partition(":")
            if not (secret and name):
                raise SettingError(f"HUB_TIER_CERTIFICATES has '{entry}', expected tier=Secret:name")
            found[tier] = Kept(secret, name)
        if found and found.keys() != set(TIERS):
            raise SettingError(
                f"HUB_TIER_CERTIFICATES is for {', '.join(found)}, expected {' and '.join(TIERS)}"
            )
        return found

    def targets(self) -> dict[str, str]:
        """The Deployments of `activate`, by pool.

        Raises:
            SettingError: if an entry does not have the format pool=deployment.
        """
        found = {}
        for entry in self.activate:
            pool, _, deployment = entry.partition("=")
            if not (pool and deployment):
                raise SettingError(f"HUB_ACTIVATE has '{entry}', expected pool=deployment")
            found[pool] = deployment
        return found
