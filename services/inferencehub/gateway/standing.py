"""A stream to a pod that is kept: opened anew where it could not be or has ended, for as long as the pod's channel lives."""

from __future__ import annotations

import asyncio
import logging

from inferencehub.gateway.stream import Stream

logger = logging.getLogger(__name__)

AGAIN_S = 1.0  # until a stream that has ended is opened anew


class StandingStream:
    """See the module's text.

    Args:
        address: host:port.
        most_bytes: the largest message that is taken here.
        patience_s: how long the pod may be silent where it should speak.
    """

    def __init__(self, address: str, most_bytes: int, patience_s: float) -> None:
        self.stream: Stream | None = None  # while it stands
        self._address = address
        self._most_bytes = most_bytes
        self._patience_s = patience_s
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """End it; calls that run fail."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _keep(self) -> None:
        said = ""
        while True:
            try:
                stream = Stream(self._address, self._most_bytes, self._patience_s)
                await stream.open()
                self.stream = stream
                await stream.run()
            except (OSError, ValueError) as error:
                reason = str(error) or type(error).__name__
                if reason != said:
                    logger.info("no stream", extra={"backend": self._address, "reason": reason})
                said = reason
            except Exception:
                logger.exception("stream failed", extra={"backend": self._address})
            finally:
                self.stream = None
            await asyncio.sleep(AGAIN_S)
