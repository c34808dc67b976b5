"""The price store answers as of any moment, says what is missing, and refuses mixed parts."""

import json
from datetime import date
from hashlib import sha256

import pytest

from cloud.feeds import pjm
from cloud.feeds.intervals import EASTERN, Interval, trade_day
from cloud.feeds.rows import Malformed
from cloud.store.prices import AGE_MAX_NS, Known, PriceStore, Series, alerts
from cloud.venues.days import pjm_json
from protos.clock import MINUTE_NS

HOUR_NS = 60 * MINUTE_NS
DAY = date(2026, 7, 15)
SPAN = trade_day(DAY, EASTERN)
SERIES = Series("pjm", "RT", "51288")


@pytest.fixture
def store(tmp_path):
    made = PriceStore(tmp_path / "prices.db")
    yield made
    made.close()


def publication(change_cents=0, hours=24, energy_only=False):
    """A day of PJM prices; the first hour is moved by so many cents."""
    document = json.loads(pjm_json(DAY, "RT"))
    first = document["items"][0]
    for column in ("system_energy_price_rt", "total_lmp_rt"):
        if column == "total_lmp_rt" and energy_only:
            continue
        first[column] = round(first[column] + change_cents / 100, 5)
    document["items"] = document["items"][:hours]
    return json.dumps(document).encode()


def take(store, body, at_ns, span=SPAN):
    return store.take(SERIES, pjm.parse(body).rows, span, HOUR_NS, body, at_ns)


def test_a_whole_day_is_received_as_expected(store):
    receipt = take(store, publication(), SPAN.end_ns)
    assert (receipt.expected, receipt.received, receipt.corrected) == (24, 24, 0)
    assert receipt.is_complete
    assert store.missing(SERIES, SPAN, HOUR_NS) == []
    assert len(store.latest(SERIES, SPAN)) == 24


def test_the_same_publication_again_adds_nothing(store):
    take(store, publication(), SPAN.end_ns)
    again = take(store, publication(), SPAN.end_ns + HOUR_NS)
    assert (again.fresh, again.corrected) == (0, 0)
    assert {known.version for known in store.latest(SERIES, SPAN)} == {1}
    assert len(store.fetches("pjm")) == 2


def test_a_correction_is_a_version_and_the_past_stays_what_it_was(store):
    first, later = SPAN.end_ns, SPAN.end_ns + 10 * 24 * HOUR_NS
    take(store, publication(), first)
    assert take(store, publication(250), later).corrected >= 1
    before, after = store.as_of(SERIES, SPAN, later - 1), store.as_of(SERIES, SPAN, later)
    assert after[0].value_micro == before[0].value_micro + 2_500_000
    assert (before[0].version, after[0].version) == (1, 2)
    assert before[1:] == after[1:]
    assert store.as_of(SERIES, SPAN, first - 1) == []


def test_a_dropped_hour_is_missing_by_name(store):
    receipt = take(store, publication(hours=23), SPAN.end_ns)
    assert (receipt.expected, receipt.received) == (24, 23)
    assert not receipt.is_complete
    assert store.missing(SERIES, SPAN, HOUR_NS) == [SPAN.end_ns - HOUR_NS]


def test_rows_outside_what_was_asked_for_are_strangers(store):
    half = Interval(SPAN.start_ns, SPAN.start_ns + 12 * HOUR_NS)
    receipt = take(store, publication(), SPAN.end_ns, half)
    assert (receipt.received, receipt.strangers) == (12, 12)


def test_prices_that_are_not_the_sum_of_their_parts_are_not_stored_but_their_bytes_are(store):
    mixed = publication(300, energy_only=True)
    with pytest.raises(Malformed, match="not the sum"):
        take(store, mixed, SPAN.end_ns)
    assert store.latest(SERIES, SPAN) == []
    ((_, _, digest, expected, received),) = store.fetches("pjm")
    assert (expected, received) == (24, 0)
    assert digest == sha256(mixed).hexdigest()
    assert store.archived(digest) == mixed
    assert store.archived("00") is None


def test_age_is_that_of_the_interval_and_not_of_the_fetch(store):
    assert store.age_ns(SERIES, SPAN.end_ns) is None
    take(store, publication(), SPAN.end_ns + 700 * 24 * HOUR_NS)
    assert store.age_ns(SERIES, SPAN.end_ns + HOUR_NS) == HOUR_NS


def test_a_store_is_still_there_after_a_restart(tmp_path):
    first = PriceStore(tmp_path / "prices.db")
    take(first, publication(), SPAN.end_ns)
    kept = first.latest(SERIES, SPAN)
    first.close()
    second = PriceStore(tmp_path / "prices.db")
    assert second.latest(SERIES, SPAN) == kept
    second.close()


def known(*dollars):
    return [
        Known(number * HOUR_NS, (number + 1) * HOUR_NS, round(price * 1_000_000), 1, 0)
        for number, price in enumerate(dollars)
    ]


@pytest.mark.parametrize(
    ("prices", "age_ns", "keys"),
    [
        ((40, 41.9), 0, []),
        ((40, 42.1), 0, ["price"]),
        ((42.5, 40), 0, ["price"]),
        ((40, 80, 81), 0, []),
        ((0.2, 1.1), 0, []),
        ((-3, 3), 0, ["price"]),
        ((40,), AGE_MAX_NS, []),
        ((40,), AGE_MAX_NS + 1, ["stale"]),
        ((), None, ["stale"]),
    ],
)
def test_alarms_are_raised_for_a_change_of_more_than_five_per_cent_and_for_old_data(
    prices, age_ns, keys
):
    found = alerts(SERIES, known(*prices), age_ns)
    assert [alert.key.split("/")[0] for alert in found] == keys
