"""The settings of the gateway that are about the recording of calls."""

from __future__ import annotations

from dataclasses import dataclass

from inferencehub.core.process.settings import TierSettings, setting


@dataclass(frozen=True)
class RecordingSettings(TierSettings):
    """See the module's text."""

    record: str = setting(
        "",
        "folder in which calls over HTTP and their answers are recorded, with all that callers send but their credentials; one "
        "for each gateway; see docs/replay.md; nothing is recorded if empty",
    )
    record_share: float = setting(
        0.01, "share of the calls that is recorded, where there is such a folder", least=0, most=1
    )
    record_bytes: int = setting(
        2**28, "bytes of all recordings in the folder; beyond them the oldest go", least=2**20
    )
