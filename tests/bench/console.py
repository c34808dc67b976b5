"""What the operator's page costs: to open, to keep open, and to serve. `rows()` for the bench table.

A real Chromium opens the page of an aggregator in another process, on loopback, with twenty and
with five thousand gateways of which a fifth changes every second. Bytes are counted by the browser
as they came over the wire, answers with their heads. Baselines are a prototype of the same page
that was sent every changed row.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
HOMES = 20
FLEET = 5_000
OPENINGS = 5
SECONDS = 10
CLIENTS = 200
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
ROWS = "#gateways tbody tr:has-text('house-00000')"
PAGES_MIB = 4096 / (1 << 20)


def rows():
    made = []
    with aggregator(HOMES) as (_, url):
        paint, table, opened, steady = page_figures(url)
        floor, *_ = page_figures(f"{url}metrics", "body", 0)
        made += [
            row(
                "first paint of plain text",
                floor,
                "ms",
                None,
                None,
                "what machine and server allow",
            ),
            row(
                "first contentful paint", paint, "ms", 150, 139, f"median of {OPENINGS}, cold cache"
            ),
            row("gateways in sight", table, "ms", 300, 478, "from navigation, 20 homes"),
            row("first load", opened, "KiB", 120, 157, "all files and the first screen"),
            row("wire, 20 homes", steady, "KiB/s", 5, 37, f"one page, over {SECONDS} s"),
        ]
    with aggregator(FLEET) as (process, url):
        _, table, _, steady = page_figures(url)
        made += [
            row("gateways in sight, 5,000", table, "ms", 300, 478),
            row("wire, 5,000 gateways", steady, "KiB/s", 5, 37, "1,000 of them change a second"),
            row(
                "server memory a client",
                asyncio.run(memory_a_client(process, url)),
                "MiB",
                0.2,
                0.075,
                f"{CLIENTS} open streams; baseline: streams of the prototype",
            ),
        ]
    return made


def row(name, value, unit, target, baseline=None, note=""):
    return {
        "name": name,
        "value": None if value is None else round(value, 3),
        "unit": unit,
        "target": target,
        "direction": "min",
        "ok": None if value is None or target is None else value <= target,
        "baseline": baseline,
        "note": note if value is not None else "no chromium or no playwright here",
    }


@contextmanager
def aggregator(homes):
    """An aggregator process with so many gateways. Gives the process and its address."""
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [sys.executable, __file__, directory, str(homes)], cwd=ROOT, stdout=subprocess.PIPE
        )
        try:
            port = int(process.stdout.readline())
            yield process, f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def page_figures(url, sight=ROWS, seconds=SECONDS):
    """First paint and first rows in ms, first load in KiB, then KiB a second."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None, None, None, None
    chromium = shutil.which("chromium")
    if chromium is None:
        return None, None, None, None
    with sync_playwright() as runner:
        openings = [_opening(runner, chromium, url, sight, 0) for _ in range(OPENINGS - 1)]
        openings.append(_opening(runner, chromium, url, sight, seconds))
    return (
        *(median(figures) for figures in list(zip(*openings, strict=True))[:3]),
        openings[-1][3],
    )


def _opening(runner, chromium, url, sight, seconds):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        context = runner.chromium.launch_persistent_context(
            profile,
            executable_path=chromium,
            args=ARGUMENTS,
            viewport={"width": 1600, "height": 1000},
        )
        page = context.pages[0]
        wire = Wire(context.new_cdp_session(page))
        page.goto(url, wait_until="commit")
        page.wait_for_selector(sight)
        table = page.evaluate("performance.now()")
        paint = page.evaluate(PAINT)
        page.wait_for_timeout(300)
        opened, began = wire.bytes, time.monotonic()
        page.wait_for_timeout(1_000 * seconds + 1)
        steady = (wire.bytes - opened) / (time.monotonic() - began) / 1024
        context.close()
    return paint, table, opened / 1024, steady


class Wire:
    """Counts what a page receives: whole answers as they were encoded, streams as they come."""

    def __init__(self, session):
        self.bytes = 0
        self._streams = set()
        session.on("Network.responseReceived", self._head)
        session.on("Network.dataReceived", self._data)
        session.on("Network.loadingFinished", self._whole)
        session.send("Network.enable")

    def _head(self, event):
        if event["type"] == "EventSource":
            self._streams.add(event["requestId"])
            self.bytes += event["response"]["encodedDataLength"]

    def _data(self, event):
        if event["requestId"] in self._streams:
            self.bytes += event["dataLength"]

    def _whole(self, event):
        if event["requestId"] not in self._streams:
            self.bytes += event["encodedDataLength"]


async def memory_a_client(process, url):
    """How much the aggregator grows for each of many open streams, in MiB."""
    await asyncio.to_thread(_touch, url)
    await _streams(url, 10)
    before = _resident_mib(process.pid)
    grown = await _streams(url, CLIENTS, lambda: _resident_mib(process.pid))
    return (grown - before) / CLIENTS


def _touch(url):
    with urlopen(f"{url}api/screen") as answer:
        answer.read()


async def _streams(url, count, measure=lambda: 0.0):
    """Opens so many streams, lets them run, measures, closes them."""
    host, port = url.removeprefix("http://").strip("/").split(":")
    head = f"GET /api/stream HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    writers, readers = [], []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head)
        writers.append(writer)
        readers.append(asyncio.create_task(_drain(reader)))
    await asyncio.sleep(5)
    measured = measure()
    for task in readers:
        task.cancel()
    for writer in writers:
        writer.close()
    await asyncio.gather(*readers, return_exceptions=True)
    return measured


async def _drain(reader):
    while await reader.read(1 << 16):
        pass


def _resident_mib(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGES_MIB


async def serve(directory, homes):
    """An aggregator whose views hold made-up gateways; a fifth of them changes every second."""
    sys.path.insert(0, str(ROOT))
    from cloud.app import App
    from cloud.config import CloudConfig, ZoneConfig
    from cloud.store.views import GatewayRow
    from protos.clock import SystemClock

    ports = dict.fromkeys(("http_port", "gateway_port", "enrolment_port", "utility_port"), 0)
    zones = (ZoneConfig(name="tiny", network="tiny"),)
    app = App(CloudConfig(state_dir=directory, zones=zones, **ports), SystemClock())
    listening = await app.start()
    gateways = []
    for number in range(homes):
        row = GatewayRow(f"{number:032x}", "tiny", f"house-{number:05}", 1, capacity_wh=10_000)
        app.views.gateways[row.device] = row
        gateways.append(row)
    print(listening.http_port, flush=True)
    second = 0
    while True:
        for row in gateways[second % 5 :: 5]:
            row.seen_ns, row.seq = app.clock.now_ns(), row.seq + 1
            row.pv_w, row.load_w = 1_000 + row.seq * 37 % 4_000, 400 + row.seq * 53 % 2_000
            row.grid_w, row.soc_per_mille = row.load_w - row.pv_w, row.seq % 1_000
        second += 1
        await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
