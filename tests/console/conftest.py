"""A real browser before a real aggregator: what the operator's page does, not what it should do."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.gate.conftest import MAP, cloud, gateway

__all__ = ["cloud", "gateway"]

CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CONSOLE = Path(__file__).resolve().parents[2] / "cloud" / "gate" / "console"
AXE = CONSOLE / "node_modules" / "axe-core" / "axe.min.js"
ANSWER_WITHIN_MS = 15_000
WIDE = {"width": 1600, "height": 1000}
PHONE = {"width": 390, "height": 844}


class Browsed:
    """One page of a running aggregator, and what it complained about and asked for."""

    def __init__(self, page, url, directory):
        self.directory = directory
        self.page = page
        self.url = url
        self.complaints = []
        self.foreign = []
        page.on("console", lambda said: self._heard(said.type, said.text))
        page.on("pageerror", lambda error: self._heard("error", str(error)))
        page.on("request", lambda request: self._asked(request.url))

    def _heard(self, kind, text):
        if kind in {"error", "warning"}:
            self.complaints.append(text)

    def _asked(self, address):
        if not address.startswith((self.url, "data:")):
            self.foreign.append(address)

    async def open(self, size):
        await self.page.set_viewport_size(size)
        await self.page.goto(self.url)
        await self.page.wait_for_selector("body:not(.stale) #gateways table")

    async def picture(self, name):
        """A screenshot to look at; pytest keeps those of the last runs and -s prints where."""
        path = self.directory / f"console-{name}.png"
        await self.page.screenshot(path=path, full_page=True)
        print(f"picture: {path}")

    async def violations(self):
        """What axe-core finds, one line each. It is put in past the page's own policy."""
        await self.page.evaluate(AXE.read_text("utf-8"))
        found = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{rule['id']}: {node['html'][:120]}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]

    async def focused(self):
        """The name of the element that has the keyboard."""
        return await self.page.evaluate("document.activeElement.getAttribute('aria-label')")


@pytest.fixture
async def feeding(cloud, gateway):
    """The aggregator with one gateway whose readings it has."""
    await gateway.connect()
    await gateway.send(gateway.seal(MAP))
    await gateway.send(gateway.seal(gateway.readings(power_w=1234)))
    await gateway.receipted(2)
    return cloud


@pytest.fixture
async def browsed(feeding, tmp_path):
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH; apt install chromium")
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    async with playwright.async_playwright() as runner:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            context = await runner.chromium.launch_persistent_context(
                profile, executable_path=CHROMIUM, args=ARGUMENTS
            )
            context.set_default_timeout(ANSWER_WITHIN_MS)
            url = f"http://127.0.0.1:{feeding.listening.http_port}/"
            yield Browsed(context.pages[0], url, tmp_path)
            await context.close()
