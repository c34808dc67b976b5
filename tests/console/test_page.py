"""The operator's page in a real browser: readable, quiet, honest about age, safe to press."""

import asyncio
import re
import time
from urllib.parse import urljoin

import pytest

from cloud.store.views import GatewayRow
from tests.console.conftest import AXE, CONSOLE, PHONE, WIDE

SIZES = pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
STALE_WITHIN_S = 3
HOMES = 5_000


def alarm(cloud, name, priority=3):
    cloud.app.views.alarm(f"test/{name}", priority, cloud.app.clock.now_ns(), "test", name)


def fleet(cloud, count=HOMES):
    """Gateways as the views keep them, so many that no page may hold them all."""
    now_ns = cloud.app.clock.now_ns()
    for number in range(count):
        device = f"{number:032x}"
        row = GatewayRow(device, "tiny", f"house-{number:05}", 1, now_ns, number, pv_w=number)
        cloud.app.views.gateways[device] = row


async def acknowledge_button(page, name):
    button = page.get_by_role("button", name=re.compile(f"Acknowledge.*{name}"))
    await button.wait_for()
    return button


async def test_the_page_shows_what_a_gateway_measured(browsed):
    await browsed.open(PHONE)
    row = browsed.page.locator("#gateways tbody tr", has_text="home-1")
    await row.wait_for()
    assert "1.23" in await row.inner_text()
    assert re.search(r"\d+ s", await row.inner_text()), "no age"


@SIZES
async def test_nothing_complains_overflows_or_bars_a_reader(browsed, feeding, size):
    if not AXE.exists():
        pytest.skip("axe-core is not there; run: make console")
    for priority in (1, 2, 3):
        alarm(feeding, f"something of priority {priority}", priority)
    await browsed.open(size)
    await browsed.page.wait_for_selector("#blocks tbody tr")
    await browsed.picture(size["width"])
    assert await browsed.violations() == []
    wide = await browsed.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
    assert wide <= 0
    assert browsed.complaints == []
    assert browsed.foreign == []


async def test_the_first_level_fits_one_screen(browsed, feeding):
    for number in range(60):
        alarm(feeding, f"alarm {number}")
    fleet(feeding, 200)
    await browsed.open(WIDE)
    high = await browsed.page.evaluate("document.scrollingElement.scrollHeight - innerHeight")
    assert high <= 0
    for section in await browsed.page.locator("section").all():
        box = await section.bounding_box()
        assert box["height"] >= 50
        assert box["y"] + box["height"] <= WIDE["height"]
    cut = await browsed.page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth)"
        ".map(box => box.ariaLabel)"
    )
    assert cut == [], "tables wider than their panels"


async def test_the_page_looks_stale_within_three_seconds_when_the_aggregator_goes(browsed, feeding):
    alarm(feeding, "still there")
    await browsed.open(WIDE)
    button = await acknowledge_button(browsed.page, "still there")
    began = time.monotonic()
    feeding.app._http.should_exit = True
    await browsed.page.wait_for_selector("body.stale")
    assert time.monotonic() - began <= STALE_WITHIN_S
    assert await button.get_attribute("aria-disabled") == "true"
    assert "stale" in await browsed.page.locator("#stream").inner_text()
    await browsed.picture("stale")
    words = "getComputedStyle(document.querySelector('#flow'), '::after').content"
    assert "stale" in await browsed.page.evaluate(words)


async def test_the_focused_button_stays_on_its_alarm_when_new_ones_come(browsed, feeding):
    for name in ("first", "second", "third"):
        alarm(feeding, name)
    await browsed.open(WIDE)
    button = await acknowledge_button(browsed.page, "second")
    await button.focus()
    focused, place = await browsed.focused(), await button.bounding_box()
    for number in range(5):
        alarm(feeding, f"urgent {number}", priority=1)
    await browsed.page.get_by_text(re.compile(r"[5-9] new below")).wait_for()
    assert await browsed.focused() == focused
    assert await button.bounding_box() == place, "the button moved under the finger"
    await browsed.page.keyboard.press("Enter")
    async with asyncio.timeout(3):
        while not feeding.app.views.alarms["test/second"].acknowledged:
            await asyncio.sleep(0.02)
    assert [key for key, row in feeding.app.views.alarms.items() if row.acknowledged] == [
        "test/second"
    ]
    await browsed.page.evaluate("document.activeElement.blur()")
    first = browsed.page.locator("#alarms tbody tr").first
    await first.get_by_text("urgent").wait_for()


async def test_an_alarm_is_acknowledged_by_keyboard_alone(browsed, feeding):
    alarm(feeding, "press me")
    await browsed.open(WIDE)
    await acknowledge_button(browsed.page, "press me")
    for _ in range(8):
        await browsed.page.keyboard.press("Tab")
        if "press me" in (await browsed.focused() or ""):
            break
    await browsed.page.keyboard.press("Enter")
    await browsed.page.get_by_role("button", name="Acknowledged: test, press me").wait_for()
    assert feeding.app.views.alarms["test/press me"].acknowledged
    assert "press me" in await browsed.focused(), "the keyboard lost its place"


async def test_a_flood_leaves_the_urgent_alarm_in_sight(browsed, feeding):
    alarm(feeding, "breaker open", priority=1)
    for number in range(150):
        alarm(feeding, f"noise {number}")
    await browsed.open(WIDE)
    first = browsed.page.locator("#alarms tbody tr").first
    await first.get_by_text("breaker open").wait_for()
    # The aggregator may have alarms of its own beside these.
    await browsed.page.get_by_text(re.compile(r"15\d risen in 10 min")).wait_for()
    await browsed.picture("flood")


async def test_the_filter_and_the_order_are_the_operators(browsed, feeding):
    fleet(feeding, 100)
    feeding.app.views.gateways["silent"] = GatewayRow("silent", "tiny", "house-silent", 1)
    await browsed.open(WIDE)
    await browsed.page.get_by_label("Filter").fill("HOUSE-0001")
    await browsed.page.get_by_text("10 of 102").wait_for()
    await browsed.page.get_by_role("button", name="PV kW").click()
    first = browsed.page.locator("#gateways tbody tr").first
    await first.get_by_text("house-00019").wait_for()
    await browsed.page.get_by_label("Filter").fill("nobody")
    await browsed.page.get_by_text("No gateway matches.").wait_for()
    await browsed.page.get_by_label("Filter").fill("")
    await browsed.page.get_by_label("Silent only").check()
    await browsed.page.get_by_text("1 of 102").wait_for()
    row = browsed.page.locator("#gateways tbody tr")
    await row.get_by_role("img", name="silent").wait_for()
    assert "never" in await row.inner_text()
    assert browsed.complaints == []


async def test_five_thousand_gateways_scroll_smoothly(browsed, feeding):
    fleet(feeding)
    await browsed.open(WIDE)
    await browsed.page.get_by_text(f"{HOMES + 1} of {HOMES + 1}").wait_for()
    assert await browsed.page.locator("#gateways tbody tr").count() < 100
    frames = await browsed.page.evaluate(
        """async () => {
          const box = document.querySelector("#gateways .scroll");
          const gaps = [];
          let last = performance.now();
          for (let step = 0; step < 90; step++) {
            box.scrollTop += 300;
            await new Promise(requestAnimationFrame);
            gaps.push(performance.now() - last);
            last = performance.now();
          }
          return gaps.sort((a, b) => a - b);
        }"""
    )
    assert frames[len(frames) // 2] < 40, "half of all frames took longer than two of a screen's"
    await browsed.page.evaluate("document.querySelector('#gateways .scroll').scrollTop = 1e9")
    await browsed.page.get_by_text(f"house-{HOMES - 1:05}").wait_for()
    await browsed.picture("fleet")
    assert await browsed.page.locator("#gateways tbody tr").count() < 100
    assert browsed.complaints == []


def test_the_page_preloads_exactly_what_its_modules_import():
    static = CONSOLE / "static"
    if not (static / "vendor" / ".ready").exists():
        pytest.skip("the libraries are not there; run: make console")
    preloads = re.findall(r'modulepreload" href="([^"]+)"', (static / "index.html").read_text())
    found, waiting = set(), ["/static/app.js"]
    while waiting:
        name = waiting.pop()
        text = (static / name.removeprefix("/static/")).read_text()
        for target in re.findall(r'(?:from|import)\s*"([^"]+\.js)"', text):
            path = urljoin(name, target)
            if path not in found:
                found.add(path)
                waiting.append(path)
    assert sorted(preloads) == sorted(found)
