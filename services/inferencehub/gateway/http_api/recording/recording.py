"""The recording of a gateway, from its settings to the handler that its port gets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily

from inferencehub.core.files.watched import BadFile
from inferencehub.core.http1.handler import Handler
from inferencehub.gateway.http_api.recording.outcomes import OUTCOMES
from inferencehub.gateway.settings.recording import RecordingSettings

if TYPE_CHECKING:
    from inferencehub.gateway.http_api.recording.recorder import Recorder


class Recording:
    """See the module's text. Without a folder it does nothing, and loads nothing; also a collector of its metric.

    Args:
        settings: where calls are recorded, and which share of them.

    `recorder` is None where nothing is recorded.

    Raises:
        BadFile: if there can be no file in the folder.
    """

    def __init__(self, settings: RecordingSettings) -> None:
        self._share = settings.record_share
        self._counts: Counter[str] = Counter()
        self.recorder: Recorder | None = None
        if settings.record:
            self.recorder = self._make(settings)

    def _make(self, settings: RecordingSettings) -> Recorder:
        from inferencehub.gateway.http_api.recording.folder import Folder
        from inferencehub.gateway.http_api.recording.recorder import Recorder

        try:
            folder = Folder(Path(settings.record), settings.record_bytes)
        except OSError as error:
            reason = f"calls can't be recorded in '{settings.record}': {error.strerror}"
            raise BadFile(f"HUB_RECORD: {reason}; expected a folder that the gateway may write to") from None
        return Recorder(folder, self._counts)

    def before(self, handler: Handler) -> Handler:
        """The handler, or what records its calls and passes them on."""
        if self.recorder is None:
            return handler
        from inferencehub.gateway.http_api.recording.handler import RecordingHandler

        return RecordingHandler(handler, self.recorder, self._share)

    def start(self) -> None:
        """Write from now on."""
        if self.recorder is not None:
            self.recorder.start()

    async def stop(self) -> None:
        """Write what waits, for some seconds at most."""
        if self.recorder is not None:
            await self.recorder.close()

    def collect(self) -> list[CounterMetricFamily]:
        """The counter, read at each scrape; 0 where nothing is recorded."""
        text = "calls that were chosen to be recorded, by what became of them"
        family = CounterMetricFamily("inferencehub_gateway_recorded_calls", text, labels=["outcome"])
        for outcome in OUTCOMES:
            family.add_metric([outcome], self._counts.get(outcome, 0))
        return [family]
