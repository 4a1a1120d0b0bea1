"""Which environment variables the process of a Python model gets: an allow-list, not the service's own environment.

This keeps the service's secrets out of a model's crash report or debug page. It is no isolation from a hostile model,
which runs as the same user as the service.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

# Instances run in parallel, so their libraries get a share of the cores each, unless the environment sets these. The last
# one is joblib's, for scikit-learn's `n_jobs=-1`.
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY")
ALWAYS = (
    *("PATH", "HOME", "TZ", "LANG", "LANGUAGE", "LC_*", "TMPDIR"),
    *("LD_LIBRARY_PATH", "CUDA_*", "NVIDIA_*", "OMP_*", *THREAD_SETTINGS, "ORT_DISABLE_TELEMETRY"),
    *("PYTHONFAULTHANDLER", "PYTHONPYCACHEPREFIX"),
    *PROXIES,
    *[name.lower() for name in PROXIES],
)
# Settings of the service, and files of keys. No pattern of the setting lets them pass.
NEVER = ("HUB_*", "*KEY_FILE", "*KEYS_FILE", "*KEYFILE", "*KEYLOGFILE")


@dataclass(frozen=True, slots=True)
class ModelEnvironment:
    """The rules of one model's processes.

    Args:
        names: names and patterns of further variables, such as "HF_*".
        threads: how many threads the model's libraries should use.
        sources: directory of the service's own code.
    """

    names: tuple[str, ...]
    threads: int
    sources: str

    def taken_from(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment of a process, made from the service's own."""
        taken = {name: value for name, value in environ.items() if self.passes(name)}
        path = os.pathsep.join(filter(None, (self.sources, environ.get("PYTHONPATH"))))
        return {**dict.fromkeys(THREAD_SETTINGS, str(self.threads)), **taken, "PYTHONPATH": path}

    def passes(self, name: str) -> bool:
        """Whether processes get the variable called `name`."""
        return matches(name, (*ALWAYS, *self.names)) and not matches(name.upper(), NEVER)


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a name is one of the patterns, in which * stands for any text."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
