"""What the network says of a name or a port. Nothing is sent there."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from contextlib import suppress
from enum import Enum
from functools import partial

CONNECT_S = 2.0
AFTER_S = 0.3  # TLS 1.3: that a certificate is refused is told after the handshake
LOOKS_UP, MOST_LOOK_UPS = (
    "doctor-dns",
    16,
)  # the name of threads that look names up, and how many there may be
NO_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


class Reach(Enum):
    """What came of connecting to a port."""

    OPEN = "it accepts connections"
    REFUSED = "nothing listens there: the connection is refused"
    SILENT = f"it does not answer: no connection within {CONNECT_S:g} s, and nothing refuses it"
    UNREACHABLE = "there is no way to that address"


async def addresses_of(host: str) -> set[str]:
    """The addresses of a host.

    Raises:
        OSError: if it has none, or if no server answers within some seconds (TimeoutError).
    """
    if sum(thread.name == LOOKS_UP for thread in threading.enumerate()) >= MOST_LOOK_UPS:
        raise TimeoutError("look-ups of before have no answer yet")
    loop = asyncio.get_running_loop()
    found: asyncio.Future[set[str]] = loop.create_future()

    def look_up() -> None:
        try:
            entries = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
            tell = partial(answer, found, {str(entry[4][0]) for entry in entries}, None)
        except (OSError, UnicodeError) as error:
            tell = partial(answer, found, set(), error)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell)

    # A look-up that hangs can't be ended. In the threads of the loop it would take the place of the process's own work, and the
    # end of the loop would wait for it.
    threading.Thread(target=look_up, name=LOOKS_UP, daemon=True).start()
    async with asyncio.timeout(CONNECT_S + 1):
        return await found


def answer(found: asyncio.Future[set[str]], addresses: set[str], error: Exception | None) -> None:
    """Tell what a look-up has found, if somebody still waits for it."""
    if not found.done():
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)


def why_no_address(error: OSError) -> tuple[str, str]:
    """What a failed look-up means, and what to do, as sentences."""
    if isinstance(error, socket.gaierror) and error.errno in NO_NAME:
        seen = "there is no such name"
        fix = (
            "Look for a typing error, and whether the Service is there and has pods (kubectl get services,endpoints); in "
            "another namespace it is called NAME.NAMESPACE."
        )
    else:
        seen = "DNS does not answer" if isinstance(error, TimeoutError) else f"DNS fails: {error.strerror}"
        fix = (
            "Look at the cluster's DNS (kubectl get pods -n kube-system -l k8s-app=kube-dns), and whether a network policy "
            "lets this pod reach port 53."
        )
    return seen, fix


async def reach(host: str, port: int, seconds: float = CONNECT_S) -> Reach:
    """What comes of connecting to a port within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Reach.SILENT
    except ConnectionRefusedError:
        return Reach.REFUSED
    except OSError:
        return Reach.UNREACHABLE
    writer.close()
    return Reach.OPEN


async def handshake(host: str, port: int, tls: ssl.SSLContext, name: str | None) -> str:
    """Why TLS with a port fails; "" if it does not.

    Args:
        host, port: where.
        tls: what this side shows and whom it trusts.
        name: that the certificate of the other side must have; None for any.
    """
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=tls, server_hostname="" if name is None else name
            )
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(AFTER_S):
                        if not await reader.read(1):
                            return "it ends the connection after the handshake: does it trust this side's certificate?"
            finally:
                writer.close()
    except TimeoutError:
        return "it does not speak TLS, or not within some seconds"
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not accepted here: {error.verify_message}"
    except ssl.SSLError as error:
        return f"TLS fails: {error.reason or error}".replace("_", " ").lower()
    except OSError as error:
        return f"the connection ends in the handshake: {error.strerror or error}"
    return ""
