"""A standing stream to a pod: opened again after a failure or an end, for as long as the pod's channel is open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from inferencehub.core.process.tasks import cancelled
from inferencehub.gateway.pods.stream import PodStream

logger = logging.getLogger(__name__)

AGAIN_S = 1.0  # wait before a stream is opened again


class ReconnectingStream:
    """See the module's text.

    Args:
        make: makes the next stream.
    """

    def __init__(self, make: Callable[[], PodStream]) -> None:
        self.stream: PodStream | None = None  # the open stream
        self._make = make
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """Close the stream for good; calls that run fail."""
        await cancelled((self._task,))

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
