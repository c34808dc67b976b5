"""What pages are told: never less than happened, never more than is in sight."""

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request

import pytest

from cloud.facts import BlockSealed, ElementFlow, GateClosed
from cloud.gate.console.fleet import WINDOW_ROWS_MAX, Fleet, Wanted
from cloud.gate.console.tables import ALARMS_SHOWN_MAX, COLUMNS
from cloud.gate.screen import Screen
from cloud.grid.shipped import network_named
from cloud.market.zone import Zone
from cloud.store.views import GatewayRow, Views
from protos.clock import MINUTE_NS, SECOND_NS, SLOT_NS
from protos.limits import CONSOLE_QUEUE_MAX

NOW_NS = 1_780_061_400 * SECOND_NS
WIRE_BYTES_MAX = 5 * 1024


class Watch:
    """A clock that is turned by hand."""

    def __init__(self):
        self.at_ns = NOW_NS

    def now_ns(self):
        return self.at_ns


class Page:
    """What a page does with its messages: the rules of wire.js in a few lines."""

    def __init__(self):
        self.values, self.tables, self.bytes = {}, {}, 0

    def take(self, text):
        self.bytes += len(text)
        message = json.loads(text)
        if "columns" in message:
            self.values, self.tables = {}, {name: {} for name in message["columns"]}
        self.values.update(message["values"])
        for name, delta in message["tables"].items():
            for key in delta.get("gone", ()):
                self.tables[name].pop(key, None)
            self.tables[name].update({row[0]: row for row in delta.get("rows", ())})


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def views():
    return Views()


@pytest.fixture
def screen(views, watch):
    zone = Zone("tiny", network_named("tiny"))
    return Screen(views, watch, {"tiny": zone})


def add_gateways(views, count, seen_ns=NOW_NS):
    for number in range(count):
        device = f"{number:032x}"
        row = GatewayRow(device, "tiny", f"house-{number:05}", 1 + number % 7, seen_ns)
        views.gateways[device] = row


def seal_block(views, number):
    block = BlockSealed(number, 100 * number, bytes([number % 256]) * 32, NOW_NS)
    views.update([block], NOW_NS)


async def tick(screen, watch, seconds=1):
    watch.at_ns += seconds * SECOND_NS
    screen._broadcast()


def test_every_row_has_as_many_places_as_its_columns(screen, views):
    add_gateways(views, 1)
    views.alarm("loading/tiny/1", 2, NOW_NS, "tiny", "element 1 at 187.0 % in slot 1977847")
    views.update([GateClosed("tiny", 5, 0, 0, 0, (ElementFlow(1, -5, 4),))], NOW_NS)
    seal_block(views, 1)
    document = json.loads(screen.everything())
    for name, columns in COLUMNS.items():
        for row in document[name]:
            assert tuple(row) == columns
    assert document["gateways"][0]["account"] == "house-00000"


def test_wires_and_slots_are_told_by_name_and_time(screen, views):
    name = network_named("tiny").element_names[1]
    views.alarm("loading/tiny/1", 2, NOW_NS, "tiny", "element 1 at 187.0 % in slot 1977847")
    views.update([GateClosed("tiny", 5, 0, 0, 0, (ElementFlow(1, -5, 4),))], NOW_NS)
    document = json.loads(screen.everything())
    assert document["alarms"][0]["message"] == f"{name} at 187.0 % in slot 13:45"
    assert document["feeders"][0]["name"] == name


def test_without_zones_numbers_stand_for_names(views, watch):
    views.update([GateClosed("far", 5, 0, 0, 0, (ElementFlow(7, -5, 4),))], NOW_NS)
    document = json.loads(Screen(views, watch).everything())
    assert document["feeders"][0]["name"] == "element 7"


def test_an_alarm_about_a_gateway_names_the_home(screen, views):
    add_gateways(views, 1)
    device = next(iter(views.gateways))
    views.alarm(f"lease/{device}", 3, NOW_NS, device[:12], "setpoint refused")
    assert json.loads(screen.everything())["alarms"][0]["source"] == "house-00000"


def test_a_flood_of_small_alarms_never_pushes_out_a_great_one(screen, views):
    views.alarm("great", 1, NOW_NS, "bus", "breaker open")
    for number in range(150):
        views.alarm(f"small/{number}", 3, NOW_NS + 1, "bus", "noise")
    alarms = json.loads(screen.everything())["alarms"]
    assert len(alarms) == ALARMS_SHOWN_MAX
    assert alarms[0]["key"] == "great"


async def test_differences_add_up_to_the_whole_whenever_a_page_joins(screen, views, watch):
    pages = []
    for number in range(24):
        if number % 5 == 0:
            stream = screen.stream()
            page = Page()
            page.take(await anext(stream))
            pages.append((page, stream))
        views.alarm(f"alarm/{number}", 1 + number % 3, watch.at_ns, "bus", "something")
        if number > 6:
            views.alarms.pop(f"alarm/{number - 6}")
        views.acknowledge(f"alarm/{number - 2}")
        seal_block(views, number)
        await tick(screen, watch)
        for page, stream in pages:
            page.take(await anext(stream))
    fresh = screen.stream()
    whole = Page()
    whole.take(await anext(fresh))
    for page, stream in pages:
        assert page.tables == whole.tables
        assert page.values == whole.values
        await stream.aclose()
    await fresh.aclose()


async def test_a_slow_page_skips_ticks_and_is_then_told_everything(screen, views, watch):
    stream = screen.stream()
    page = Page()
    page.take(await anext(stream))
    for number in range(3 * CONSOLE_QUEUE_MAX):
        seal_block(views, number)
        await tick(screen, watch)
    # It holds a few messages at most; the newest whole one makes good what was dropped.
    (queue,) = screen._clients
    assert queue.qsize() <= CONSOLE_QUEUE_MAX
    for _ in range(queue.qsize()):
        page.take(await anext(stream))
    assert set(page.tables["blocks"]) == set(screen._tables["blocks"])
    await stream.aclose()
    assert not screen._clients


async def test_twenty_homes_cost_a_page_less_than_five_kib_a_second(screen, views, watch):
    add_gateways(views, 20)
    stream = screen.stream()
    page = Page()
    page.take(await anext(stream))
    page.bytes, seconds = 0, 30
    for second in range(seconds):
        for row in views.gateways.values():
            row.seen_ns, row.seq, row.pv_w = watch.at_ns, row.seq + 1, row.pv_w + 17
        if second % 3 == 0:
            seal_block(views, second)
        await tick(screen, watch)
        page.take(await anext(stream))
        page.bytes += len(json.dumps(screen.fleet.window(Wanted(), 0, 40)))
    assert page.bytes / seconds < WIRE_BYTES_MAX
    await stream.aclose()


async def test_a_stream_says_nothing_of_single_gateways(screen, views, watch):
    stream = screen.stream()
    await anext(stream)
    add_gateways(views, 5_000)
    await tick(screen, watch)
    assert len(await anext(stream)) < 1_000
    await stream.aclose()


def test_a_window_is_bounded_and_stays_inside_the_fleet(views):
    add_gateways(views, 1_000)
    fleet = Fleet(views)
    fleet.advance(NOW_NS)
    assert len(fleet.window(Wanted(), 0, 10_000)["rows"]) == WINDOW_ROWS_MAX
    beyond = fleet.window(Wanted(), 10_000, 50)
    assert (beyond["first"], len(beyond["rows"])) == (999, 1)
    nobody = fleet.window(Wanted(text="nobody"), 5, 50)
    assert (nobody["matched"], nobody["first"], nobody["rows"]) == (0, 0, [])


def test_a_window_is_filtered_and_ordered(views):
    add_gateways(views, 30)
    for number, row in enumerate(views.gateways.values()):
        row.pv_w = -number
    fleet = Fleet(views)
    fleet.advance(NOW_NS)
    found = fleet.window(Wanted("HOUSE-0002", order="pv_w"), 0, 3)
    assert found["matched"] == 10
    assert [row[1] for row in found["rows"]] == ["house-00029", "house-00028", "house-00027"]


def test_a_gateway_is_silent_after_five_minutes(views):
    add_gateways(views, 3)
    fleet = Fleet(views)
    assert fleet.advance(NOW_NS + 5 * MINUTE_NS - 1)["silent"] == 0
    next(iter(views.gateways.values())).seen_ns += SLOT_NS
    counts = fleet.advance(NOW_NS + 5 * MINUTE_NS)
    assert (counts["online"], counts["silent"]) == (1, 2)
    assert fleet.window(Wanted(is_silent_only=True), 0, 50)["matched"] == 2


@pytest.mark.parametrize(
    "query",
    ["order=password", "count=0", "count=201", "first=-1", "text=" + "x" * 65, "silent=perhaps"],
)
async def test_a_senseless_question_is_refused(cloud, query):
    assert await asyncio.to_thread(_status, cloud, query) == 422


async def test_a_sensible_question_is_answered(cloud):
    assert await asyncio.to_thread(_status, cloud, "order=pv_w&descending=true&text=a%20b") == 200


def _status(cloud, query):
    url = f"http://127.0.0.1:{cloud.listening.http_port}/api/gateways?{query}"
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
