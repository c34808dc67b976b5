"""Kill switch, limits of a day, reliability, and the homes' part of a statement."""

import pytest

from cloud.commands import (
    AdvanceDesk,
    BidAhead,
    CurveSegment,
    DeclareCurrencies,
    Delivery,
    ForecastHomes,
    HaltDesk,
    LimitDay,
    ObserveFleet,
    OpenAccount,
    PromiseFirm,
    RecordAward,
    RecordLease,
    RecordReply,
    RecordStatement,
    SetSharing,
    ShareRevenue,
    ShareRules,
)
from cloud.facts import (
    AllowanceChanged,
    BankRefused,
    BidHeldBack,
    BidPrepared,
    BidSettled,
    CurrenciesDeclared,
    DayLimited,
    DeskHalted,
    DeskRefused,
    FirmPromised,
    Posted,
    RevenueShared,
    RevenueStated,
)
from cloud.flows import follow
from cloud.ledger.bank import Bank
from cloud.ledger.columns import MONEY
from cloud.ledger.venue_share import venue_account
from cloud.vpp.capability import HOUR_NS
from protos.clock import MINUTE_NS
from protos.messages import LeaseState, Refusal
from tests.vpp.fleet import MIDNIGHT, USD, battery, bids, desk_at, device, gate_ns, leases

QUARTER = 15 * MINUTE_NS
STARTS = MIDNIGHT + 18 * HOUR_NS
AT = gate_ns(18) - 10 * MINUTE_NS


def at_home(number, soc=600, power_w=0):
    plain = battery(number, soc, power_w)
    return ObserveFleet(
        *(getattr(plain, one) for one in plain.__struct_fields__[:-1]), f"acc-{number}"
    )


def delivered_desk(homes=20):
    """A desk whose fleet delivered 100 kW for a quarter: every home 5 kW, but the first 2."""
    desk = desk_at(AT, homes)
    (bid,) = [one for one in bids(desk, AT) if one.starts_ns == STARTS]
    desk.apply(RecordReply(bid.bid_id, True, "R", ""), AT)
    desk.apply(
        RecordAward(bid.bid_id, STARTS, QUARTER, 100_000, 120 * USD), STARTS - 20 * MINUTE_NS
    )
    for number in range(homes):
        desk.apply(at_home(number), STARTS - 5 * MINUTE_NS)
    for lease in leases(desk, STARTS - MINUTE_NS):
        power = 2_000 if lease.device == device(0) else lease.power_w
        for at in range(STARTS, STARTS + QUARTER, MINUTE_NS):
            desk.apply(RecordLease(lease.device, lease.lease_id, LeaseState.ACTIVE, power), at)
    desk.apply(AdvanceDesk(), STARTS + QUARTER + MINUTE_NS)
    return desk, bid


def test_the_kill_switch_stops_bids_and_leases_and_lets_them_go_again():
    desk = desk_at(AT)
    assert desk.apply(HaltDesk(True, "drill"), AT) == [DeskHalted(True, "drill")]
    assert desk.apply(HaltDesk(True, "again"), AT) == []
    assert bids(desk, AT) == []
    last_call = gate_ns(18) - 2 * MINUTE_NS
    held = [one for one in desk.apply(AdvanceDesk(), last_call) if isinstance(one, BidHeldBack)]
    assert Refusal.RISK_LIMIT in {one.reason for one in held}
    desk.apply(HaltDesk(False, ""), last_call)
    for number in range(20):
        desk.apply(battery(number), gate_ns(19) - 12 * MINUTE_NS)
    assert bids(desk, gate_ns(19) - 10 * MINUTE_NS)


def test_under_the_kill_switch_an_award_gets_no_lease():
    desk = desk_at(AT)
    (bid,) = [one for one in bids(desk, AT) if one.starts_ns == STARTS]
    desk.apply(RecordAward(bid.bid_id, STARTS, QUARTER, 100_000, USD), STARTS - 20 * MINUTE_NS)
    for number in range(20):
        desk.apply(battery(number), STARTS - 5 * MINUTE_NS)
    desk.apply(HaltDesk(True, "fire"), STARTS - 2 * MINUTE_NS)
    assert leases(desk, STARTS - MINUTE_NS) == []
    desk.apply(HaltDesk(False, ""), STARTS)
    assert leases(desk, STARTS)


@pytest.mark.parametrize(
    ("limits", "stops"),
    [
        (LimitDay(1, 0), True),
        (LimitDay(10**9, 0), False),
        (LimitDay(0, 1), False),
        (LimitDay(0, 0), False),
    ],
)
def test_a_day_that_strayed_by_its_limit_bids_no_more(limits, stops):
    desk, _ = delivered_desk()
    desk.apply(limits, STARTS + HOUR_NS)
    later = gate_ns(23) - 10 * MINUTE_NS
    for number in range(20):
        desk.apply(at_home(number), later)
    assert (bids(desk, later) == []) is stops


def test_a_day_that_lost_its_limit_bids_no_more():
    desk = desk_at(AT)
    (bid,) = [one for one in bids(desk, AT) if one.starts_ns == STARTS]
    desk.apply(RecordAward(bid.bid_id, STARTS, QUARTER, 100_000, -900 * USD), STARTS - QUARTER)
    for number in range(20):
        desk.apply(at_home(number), STARTS - 5 * MINUTE_NS)
    for lease in leases(desk, STARTS - MINUTE_NS):
        for at in range(STARTS, STARTS + QUARTER, MINUTE_NS):
            desk.apply(RecordLease(lease.device, lease.lease_id, LeaseState.ACTIVE, 5_000), at)
    desk.apply(AdvanceDesk(), STARTS + QUARTER + MINUTE_NS)
    desk.apply(LimitDay(0, 20 * USD), STARTS + HOUR_NS)
    later = gate_ns(23) - 10 * MINUTE_NS
    for number in range(20):
        desk.apply(at_home(number), later)
    assert bids(desk, later) == []


def test_contradictory_day_limits_are_refused():
    desk = desk_at(AT)
    for wrong in (LimitDay(-1, 0), LimitDay(0, 0, 500, 500), LimitDay(0, 0, 0, 1_001)):
        assert desk.apply(wrong, AT) == [DeskRefused("day limits", Refusal.MALFORMED)]
    assert desk.apply(LimitDay(0, 0, 300, 700), AT) == [DayLimited(0, 0, 300, 700)]


def test_bounds_on_the_state_of_charge_bound_what_is_promised():
    desk = desk_at(AT)
    assert bids(desk, AT)
    desk = desk_at(AT)
    desk.apply(LimitDay(0, 0, 590, 610), AT)
    assert bids(desk, AT) == []


def test_power_that_failed_before_is_not_firm():
    desk = desk_at(AT)
    (bid,) = [one for one in bids(desk, AT) if one.starts_ns == STARTS]
    fleet = desk._fleet
    assert (
        fleet.capability(AT, HOUR_NS).firm_discharge_w == fleet.capability(AT, HOUR_NS).discharge_w
    )
    desk.apply(RecordAward(bid.bid_id, STARTS, QUARTER, 100_000, USD), STARTS - QUARTER)
    for number in range(20):
        desk.apply(battery(number), STARTS - 5 * MINUTE_NS)
    for lease in leases(desk, STARTS - MINUTE_NS):
        desk.apply(RecordLease(lease.device, lease.lease_id, LeaseState.FAILED, 0), STARTS)
    able = fleet.capability(STARTS, HOUR_NS)
    assert able.firm_discharge_w < able.discharge_w
    assert fleet.reliable_per_mille(device(0)) == 875


def test_the_desk_bids_with_firm_power_once_it_is_told_to():
    def widest(told):
        desk = desk_at(AT)
        if told:
            assert desk.apply(PromiseFirm(True), AT) == [FirmPromised(True)]
            assert desk.apply(PromiseFirm(True), AT) == []
        for number in range(20):
            desk._fleet.held(device(number), ok=False)
        (bid,) = [one for one in bids(desk, AT) if one.starts_ns == STARTS]
        return bid.curve[-1].power_w

    assert widest(told=True) < widest(told=False)


# ---- money ---------------------------------------------------------------------------------


def bank_with(homes=20):
    bank = Bank()
    for number in range(homes):
        bank.apply(OpenAccount(f"acc-{number}", "prosumer", "z"), 0)
    return bank


def test_a_statement_reaches_the_homes_by_what_each_delivered():
    desk, bid = delivered_desk()
    settled, stated = desk.apply(RecordStatement(bid.bid_id, 1, 3_000_000), STARTS + HOUR_NS)
    assert isinstance(settled, BidSettled)
    assert isinstance(stated, RevenueStated)
    by_home = {one.account: one.energy_wh for one in stated.deliveries}
    assert (by_home["acc-0"], by_home["acc-1"], len(by_home)) == (500, 1_250, 20)
    (command,) = follow([stated])
    bank = bank_with()
    facts = bank.apply(command, STARTS + HOUR_NS)
    (result,) = [one for one in facts if isinstance(one, RevenueShared)]
    assert (result.amount_micro, result.owners_micro, result.homes) == (3_000_000, 2_400_000, 20)
    paid = {n: bank.balances(f"acc-{n}").get(MONEY, 0) for n in range(20)}
    assert sum(paid.values()) == 2_400_000
    assert 2 * paid[0] * 5 // 4 in range(paid[1] - 2, paid[1] + 3)
    assert bank.balances(venue_account("caiso"))[MONEY] == 600_000
    assert bank.sums()[MONEY] == 0
    assert bank.apply(command, STARTS + HOUR_NS) == []


def share(version, amount, parts=((0, 1), (1, 1)), per_mille=800):
    deliveries = tuple(Delivery(f"acc-{n}", wh) for n, wh in parts)
    return ShareRevenue("pjm", "bid", version, amount, per_mille, deliveries)


def test_a_correction_that_takes_back_is_owed_and_paid_off_by_the_next_shares():
    bank = bank_with(2)
    bank.apply(share(1, 1_000), 0)
    bank.apply(share(2, 500), 0)
    assert bank.balances("acc-0")[MONEY] == 400
    (result,) = [f for f in bank.apply(share(3, 750), 0) if isinstance(f, RevenueShared)]
    assert (result.owed_micro, bank.balances("acc-0")[MONEY]) == (200, 400)
    bank.apply(share(4, 1_500), 0)
    assert [bank.balances(f"acc-{n}")[MONEY] for n in range(2)] == [600, 600]
    assert bank.balances(venue_account("pjm"))[MONEY] == 300


def test_any_sequence_of_corrections_ends_where_one_statement_would():
    import random

    draw = random.Random(3)
    for _ in range(40):
        bank, amount = bank_with(3), 0
        parts = tuple((n, draw.randrange(1, 5_000)) for n in range(3))
        for version in range(1, draw.randrange(2, 9)):
            amount = draw.randrange(-5_000, 50_000)
            bank.apply(share(version, amount, parts), 0)
        bank.apply(share(99, 100_000, parts), 0)
        once = bank_with(3)
        once.apply(share(1, 100_000, parts), 0)
        for name in (*(f"acc-{n}" for n in range(3)), venue_account("pjm")):
            assert bank.balances(name)[MONEY] == once.balances(name)[MONEY]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (share(0, 5), Refusal.TOO_OLD),
        (share(1, 6), Refusal.CHANGED_REPLAY),
        (share(1, 1_000, ((0, 2), (1, 1))), Refusal.CHANGED_REPLAY),
        (share(2, 5, ((0, 0),)), Refusal.BAD_ENERGY),
        (share(2, 5, per_mille=1_001), Refusal.MALFORMED),
        (share(2, 1 << 62), Refusal.BAD_PRICE),
    ],
)
def test_what_is_no_payment_changes_nothing(command, reason):
    bank = bank_with(2)
    bank.apply(share(1, 1_000), 0)
    before = bank.state()
    assert bank.apply(command, 0) == [BankRefused("bid", reason)]
    assert bank.state() == before


def test_unknown_homes_leave_their_part_to_the_others_and_a_loss_is_nobodys():
    bank = bank_with(1)
    facts = bank.apply(share(1, 1_000, ((0, 1), (7, 99))), 0)
    assert bank.balances("acc-0")[MONEY] == 800
    assert any(isinstance(one, AllowanceChanged) for one in facts)
    bank = bank_with(1)
    assert [type(f) for f in bank.apply(share(1, -1_000), 0)] == [Posted, RevenueShared]
    assert bank.balances(venue_account("pjm"))[MONEY] == -1_000


def test_the_rate_and_the_homes_part_can_be_set():
    desk, bid = delivered_desk()
    assert desk.apply(SetSharing(ShareRules(1_001, 1)), AT)[0].reason == Refusal.MALFORMED
    desk.apply(SetSharing(ShareRules(500, 33_500_000)), AT)
    _, stated = desk.apply(RecordStatement(bid.bid_id, 1, 100), STARTS + HOUR_NS)
    assert (stated.amount_micro, stated.owners_per_mille) == (3_350, 500)


def test_between_two_currencies_nothing_is_shared_before_a_rate_and_everything_after():
    desk, bid = delivered_desk()
    declared, refused = desk.apply(DeclareCurrencies("THB", "USD"), AT)
    assert declared == CurrenciesDeclared("THB", "USD", 0)
    assert refused == DeskRefused("sharing", Refusal.NO_RATE)
    for version in (1, 2):
        settled, waits = desk.apply(RecordStatement(bid.bid_id, version, 100 * version), AT)
        assert (settled.version, waits.reason) == (version, Refusal.NO_RATE)
    told = desk.apply(DeclareCurrencies("THB", "USD", 33_500_000), AT)
    assert (told[1].version, told[1].amount_micro) == (2, 6_700)
    assert desk.apply(DeclareCurrencies("THB", "USD", 33_500_000), AT) == []
    _, stated = desk.apply(RecordStatement(bid.bid_id, 3, 1_000), AT)
    assert stated.amount_micro == 33_500


def test_the_operators_rate_lets_go_what_waited_and_one_currency_needs_none():
    desk, bid = delivered_desk()
    desk.apply(DeclareCurrencies("THB", "USD"), AT)
    desk.apply(RecordStatement(bid.bid_id, 1, 100), AT)
    _, stated = desk.apply(SetSharing(ShareRules(800, 2_000_000)), AT)
    assert stated.amount_micro == 200
    desk, bid = delivered_desk()
    assert len(desk.apply(DeclareCurrencies("USD", "USD"), AT)) == 1
    _, stated = desk.apply(RecordStatement(bid.bid_id, 1, 100), AT)
    assert stated.amount_micro == 100


@pytest.mark.parametrize("wrong", [("", "USD", 1), ("THB", "", 1), ("THB", "USD", -1)])
def test_a_currency_without_a_name_and_a_rate_below_zero_are_refused(wrong):
    (refused,) = delivered_desk()[0].apply(DeclareCurrencies(*wrong), AT)
    assert refused.reason == Refusal.MALFORMED


def test_a_statement_that_comes_years_later_reaches_the_homes():
    def late(*commands):
        desk, bid = delivered_desk()
        for command in (*commands, RecordStatement(bid.bid_id, 1, 100)):
            desk.apply(command, AT)
        years = STARTS + 500 * 24 * HOUR_NS
        desk.apply(AdvanceDesk(), years)
        assert bid.bid_id not in {one.prepared.bid_id for one in desk.bids()}
        return desk.apply(RecordStatement(bid.bid_id, 7, 250), years)

    settled, stated = late(DeclareCurrencies("USD", "USD"))
    assert (settled.version, stated.amount_micro, len(stated.deliveries)) == (7, 250, 20)
    (refused,) = late()
    assert refused.reason == Refusal.UNKNOWN_OFFER, "an older journal comes out as it did"


# ---- day ahead, and the homes' own use -----------------------------------------------------

CURVE = (
    CurveSegment(-150_000, -150 * USD),
    CurveSegment(0, 20 * USD),
    CurveSegment(150_000, 90 * USD),
)
EVE = STARTS - 30 * HOUR_NS
AHEAD_GATE = STARTS - 24 * HOUR_NS


def test_the_desk_bids_day_ahead_only_when_told_and_then_not_again_for_the_hour():
    desk = desk_at(EVE)
    (bid,) = desk.apply(BidAhead("caiso", STARTS, AHEAD_GATE, CURVE), EVE)
    assert isinstance(bid, BidPrepared)
    assert (bid.market, bid.gate_ns, bid.starts_ns) == ("DAM", AHEAD_GATE, STARTS)
    assert [one.price_micro_per_mwh for one in bid.curve] == [-150 * USD, 20 * USD, 90 * USD]
    for number in range(20):
        desk.apply(battery(number), AT)
    assert STARTS not in {one.starts_ns for one in bids(desk, AT)}
    (again,) = desk.apply(BidAhead("caiso", STARTS, AHEAD_GATE, CURVE), EVE)
    assert again.reason == Refusal.DUPLICATE_NUMBER


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"venue": "mars"}, Refusal.UNKNOWN_OFFER),
        ({"starts_ns": STARTS + 1}, Refusal.BAD_INTERVAL),
        ({"gate_ns": STARTS}, Refusal.BAD_INTERVAL),
        ({"starts_ns": STARTS + 240 * HOUR_NS}, Refusal.BAD_INTERVAL),
        ({"gate_ns": EVE}, Refusal.GATE_CLOSED),
        ({"curve": ()}, Refusal.MALFORMED),
        ({"curve": CURVE[::-1]}, Refusal.MALFORMED),
        ({"curve": (*CURVE[:2], CurveSegment(501_000, 90 * USD))}, Refusal.RISK_LIMIT),
        ({"curve": (CurveSegment(0, 0), CurveSegment(1_000, 90 * USD))}, Refusal.BELOW_MINIMUM),
    ],
)
def test_a_wrong_day_ahead_offer_is_refused_with_its_reason(change, reason):
    desk = desk_at(EVE)
    fields = {"venue": "caiso", "starts_ns": STARTS, "gate_ns": AHEAD_GATE, "curve": CURVE}
    (refused,) = desk.apply(BidAhead(**fields | change), EVE)
    assert refused.reason == reason


def test_the_kill_switch_holds_day_ahead_offers_too():
    desk = desk_at(EVE)
    desk.apply(HaltDesk(True, "x"), EVE)
    (refused,) = desk.apply(BidAhead("caiso", STARTS, AHEAD_GATE, CURVE), EVE)
    assert refused.reason == Refusal.RISK_LIMIT


def test_what_the_homes_will_draw_is_not_promised():
    def widest(forecast):
        desk = desk_at(AT)
        if forecast is not None:
            desk.apply(forecast, AT)
        found = [one for one in bids(desk, AT) if one.starts_ns == STARTS]
        return found[0].curve[-1].power_w if found else 0

    slot = AT // QUARTER
    plain = widest(None)
    drawn = widest(ForecastHomes(slot, (10_000,) * 8, (0,) * 8))
    assert 0 < drawn < plain
    assert widest(ForecastHomes(slot + 200, (10_000,) * 8, (0,) * 8)) == plain
    assert widest(ForecastHomes(slot, (10**9,) * 8, (0,) * 8)) <= 0


@pytest.mark.parametrize(
    "wrong", [((1,), ()), ((-1,), (0,)), ((1 << 41,), (0,)), ((0,) * 193, (0,) * 193)]
)
def test_a_forecast_that_cannot_be_is_refused(wrong):
    (refused,) = desk_at(AT).apply(ForecastHomes(0, *wrong), AT)
    assert refused.reason == Refusal.BAD_ENERGY
