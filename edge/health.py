"""What the agent says about itself: structured log lines, one status document, the watchdog.

Nothing here opens a port to the network; the status is read through a local socket file that only
the agent's user can open. Must never contain a key, a token or a certificate.
"""

import asyncio
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
Status = dict[str, object]
_PREFIX = "gridtokenx_edge"


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what the caller added."""

    def format(self, record: logging.LogRecord) -> str:
        line: Status = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def start_logging(level: str = "INFO", stream: TextIO = sys.stderr) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def notify(state: str) -> bool:
    """Tells systemd, where it started us, how we are. True if somebody was told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.send(state.encode())
        except OSError:
            return False
    return True


def watchdog_period_s() -> float:
    """How often systemd wants to hear from us: half its limit; 0 where it does not watch."""
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 2_000_000 if text.isdigit() else 0.0


_BY_NAME = {"devices": ("device", "device"), "alarms": ("alarms", "alarm")}
"""Parts of a status whose keys are anybody's words: they become labels, (metric, label)."""


def as_metrics(status: Status) -> str:
    """The numbers of a status in Prometheus' text format: gridtokenx_edge_<path> <value>.

    What an installer or the cloud named, devices and alarms, is a label and never part of a name.
    """
    lines: list[str] = []
    for key, value in status.items():
        if key not in _BY_NAME:
            _flatten(f"{_PREFIX}_{key}", "", value, lines)
        elif isinstance(value, dict):
            metric, label = _BY_NAME[key]
            for name, item in value.items():
                _flatten(f"{_PREFIX}_{metric}", f'{{{label}="{_escaped(name)}"}}', item, lines)
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _flatten(name: str, labels: str, value: object, lines: list[str]) -> None:
    if isinstance(value, bool | int | float):
        lines.append(f"{name}{labels} {int(value) if isinstance(value, bool) else value}")
    elif isinstance(value, dict):
        for key, item in value.items():
            _flatten(f"{name}_{key}", labels, item, lines)


async def serve_status(path: Path, status: Callable[[], Status]) -> asyncio.Server:
    """Answers every connection to the socket file with one JSON document."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps(status()).encode() + b"\n")
        try:
            await writer.drain()
        except OSError:
            # The reader went away; it knows.
            return
        finally:
            writer.close()

    await asyncio.to_thread(path.unlink, missing_ok=True)
    mask = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(answer, path)
    finally:
        os.umask(mask)
