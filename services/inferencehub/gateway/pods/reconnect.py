"""A stream to a pod that is kept: opened anew where it could not be or has ended, for as long as the pod's channel lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from inferencehub.gateway.pods.stream import PodStream

logger = logging.getLogger(__name__)

AGAIN_S = 1.0  # until a stream that has ended is opened anew


class ReconnectingStream:
    """See the module's text.

    Args:
        make: makes the stream that is opened next.
    """

    def __init__(self, make: Callable[[], PodStream]) -> None:
        self.stream: PodStream | None = None  # while it stands
        self._make = make
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """End it; calls that run fail."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _keep(self) -> None:
        said = ""
        while True:
            stream = self._make()
            try:
                await stream.open()
                self.stream = stream
                await stream.run()
            except (OSError, ValueError) as error:
                reason = str(error) or type(error).__name__
                if reason != said:
                    logger.info("no stream", extra={"pod": stream.address, "reason": reason})
                said = reason
            except Exception:
                logger.exception("stream failed", extra={"pod": stream.address})
            finally:
                self.stream = None
            await asyncio.sleep(AGAIN_S)
