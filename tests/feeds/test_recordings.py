"""Recorded publications, where they lie beside the checkout: rows or a typed error, never silence.

GRIDTOKENX_MARKET_DATA names another folder of the same form, one folder a source; what a file of
it should be is not known here, so rows, counted absences and typed errors all pass, silence none.
"""

import json
import os
from datetime import date
from pathlib import Path

import pytest

from cloud.feeds import caiso, eia, ercot, nyiso, pjm
from cloud.feeds.intervals import HOUR_NS, PACIFIC, operating_hour, trade_day
from cloud.feeds.quality import coverage, identity
from cloud.feeds.rows import FeedError, Malformed, NoData, NotData, Page, RequestRefused, Throttled

BESIDE = Path(__file__).resolve().parents[2].parent / "shared" / "market-data"
FOLDER = Path(os.environ.get("GRIDTOKENX_MARKET_DATA", BESIDE))
PARSERS = {
    "caiso": caiso.parse,
    "eia": eia.parse,
    "ercot": ercot.parse,
    "nyiso": nyiso.parse,
    "pjm": pjm.parse,
}
ERRORS = {
    "ene_slrs.xml": Malformed,
    "error_1000_no_data_SLD_REN_FCST.xml": NoData,
    "throttle_429_body.html": Throttled,
    "errors_documented_shapes.json": RequestRefused,
    "messages_public_response.json": NotData,
    "error_404_bare_seriesid.json": RequestRefused,
}
FILES = sorted(
    path for path in FOLDER.glob("*/*") if path.is_file() and path.parent.name in PARSERS
)

pytestmark = pytest.mark.skipif(not FILES, reason="no recorded market data beside the checkout")


def parse(path: Path) -> list[Page | FeedError]:
    """What the source's parser makes of one file; an array of error bodies is one each."""
    body = path.read_bytes()
    parser = PARSERS[path.parent.name]
    bodies = [body]
    if path.name == "20170312_DailyRenewablesWatch.txt":
        parser = caiso.parse_renewables_watch
    if path.name == "errors_documented_shapes.json":
        bodies = [json.dumps(one).encode() for one in json.loads(body)]
    outcomes: list[Page | FeedError] = []
    for each in bodies:
        try:
            outcomes.append(parser(each))
        except FeedError as error:
            outcomes.append(error)
    return outcomes


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name[:40])
def test_a_recording_gives_rows_or_the_error_it_is(path):
    outcomes = parse(path)
    assert outcomes
    for outcome in outcomes:
        expected = ERRORS.get(path.name)
        if expected is not None:
            assert type(outcome) is expected
        elif isinstance(outcome, Page):
            assert outcome.rows or (FOLDER != BESIDE and outcome.absent)
            assert all(row.start_ns < row.end_ns for row in outcome.rows)
        else:
            assert FOLDER != BESIDE, outcome
            assert outcome.detail


def recorded(name: str) -> Path:
    found = [path for path in FILES if path.name == name]
    if not found and FOLDER != BESIDE:
        pytest.skip(f"{FOLDER} has no {name}")
    (path,) = found
    return path


def only(name: str) -> Page:
    (page,) = parse(recorded(name))
    assert isinstance(page, Page)
    return page


def test_the_recorded_price_day_is_complete_and_sums():
    rows = only("PRC_LMP_DAM_2C559_1_B1_20181230.csv").rows
    assert identity(rows) == []
    span = trade_day(date(2018, 12, 30), PACIFIC)
    assert coverage([row for row in rows if row.item == "LMP"], span, HOUR_NS).is_complete


def test_the_recorded_autumn_hour_is_hour_25():
    rows = only("SLD_FCST_ACTUAL_20251102_dst_excerpt.csv").rows
    repeated = operating_hour(date(2025, 11, 2), 25).start_ns
    loads = {row.value_micro for row in rows if row.start_ns == repeated}
    assert 20_536_000_000 in loads


def test_the_recorded_spring_day_misses_one_hour():
    page = only("20170312_DailyRenewablesWatch.txt")
    assert (len(page.rows), page.absent) == (23 * 7, 7)


def test_a_page_of_a_longer_feed_is_not_whole():
    assert not only("five_min_solar_power_forecast_2_rows.json").is_whole


def test_recorded_notices_are_read():
    path = recorded("messages_public_response.json")
    assert pjm.parse_notices(path.read_bytes())[0][0] == 5678
