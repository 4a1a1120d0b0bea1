"""What only the garbage collector could free: objects in reference cycles, and what these refer to."""

from __future__ import annotations

import gc
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# Objects that must not wait for the collector: our own, gRPC's channels and calls, buffers, sockets, and groups of errors.
# (gRPC's server makes a small cycle of its own for each call, with the call's metadata.)
PACKAGES = ("inferencehub.", "grpc.aio.")
HELD = (memoryview, bytearray, socket.socket, BaseExceptionGroup)


@contextmanager
def without_collector() -> Iterator[None]:
    """Switch the collector off; what is garbage before is not counted."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def unfreed() -> str:
    """Objects that nothing refers to any more and that only the collector frees, with their cycles; "" if none."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    garbage, gc.garbage[:] = gc.garbage[:], []
    held = Counter(type(one).__qualname__ for one in garbage if is_held(one))
    if not held:
        return ""
    cycles = [
        ", ".join(f"{type(one).__name__} {one!r:.120}" for one in cycle) for cycle in cycles_of(garbage)
    ]
    return "\n".join([f"only the collector frees {dict(held)}", *cycles])


def is_held(one: Any) -> bool:
    """Whether an object must not wait for the collector. Protobuf's classes may: there are a few, made again."""
    kind = type(one)
    ours = str(kind.__module__).startswith(PACKAGES) and not isinstance(one, type)
    return ours or isinstance(one, HELD)


def cycles_of(objects: Sequence[Any]) -> list[list[Any]]:
    """The strongly connected components with more than one object, by Tarjan's algorithm without recursion."""
    places = {id(one): place for place, one in enumerate(objects)}
    edges = [[places[id(to)] for to in gc.get_referents(one) if id(to) in places] for one in objects]
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    found = []
    for root in range(len(objects)):
        visits = [(root, 0)] if root not in order else []
        while visits:
            at, edge = visits.pop()
            if at not in order:
                order[at] = low[at] = len(order)
                path.append(at)
            if edge < len(edges[at]):
                visits.append((at, edge + 1))
                to = edges[at][edge]
                if to not in order:
                    visits.append((to, 0))
                elif to in path:
                    low[at] = min(low[at], order[to])
                continue
            if low[at] == order[at]:
                start = path.index(at)
                if len(path) - start > 1:
                    found.append([objects[one] for one in path[start:]])
                del path[start:]
            if visits:
                low[visits[-1][0]] = min(low[visits[-1][0]], low[at])
    return found
