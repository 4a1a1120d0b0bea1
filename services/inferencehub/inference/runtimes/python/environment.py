"""What the process of a Python model finds: its environment variables, an allow-list and not the service's own, and its interpreter.

This keeps the service's secrets out of a model's crash report or debug page. It is no isolation from a hostile model,
which runs as the same user as the service.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from inferencehub.core.oip.model_info import ENVIRONMENT, MODEL_DIRECTORY
from inferencehub.core.values.errors import bad_input

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
# Instances run in parallel, so their libraries get a share of the cores each, unless the environment sets these. LOKY is
# joblib's, for scikit-learn's `n_jobs=-1`, TF is TensorFlow's.
THREAD_SETTINGS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)
# TensorFlow's native code logs errors only: its warnings are about inputs, of which callers may send any number.
LOG_SETTINGS = {"TF_CPP_MIN_LOG_LEVEL": "2"}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY")
ALWAYS = (
    *("PATH", "HOME", "TZ", "LANG", "LANGUAGE", "LC_*", "TMPDIR"),
    *("LD_LIBRARY_PATH", "CUDA_*", "NVIDIA_*", "OMP_*", "ORT_DISABLE_TELEMETRY"),
    *THREAD_SETTINGS,
    *LOG_SETTINGS,
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
        interpreter: that of the model's own environment; "" if the service's own runs the model.
        more: variables that the model's library needs, whatever the service's own environment says.
    """

    names: tuple[str, ...]
    threads: int
    sources: str
    interpreter: str = ""
    more: Mapping[str, str] = field(default_factory=dict)

    def taken_from(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment of a process, made from the service's own."""
        taken = {name: value for name, value in environ.items() if self.passes(name)}
        given = {**dict.fromkeys(THREAD_SETTINGS, str(self.threads)), **LOG_SETTINGS, **taken, **self.more}
        if self.interpreter:  # the service's packages are not for it
            return {name: value for name, value in given.items() if name != "PYTHONPATH"}
        path = os.pathsep.join(filter(None, (self.sources, environ.get("PYTHONPATH"))))
        return {**given, "PYTHONPATH": path}

    def passes(self, name: str) -> bool:
        """Whether processes get the variable called `name`."""
        return matches(name, (*ALWAYS, *self.names)) and not matches(name.upper(), NEVER)


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a name is one of the patterns, in which * stands for any text."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def interpreter_of(text: str, model: Path) -> str:
    """The interpreter of a model's own environment.

    Args:
        text: the config's parameter `EXECUTION_ENV_PATH`: the environment's directory.
        model: the model's directory, which `$$TRITON_MODEL_DIRECTORY` stands for.

    Raises:
        HubError: BAD_INPUT if there is none.
    """
    path = Path(text.replace(MODEL_DIRECTORY, str(model.absolute())))
    if not path.is_absolute():
        raise bad_input(
            f"{ENVIRONMENT} is '{text}', expected an absolute path or one that begins with {MODEL_DIRECTORY}"
        )
    if text.endswith(ARCHIVES):
        raise bad_input(
            f"{ENVIRONMENT} is '{text}', an archive; expected a directory: unpack it where the model is built"
        )
    found = path / "bin" / "python"
    if not os.access(found, os.X_OK) or not found.is_file():
        raise bad_input(
            f"{ENVIRONMENT} is '{text}', and there is no interpreter bin/python in it; expected a virtual environment"
        )
    return str(found)
