"""The gateway's settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from inferencehub.core.files.watched import BadFile
from inferencehub.core.process.settings import SettingError, setting
from inferencehub.core.tls.certificate import Certificate
from inferencehub.gateway.caller_settings import CallerSettings

# An origin as browsers send it (RFC 6454, 6.2): anything else would never be equal to what they send.
HOST = r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])"
ORIGIN = re.compile(rf"http://{HOST}(?!:80$)(?::[1-9]\d{{0,4}})?|https://{HOST}(?!:443$)(?::[1-9]\d{{0,4}})?")
# Sentinels and the name that they know the store by, as redis+sentinel:// has it elsewhere; user and password are the store's.
SENTINEL = r"(?:\[[0-9a-fA-F:.]+\]|[^\s\[\]/@:,?#]+)(?::\d{1,5})?"
SENTINELS = re.compile(
    rf"rediss?\+sentinel://(?:(?P<who>[^/@]*)@)?(?P<hosts>{SENTINEL}(?:,{SENTINEL})*)/(?P<service>[^/?#]+)(?:/(?P<db>\d*))?"
    r"(?:\?(?P<options>(?:sentinel_(?:username|password)=[^&#]*(?:&|$)){1,2}))?"
)
STORES = "redis://host:port, rediss://… or redis+sentinel://host:port,…/name"
FILE = "file:"  # of a setting whose value stands in a file


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


@dataclass(frozen=True, slots=True)
class GatewaySettings(CallerSettings):
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
    max_body_bytes: int = setting(
        32 * 2**20,
        "largest request body in bytes, before and after decompression",
        least=2**10,
        most=2**30 - 1,
    )
    tls_cert: str = setting(
        "",
        "file with the certificate for callers, followed by those that signed it, as PEM; HTTP and gRPC are then TLS "
        "only; read again when it changes",
    )
    tls_key: str = setting("", "file with the key of this certificate, as PEM, without a password")
    tls_ca: str = setting(
        "",
        "file with the authorities that sign callers' certificates, as PEM; each caller must then show one; read again "
        "when it changes",
    )
    tier_tls_server_name: str = setting(
        "inference", "name that the certificate of each pod must have; pods are called by their addresses"
    )
    jobs: str = setting(
        "",
        "where jobs are kept: sqlite:<file> for one gateway, or redis://… (rediss://… with TLS) for any number: Valkey or "
        "Redis; redis+sentinel://… where sentinels know which one; file:<path> for a file that has such a URL; no jobs if empty",
    )
    jobs_ca: str = setting(
        "",
        "file with the authorities that sign the certificate of a rediss:// store, as PEM; those of the system if empty",
    )
    jobs_queue_length: int = setting(
        100_000, "jobs that may wait; beyond it calls that would be jobs get 429", least=1, most=10_000_000
    )
    jobs_files_bytes: int = setting(
        2**28,
        "bytes of uploaded files that a tenant may have in the store of jobs; beyond it uploads get 429",
        least=2**10,
        most=2**40,
    )
    jobs_drain_s: float = setting(
        60.0,
        "seconds in which pods are to work off the jobs that wait: the demand that autoscalers see asks for as many",
        least=1,
        most=86_400,
    )
    jobs_floor: float = setting(
        0.1,
        "share of the rows that jobs get at least while calls of the same model leave them less; with 0 they wait until no "
        "call does",
        least=0,
        most=0.5,
    )
    job_ttl_s: float = setting(
        3600.0,
        "seconds that a job may wait, and that its result is kept, if its request does not say so",
        least=1,
        most=2_592_000,
    )
    webhook_hosts: tuple[str, ...] = setting(
        (),
        "hosts that webhooks of jobs may go to: names, *.name for all below, with :port if it is not 443; or origins such "
        "as http://collector:8080, which may have private addresses; separated by commas; no webhooks if empty",
    )
    webhook_secret: str = setting(
        "",
        "file with the secrets that sign webhooks, whsec_ and base64, one a line, the newest first; all of them sign; read "
        "again when it changes",
    )
    webhook_ca: str = setting(
        "",
        "file with the authorities that sign the certificates of receivers, as PEM; without it, those of the system",
    )
    cors_origins: tuple[str, ...] = setting(
        (),
        "origins whose pages may call from a browser, separated by commas; * for all; no CORS headers if empty",
    )
    cors_credentials: bool = setting(
        False,
        "pages of these origins may call with the browser's cookies and client certificates; not with *",
    )

    def __post_init__(self) -> None:
        for name, targets in (("GRPC_SERVER_URL", self.backends), ("HUB_ROLL_CALL", self.roll_call)):
            for target in targets:
                host, colon, port = target.rpartition(":")
                sound = host and colon and "/" not in host and port.isdigit() and 0 < int(port) < 65536
                if not sound:
                    raise SettingError(f"{name} has '{target}', expected host:port")
        self.on_demand()
        if bool(self.tls_cert) is not bool(self.tls_key):
            raise SettingError("HUB_TLS_CERT and HUB_TLS_KEY belong together, expected both or none")
        if self.tls_ca and not self.tls_cert:
            raise SettingError(
                "HUB_TLS_CA is there without HUB_TLS_CERT: callers show certificates only over TLS"
            )
        if not self.tier_tls_server_name:
            raise SettingError(
                "HUB_TIER_TLS_SERVER_NAME is empty, expected the name in the pods' certificates"
            )
        if not self.backends:
            raise SettingError("GRPC_SERVER_URL is empty, expected host:port")
        for origin in self.cors_origins:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise SettingError(
                    f"HUB_CORS_ORIGINS has '{origin}', expected * or an origin as browsers send it: https://host or "
                    "https://host:port, in lower case, without a path and without the scheme's own port"
                )
        if self.cors_credentials and (not self.cors_origins or "*" in self.cors_origins):
            raise SettingError(
                "HUB_CORS_CREDENTIALS is true, so HUB_CORS_ORIGINS must name origins, and * is none: any page could "
                "call as the browser's user"
            )
        self.check_jobs()
        self.check_callers()
        self.check_traces()
        self.check()

    def certificate(self) -> Certificate | None:
        """The certificate for callers; None if they are answered in plain.

        Raises:
            BadFile: if it can't be used.
        """
        if not self.tls_cert:
            return None
        return Certificate("HUB_TLS", self.tls_cert, self.tls_key, self.tls_ca, protocols=["http/1.1"])

    @property
    def jobs_file(self) -> str:
        """The file of SQLite that has the jobs; "" if they are elsewhere."""
        kind, _, file = self.jobs.partition(":")
        return file if kind == "sqlite" else ""

    def check_jobs(self) -> None:
        """Raise `SettingError` if `jobs` names no store. What it has is not shown: a URL may have a password."""
        if self.webhook_hosts and not (self.webhook_secret and self.jobs):
            raise SettingError(
                "HUB_WEBHOOK_HOSTS is there without HUB_WEBHOOK_SECRET or HUB_JOBS, expected a file with the secrets that "
                "sign, and a store of jobs"
            )
        if not self.jobs or self.jobs_file or self.jobs.startswith(FILE):
            return
        if not is_store(self.jobs):
            raise SettingError(f"HUB_JOBS names no store, expected sqlite:<file> or {STORES}")
        if self.jobs_ca and not self.jobs.startswith("rediss"):
            scheme = self.jobs.partition(":")[0]
            raise SettingError(f"HUB_JOBS_CA verifies a store with TLS, but HUB_JOBS begins with {scheme}://")

    def jobs_url(self) -> str:
        """The URL of the store of jobs, which may stand in a file.

        Raises:
            BadFile: if the file can't be read, or has no such URL. What it has is not shown.
        """
        if not self.jobs.startswith(FILE):
            return self.jobs
        path = self.jobs.removeprefix(FILE)
        try:
            url = Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadFile(f"HUB_JOBS: {path} cannot be read: {error}") from None
        if not is_store(url):
            raise BadFile(f"HUB_JOBS: {path} has no URL of a store, expected {STORES}")
        return url

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


def is_store(text: str) -> bool:
    """Whether a text is the URL of a Valkey or Redis, or of sentinels that know it."""
    if (match := SENTINELS.fullmatch(text)) is not None:
        ports = re.findall(r":(\d+)(?:,|$)", match["hosts"])
        return all(0 < int(port) < 2**16 for port in ports)
    try:
        url = urlsplit(text)
        return url.scheme in ("redis", "rediss") and bool(url.hostname) and url.port != 0
    except ValueError:  # of a port that is none
        return False
