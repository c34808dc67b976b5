"""The gateway seen from its own home: a read-only page, and numbers for a collector, on loopback.

Off unless `[local] port` is set. Must never listen on another address than this machine's own,
change anything, answer a page of another site that was pointed here (hence the check of Host), or
load anything from elsewhere: it is of use just when there is no network.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from html import escape
from typing import Any

from edge.health import Status, as_metrics

ADDRESS = "127.0.0.1"
HEAD_BYTES_MAX = 8_192
READ_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 8
_HOSTS = ("127.0.0.1", "localhost")
_PLAIN = "text/plain; charset=utf-8"
_STYLE = """
body{margin:0;background:#d3d5d7;color:#1d2429;font:13px/1.4 "DejaVu Sans",Verdana,sans-serif}
header{padding:7px 14px;background:#c3c7ca;border-bottom:1px solid #b4b9bd}
main{padding:10px;display:grid;gap:10px;grid-template-columns:repeat(auto-fit,minmax(300px,1fr))}
section{background:#e3e5e7;border:1px solid #b4b9bd;padding:7px 10px;overflow-x:auto}
h1{font-size:15px;margin:0}
h2{font-size:12px;letter-spacing:.03em;text-transform:uppercase;color:#454f56;margin:0 0 4px}
table{border-collapse:collapse;width:100%}
th{text-align:left;font-weight:600;white-space:nowrap}
th,td{padding:2px 7px 2px 0;border-bottom:1px solid #cfd3d6;vertical-align:top}
td{font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.bad{color:#8f1420;font-weight:700}
"""


def page(status: dict[str, Any]) -> str:
    """The status document as one self-contained page; colour only where something is wrong."""
    parts = [
        _table("Cloud", _pairs(status["uplink"], good={"connected": True})),
        _table("Outbox on disk", _pairs(status["outbox"])),
        _table("Readings", _pairs(status["sampling"])),
        _table("Setpoints and offers", _pairs({**status["dispatch"], **status["offers"]})),
        _table("Certificate", _pairs(status["certificate"])),
        _table("Alarms", _pairs(status["alarms"], bad=True) or [_row("none", "", bad=False)]),
        _table("Devices", [_device(name, item) for name, item in status["devices"].items()]),
    ]
    name = escape(str(status["name"]))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="5">'
        f"<title>{name}</title><style>{_STYLE}</style></head><body><header><h1>{name}</h1>"
        f"{escape(str(status['site']))}, zone {escape(str(status['zone']))},"
        f" device {escape(str(status['device']))}</header>"
        f"<main>{''.join(parts)}</main></body></html>"
    )


def _pairs(
    values: dict[str, Any], *, good: dict[str, object] | None = None, bad: bool = False
) -> list[str]:
    wanted = good or {}
    rows = []
    for key, value in values.items():
        wrong = bad or (key == "problem" and bool(value)) or wanted.get(key, value) != value
        if key != "problem" or value:
            rows.append(_row(key.replace("_", " "), _text(value), bad=wrong))
    return rows


def _text(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _device(name: str, item: dict[str, Any]) -> str:
    age = "never" if item["age_s"] is None else f"{item['age_s']} s ago"
    said = f"answered {age}; {item['reads']} reads, {item['failures']} failures"
    problem = str(item["problem"])
    return _row(name, f"{said}. {problem}" if problem else said, bad=bool(problem))


def _row(name: str, text: str, *, bad: bool) -> str:
    mark = ' class="bad"' if bad else ""
    return f'<tr><th scope="row">{escape(name)}</th><td{mark}>{escape(text)}</td></tr>'


def _table(title: str, rows: list[str]) -> str:
    return f"<section><h2>{title}</h2><table>{''.join(rows)}</table></section>"


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
        "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n\r\n"
    )
    return head.encode() + (b"" if bare else body)
