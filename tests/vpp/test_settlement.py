"""Shadow and statement agree to the cent through all corrections, and a wrong line is found."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.commands import RecordAward
from cloud.venues.statements import SettlementDesk, parse_statement
from cloud.venues.venue import BadAnswer
from cloud.vpp.settlement import (
    DayAccount,
    Position,
    Reason,
    SettlementPrices,
    differences,
    line_cents,
    owner_shares,
    shadow,
)
from protos.units import energy_wh
from tests.vpp.fleet import MIDNIGHT, USD, device

QUARTER = 15 * 60 * 1_000_000_000
DAY = "2026-07-15"


def settled_day(venue, draw, awards=24):
    """A venue's settlement desk with awards, meters and prices at random."""
    desk = SettlementDesk(venue, DAY)
    for number in range(awards):
        starts = MIDNIGHT + number * QUARTER
        award = RecordAward(
            f"bid-{number // 4}", starts, QUARTER, draw.randrange(-500_000, 500_001), 0
        )
        desk.awards[award.bid_id, starts] = award
        desk.meters_wh[award.bid_id, starts] = draw.randrange(-125_000, 125_001)
        desk.award_prices[starts] = draw.randrange(-150 * 10**5, 1_000 * 10**5) * 10
        desk.imbalance_prices[starts] = draw.randrange(-150 * 10**5, 1_000 * 10**5) * 10
    return desk


def expected(desk):
    """Our own lines, from our own records of the same day."""
    positions = [
        Position(
            award.bid_id,
            award.starts_ns,
            energy_wh(award.power_w, award.duration_ns),
            desk.meters_wh[key],
        )
        for key, award in desk.awards.items()
    ]
    return shadow(desk.venue, positions, SettlementPrices(desk.award_prices, desk.imbalance_prices))


def correct(desk, draw):
    """One late correction of a price or a meter."""
    key = draw.choice(sorted(desk.awards))
    kind = draw.randrange(3)
    if kind == 0:
        desk.award_prices[key[1]] += draw.randrange(-50, 51) * USD // 3
    elif kind == 1:
        desk.imbalance_prices[key[1]] += draw.randrange(-50, 51) * USD // 3
    else:
        desk.meters_wh[key] += draw.randrange(-9_000, 9_001)


@pytest.mark.parametrize("venue", ["caiso", "pjm"])
@pytest.mark.parametrize("seed", range(12))
def test_after_any_corrections_the_shadow_is_the_statement_to_the_cent(venue, seed):
    draw = random.Random(seed)
    desk, account = settled_day(venue, draw), DayAccount(venue, DAY)
    for _ in range(draw.randrange(2, 9)):
        statement = parse_statement(desk.publish())
        assert account.receive(statement, expected(desk)) == []
        assert statement.total_cents == sum(line.amount_cents for line in expected(desk))
        for _ in range(draw.randrange(5)):
            correct(desk, draw)
    assert account.newest.version == desk.version
    assert account.disputes == []


def test_a_correction_we_were_not_told_of_is_a_dispute_until_we_hear_of_it():
    draw = random.Random(3)
    desk, account = settled_day("caiso", draw), DayAccount("caiso", DAY)
    before = expected(desk)
    account.receive(parse_statement(desk.publish()), before)
    starts = MIDNIGHT + 5 * QUARTER
    desk.award_prices[starts] += USD
    (found,) = account.receive(parse_statement(desk.publish()), before)
    assert found.key == ("6460", "bid-1", starts)
    assert found.reason is Reason.PRICE
    assert [one.opened_version for one in account.open_disputes] == [2]
    assert account.receive(parse_statement(desk.publish()), expected(desk)) == []
    (closed,) = account.disputes
    assert (closed.opened_version, closed.closed_version) == (2, 3)
    assert [one.key for one in account.between(1, 2)] == [found.key]
    assert account.between(2, 3) == []


@pytest.mark.parametrize(
    ("field", "change", "reason"),
    [
        ("quantity_wh", 1, Reason.QUANTITY),
        ("price_micro_per_mwh", -1, Reason.PRICE),
        ("amount_cents", 1, Reason.AMOUNT),
    ],
)
def test_a_line_that_is_wrong_by_the_least_is_found(field, change, reason):
    lines = expected(settled_day("pjm", random.Random(1)))
    wrong = msgspec.structs.replace(lines[3], **{field: getattr(lines[3], field) + change})
    (found,) = differences(lines, (*lines[:3], wrong, *lines[4:]))
    assert (found.reason, found.key[2]) == (reason, lines[3].starts_ns)


def test_a_lost_a_strange_and_a_doubled_line_are_found():
    lines = expected(settled_day("pjm", random.Random(2)))
    (lost,) = differences(lines, lines[1:])
    assert (lost.reason, lost.cents) == (Reason.MISSING, -lines[0].amount_cents)
    strange = msgspec.structs.replace(lines[0], charge_code="9999")
    (found,) = differences(lines, (*lines, strange))
    assert found.reason is Reason.UNEXPECTED
    (doubled,) = differences(lines, (*lines, lines[0]))
    assert (doubled.reason, doubled.cents) == (Reason.UNEXPECTED, lines[0].amount_cents)


def test_versions_are_taken_once_in_any_order_and_never_changed():
    draw = random.Random(4)
    desk, account = settled_day("pjm", draw), DayAccount("pjm", DAY)
    first = parse_statement(desk.publish())
    correct(desk, draw)
    second, ours = parse_statement(desk.publish()), expected(desk)
    assert account.receive(second, ours) == []
    account.receive(first, ours)
    assert account.newest == second
    assert account.open_disputes == [], "an old version opens nothing"
    changed = msgspec.structs.replace(second, lines=second.lines[1:])
    with pytest.raises(ValueError, match="other contents"):
        account.receive(changed, ours)
    with pytest.raises(ValueError, match="2026-07-16"):
        account.receive(msgspec.structs.replace(second, day="2026-07-16"), ours)


def test_half_a_cent_is_rounded_away_from_zero_once_a_line():
    assert line_cents(1_000, 5 * USD) == 1
    assert line_cents(-1_000, 5 * USD) == -1
    assert line_cents(999, 5 * USD) == 0
    assert line_cents(1_000_000, 99_990_000) == 9_999


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"<Statement></Statement>", b"<S"])
def test_what_is_no_statement_is_a_bad_answer(body):
    with pytest.raises(BadAnswer):
        parse_statement(body)


def test_an_amount_of_half_cents_is_refused():
    body = settled_day("pjm", random.Random(5), awards=1).publish()
    start = body.index(b"<CurrentDollars>")
    broken = body[:start] + b"<CurrentDollars>1.005</CurrentDollars></Line></Statement>"
    with pytest.raises(BadAnswer, match="cents"):
        parse_statement(broken)


@settings(max_examples=200, deadline=None)
@given(
    amount=st.integers(-(10**12), 10**12),
    share=st.integers(0, 1_000),
    delivered=st.lists(st.integers(-10, 10**6), max_size=12),
)
def test_the_owners_parts_sum_to_their_whole_part(amount, share, delivered):
    by_device = {device(number): energy for number, energy in enumerate(delivered)}
    parts = owner_shares(amount, share, by_device)
    assert set(parts) == {one for one, energy in by_device.items() if energy > 0}
    if parts:
        whole = abs(amount) * share // 1_000
        assert sum(parts.values()) == (whole if amount >= 0 else -whole)
