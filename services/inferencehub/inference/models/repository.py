"""The model repository on disk, in Triton's layout.

    <repository>/<model>/config.pbtxt          optional if the model file describes inputs and outputs itself
    <repository>/<model>/<version>/<file>      versions are whole numbers

If one model cannot be read, the scan returns it with the reason, and the other models are served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inferencehub.core.files.tree import is_directory, written
from inferencehub.core.values.errors import HubError, bad_input, listed
from inferencehub.inference.models.config import instances, parse_config
from inferencehub.inference.models.lfs import is_pointer, pointer_reason
from inferencehub.inference.runtimes.runtime import (
    RUNTIMES,
    ModelSource,
    ProcessRules,
    RuntimeKind,
    runtime_of,
)
from inferencehub.pb import model_config_pb2 as config_pb


@dataclass(frozen=True, slots=True)
class Found:
    """A model version in the repository: how to load it (`source`), or why it cannot be loaded (`reason`)."""

    name: str
    version: str
    runtime: str = ""
    source: ModelSource | None = None
    reason: str = ""

    def ruled(self, rules: ProcessRules) -> Found:
        """The same, with the service's rules for the processes of models."""
        return self if self.source is None else replace(self, source=replace(self.source, processes=rules))


def scan(repository: Path) -> list[Found]:
    """All model versions of a repository that are to be served, in the order of names and versions.

    Raises:
        HubError: BAD_INPUT if the directory does not exist.
    """
    if not repository.is_dir():
        raise bad_input(f"the model repository '{repository}' is no directory")
    found: list[Found] = []
    for directory in sorted(repository.iterdir()):
        if is_model(directory.name) and is_directory(directory):
            found += read(directory)
    return found


def read(directory: Path, config: config_pb.ModelConfig | None = None) -> list[Found]:
    """The versions of one model that are to be served, or why its directory cannot be read.

    Args:
        directory: of the model.
        config: its configuration in place of the one in its directory.
    """
    try:
        return read_model(directory, config)
    except HubError as error:
        reason = error.detail
    except OSError as error:
        reason = f"'{written(Path(str(error.filename)).name)}' cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        reason = "config.pbtxt cannot be read: it is not UTF-8"
    return [Found(directory.name, "", reason=reason)]


def is_model(name: str) -> bool:
    """Whether a directory of a repository is a model: not hidden, not private, not made by a file system, and named in UTF-8."""
    return not name.startswith((".", "_")) and name != "lost+found" and written(name) == name


def read_model(directory: Path, config: config_pb.ModelConfig | None = None) -> list[Found]:
    """The versions of one model that its `version_policy` serves; see `read`.

    Raises:
        HubError: BAD_INPUT that says what is wrong with the config or the directory.
    """
    path = directory / "config.pbtxt"
    if config is None and is_pointer(path):
        raise bad_input(pointer_reason(path.name))
    config = config or parse_config(path.read_text("utf-8") if path.exists() else "", directory.name)
    versions = versions_of(directory)
    if not versions:
        raise bad_input(f"model '{directory.name}' has no version directory (a whole number, such as '1')")
    if not config.backend and not config.platform:
        config.backend = guess_runtime(directory, versions)
    runtime = runtime_of(config)
    kind = RUNTIMES[runtime]
    found = []
    for version in served_versions(config, versions):
        filename = config.default_model_filename or model_file(kind, directory / version)
        file = directory / version / filename
        if not file.exists():
            names = [config.default_model_filename] if config.default_model_filename else kind.model_files
            found.append(Found(directory.name, version, reason=no_file(names, directory / version)))
            continue
        if is_pointer(file):
            found.append(Found(directory.name, version, reason=pointer_reason(f"{version}/{filename}")))
            continue
        source = ModelSource(directory.name, version, directory / version, file, config, instances(config))
        found.append(Found(directory.name, version, runtime, source))
    return found


def versions_of(directory: Path) -> list[str]:
    """The version directories of a model, by their numbers."""
    return sorted(
        (child.name for child in directory.iterdir() if is_version(child.name) and is_directory(child)),
        key=int,
    )


def model_file(kind: RuntimeKind, version: Path) -> str:
    """The name of the model file in a version directory: the first of its kind that exists, or else the usual one."""
    there = (name for name in kind.model_files if (version / name).exists())
    return next(there, kind.model_files[0] if kind.model_files else "")


def no_file(names: Sequence[str], version: Path) -> str:
    """The sentence for a version directory without a model file: what it may be called, and what is there."""
    expected = " or ".join(f"'{version.name}/{name}'" for name in names)
    there = sorted(
        f"'{written(child.name)}'" for child in version.iterdir() if not child.name.startswith((".", "_"))
    )
    return f"{expected} is not there, only {listed(there)}" if there else f"{expected} is not there"


def is_version(name: str) -> bool:
    """Whether a directory's name is a version, a whole number."""
    return name.isascii() and name.isdigit()


def guess_runtime(directory: Path, versions: list[str]) -> str:
    """The runtime for a model whose config names no `backend`: the one whose model file exists.

    Raises:
        HubError: BAD_INPUT if there is no such file.
    """
    for kind in dict.fromkeys(RUNTIMES.values()):
        if any((directory / version / name).exists() for version in versions for name in kind.model_files):
            return kind.name
    expected = " or ".join(sorted({name for kind in RUNTIMES.values() for name in kind.model_files}))
    raise bad_input(f"config.pbtxt names no backend and no version directory has a {expected}")


def served_versions(config: config_pb.ModelConfig, versions: list[str]) -> list[str]:
    """The versions that `version_policy` serves; without a policy, only the newest one.

    Raises:
        HubError: BAD_INPUT if the policy names a version that does not exist.
    """
    policy = config.version_policy
    if policy.HasField("all"):
        return versions
    if policy.HasField("specific"):
        wanted = [str(version) for version in policy.specific.versions]
        missing = [version for version in wanted if version not in versions]
        if missing:
            raise bad_input(f"version_policy names version {missing[0]}, which has no directory")
        return sorted(wanted, key=int)
    count = policy.latest.num_versions if policy.HasField("latest") else 1
    return versions[-max(1, count) :]
