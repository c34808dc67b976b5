"""The gateway seen from its own home: a read-only page, and numbers for a collector, on loopback.

Off unless `[local] port` is set. Must never listen on another address than this machine's own,
change anything, answer a page of another site that was pointed here (hence the check of Host), or
load anything from elsewhere: it is of use just when there is no network.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress

from edge.health import Status, as_metrics
from edge.page import SCRIPT_HASH, page, part

ADDRESS = "127.0.0.1"
HEAD_BYTES_MAX = 8_192
READ_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 8
_HOSTS = ("127.0.0.1", "localhost")
_PLAIN = "text/plain; charset=utf-8"
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; connect-src 'self';"
    f" script-src 'sha256-{SCRIPT_HASH}'; base-uri 'none'; form-action 'none'"
)


async def serve_local(port: int, status: Callable[[], Status]) -> asyncio.Server:
    """Listens on loopback. Raises OSError where the port is taken."""
    open_now = 0

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        try:
            if open_now <= CONNECTIONS_MAX:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(_answer(head, status))
                    await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, OSError):
            # No whole request, or nobody there to take the answer.
            return
        finally:
            open_now -= 1
            with suppress(OSError):
                writer.close()

    return await asyncio.start_server(converse, ADDRESS, port, limit=HEAD_BYTES_MAX)


def _answer(head: bytes, status: Callable[[], Status]) -> bytes:
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    hosts = [line[5:].strip() for line in lines if line[:5].lower() == "host:"]
    if len(hosts) != 1 or hosts[0].rpartition(":")[0 if ":" in hosts[0] else 2] not in _HOSTS:
        return _response("421 Misdirected Request", _PLAIN, "ask this machine by its own address")
    if len(words) != 3 or words[0] not in {"GET", "HEAD"}:
        return _response("405 Method Not Allowed", _PLAIN, "this page can only be read")
    bare = words[0] == "HEAD"
    match words[1]:
        case "/":
            return _response("200 OK", "text/html; charset=utf-8", page(status()), bare=bare)
        case "/part":
            return _response("200 OK", "text/html; charset=utf-8", part(status()), bare=bare)
        case "/metrics":
            kind = "text/plain; version=0.0.4; charset=utf-8"
            return _response("200 OK", kind, as_metrics(status()), bare=bare)
        case "/status.json":
            return _response("200 OK", "application/json", json.dumps(status()), bare=bare)
    return _response("404 Not Found", _PLAIN, "there are /, /metrics and /status.json", bare=bare)


def _response(code: str, kind: str, text: str, *, bare: bool = False) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {code}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        f"Content-Security-Policy: {_POLICY}\r\n\r\n"
    )
    return head.encode() + (b"" if bare else body)
