"""The settings of the gateway that are about jobs: where they are kept, how many may wait, and whom webhooks tell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from inferencehub.core.files.watched import BadFile
from inferencehub.core.process.settings import SettingError, TierSettings, setting

# Sentinels and the name that they know the store by, as redis+sentinel:// has it elsewhere; user and password are the store's.
SENTINEL = r"(?:\[[0-9a-fA-F:.]+\]|[^\s\[\]/@:,?#]+)(?::\d{1,5})?"
SENTINELS = re.compile(
    rf"rediss?\+sentinel://(?:(?P<who>[^/@]*)@)?(?P<hosts>{SENTINEL}(?:,{SENTINEL})*)/(?P<service>[^/?#]+)(?:/(?P<db>\d*))?"
    r"(?:\?(?P<options>(?:sentinel_(?:username|password)=[^&#]*(?:&|$)){1,2}))?"
)
STORES = "redis://host:port, rediss://… or redis+sentinel://host:port,…/name"
FILE = "file:"  # of a setting whose value stands in a file


@dataclass(frozen=True)
class JobSettings(TierSettings):
    """See the module's text."""

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
    model_loads: bool = setting(
        False,
        "calls to the gateway load and unload models on all pods whose HUB_MODEL_CONTROL is explicit; the store of HUB_JOBS "
        "keeps what they wish, for pods that start later",
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
        if self.model_loads and not self.jobs:
            raise SettingError(
                "HUB_MODEL_LOADS is true without HUB_JOBS, expected a store that keeps which models are to be loaded"
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
