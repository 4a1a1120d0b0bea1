"""Calls of a model whose `predict` is a coroutine: one after the other on each socket, all on one event loop."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from itertools import count
from typing import Any

from inferencehub.core.lane.sink import WINDOW, weight_of
from inferencehub.core.values.errors import Kind
from inferencehub.core.values.requests import size_of
from inferencehub.core.values.tensors import Buffer
from inferencehub.inference.runtimes.python.channel import (
    Call,
    Credit,
    Done,
    Given,
    Level,
    Measured,
    Message,
    ModelFailed,
    NotGiven,
    Progress,
    Stop,
    Unasked,
    answer_frame,
    frame,
)
from inferencehub.inference.runtimes.python_worker.asking import (
    LEFT,
    Reply,
    asked_frame,
    outputs_of,
    refuse_on,
)
from inferencehub.inference.runtimes.python_worker.lines import running
from inferencehub.inference.runtimes.python_worker.loaded import Loaded
from inferencehub.inference.runtimes.python_worker.pipe import Pipe, send_measures
from inferencehub.model.calls import CallError, ModelCall
from inferencehub.model.context import Context


def on_a_loop(loaded: Loaded) -> bool:
    """Whether its calls run on an event loop: `predict` is a coroutine, or several may be in flight."""
    return inspect.iscoroutinefunction(loaded.model.predict) or loaded.load.max_in_flight > 1


class Place:
    """One of the calls that may be in flight: a socket, and the task of its present call.

    Args:
        loaded: the model.
        pipe: the socket.
    """

    def __init__(self, loaded: Loaded, pipe: Pipe) -> None:
        self._loaded = loaded
        self._loop = asyncio.get_running_loop()
        self._socket, self._inbox = pipe.taken()
        self._unsent: deque[Buffer] = deque()
        self._filled, self._emptied, self._credited = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._window = 0
        self._number = 0  # of the call
        self._task: asyncio.Task[None] | None = None  # of the call, while the model's code runs
        self._runs: set[asyncio.Task[None]] = (
            set()
        )  # of calls: the present one, and perhaps one that has just sent its end
        self._stopped = True
        self._asked: dict[int, asyncio.Future[Reply]] = {}  # calls of other models
        self._numbers = count(1)

    async def serve(self) -> None:
        """Run calls until the service closes its end."""
        writing = asyncio.create_task(self._write())
        while (message := await self._receive()) is not None:
            self._take(*message)
            del message  # between two calls, nothing of a call is in memory
        self._stop()
        for task in (*self._runs, writing):
            task.cancel()
        await asyncio.wait({*self._runs, writing})

    def _take(self, message: Message, body: memoryview) -> None:
        if isinstance(message, Call):
            self._window, self._stopped = WINDOW, False
            self._number += 1
            run = asyncio.create_task(self._run(message, body))
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)
        elif isinstance(message, Credit):
            self._window += message.size
            self._credited.set()
        elif isinstance(message, Level):
            logging.getLogger().setLevel(message.level)
        elif isinstance(message, Given | NotGiven):
            if (waits := self._asked.pop(message.number, None)) is not None and not waits.done():
                waits.set_result((message, body))
        elif isinstance(message, Stop):
            self._stop()

    def put(self, buffers: list[Buffer]) -> None:
        """Send a frame as soon as the socket takes it."""
        self._unsent += buffers
        self._emptied.clear()
        self._filled.set()

    def _stop(self) -> None:
        self._stopped = True
        self._credited.set()
        if self._task is not None:
            self._task.cancel()

    async def _receive(self) -> tuple[Message, memoryview] | None:
        got = self._inbox.took(0)
        while got is None:
            try:
                count = await self._loop.sock_recv_into(self._socket, self._inbox.room())
            except ConnectionError:
                return None
            if not count:
                return None
            got = self._inbox.took(count)
        return got

    async def _write(self) -> None:
        while await self._filled.wait():
            self._filled.clear()
            while self._unsent:
                try:
                    await self._loop.sock_sendall(self._socket, self._unsent.popleft())
                except ConnectionError:
                    return  # the service has gone, and closes its end
            self._emptied.set()

    async def _run(self, call: Call, body: memoryview) -> None:
        running.set(call.callers)
        limit = asyncio.timeout_at(call.deadline)
        try:
            self._task = asyncio.current_task()
            if self._stopped:  # before it began
                raise asyncio.CancelledError
            async with limit:
                last = await self._answer(call, body)
        except BaseException as error:
            text = f"model '{self._loaded.load.model}': its run was ended, since nobody waits for it"
            over = limit.expired() or self._stopped
            last = frame(ModelFailed(text)) if over else self._loaded.failed(error)
        self._task, self._stopped = None, True
        for waits in self._asked.values():  # of tasks of the model that outlive the call
            waits.cancel()
        self.put(last)

    async def ask(self, of: int, call: ModelCall) -> dict[str, Any]:
        """The outputs of another model, which the call with the number `of` wants.

        Raises:
            CallError: if the other call fails, or nobody waits for this one any more.
            TypeError: as `asked_frame`.
        """
        number, waits = next(self._numbers), self._loop.create_future()
        buffers = asked_frame(call, number, self._loaded.load.max_answer_bytes)
        if of != self._number or self._stopped:
            raise CallError(call.model, Kind.CALLER_LEFT.label, LEFT)
        self._asked[number] = waits
        self.put(buffers)
        del buffers
        try:
            return outputs_of(call.model, *await waits)
        finally:
            if self._asked.pop(number, None) is not None and of == self._number and not self._stopped:
                self.put(frame(Unasked(number)))

    async def _answer(self, call: Call, body: memoryview) -> list[Buffer]:
        number = self._number

        def tell(progress: float) -> None:  # from any thread
            self._loop.call_soon_threadsafe(partial(self._tell, number, progress))

        def stopped() -> bool:
            return number != self._number or self._stopped

        calls = PlaceCalls(self, number, self._loop)
        context = self._loaded.context(call, stopped, calls, tell if call.watched else None)
        arguments, rows = self._loaded.arguments(call, body, context)
        given = self._loaded.model.predict(*arguments)
        if isinstance(given, AsyncGenerator):
            async with aclosing(given):
                await self._send(given, rows, context)
            return frame(Done())
        return answer_frame(self._loaded.outputs(await given, rows, call.callers.calls))

    async def _send(self, several: AsyncGenerator[Any, None], rows: int, context: Context) -> None:
        self._loaded.must_be_decoupled()
        async for given in several:
            outputs = self._loaded.outputs(given, rows, 1)
            self.put(answer_frame(outputs, more=True))
            self._window -= weight_of(size_of(tuple(outputs)))
            await self._emptied.wait()
            while self._window <= 0 and not context.cancelled:
                self._credited.clear()
                await self._credited.wait()
            if context.cancelled:
                return

    def _tell(self, number: int, progress: float) -> None:
        if number == self._number and not self._stopped:
            self.put(frame(Progress(progress)))


class PlaceCalls:
    """Calls of other models in one call, whose model runs on the event loop: see `ModelCalls`.

    Args:
        place: where the call runs.
        number: of the call.
        loop: the event loop.
    """

    def __init__(self, place: Place, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._place, self._number, self._loop = place, number, loop

    async def call(self, call: ModelCall) -> dict[str, Any]:
        """See `ModelCalls`."""
        return await self._place.ask(self._number, call)

    def call_sync(self, call: ModelCall) -> dict[str, Any]:
        """See `ModelCalls`. For threads beside the event loop.

        Raises:
            RuntimeError: on the event loop, which would wait for itself.
        """
        refuse_on(self._loop)
        return asyncio.run_coroutine_threadsafe(self.call(call), self._loop).result()


async def serve(loaded: Loaded, pipes: list[Pipe]) -> None:
    """Run calls on all sockets until the service closes them."""
    places = [Place(loaded, pipe) for pipe in pipes]
    loop = asyncio.get_running_loop()

    def put(measured: Measured) -> bool:
        loop.call_soon_threadsafe(places[0].put, frame(measured))
        return True

    send_measures(put)
    await asyncio.gather(*[place.serve() for place in places])
    with loaded.closing():
        given = loaded.close()
        if inspect.isawaitable(given):
            await given
