"""The desk from prices and batteries to bids, awards, leases and their result."""

import msgspec
import pytest

from cloud.commands import (
    AdvanceDesk,
    ObservePrice,
    OpenDesk,
    RecordAward,
    RecordCancellation,
    RecordLease,
    RecordReply,
    RecordStatement,
    RecordSubmission,
    decode_command,
    encode_command,
)
from cloud.facts import (
    Awarded,
    AwardMetered,
    BidAnswered,
    BidCancelled,
    BidHeldBack,
    BidPrepared,
    BidSettled,
    BidSubmitted,
    DeskOpened,
    DeskRefused,
    LeaseIssued,
    PriceObserved,
)
from cloud.vpp.bids import BidState
from cloud.vpp.capability import HOUR_NS
from cloud.vpp.curve import is_well_formed
from cloud.vpp.desk import Desk
from protos.clock import MINUTE_NS
from protos.messages import LeaseState, Refusal
from tests.vpp.fleet import (
    DAY_NS,
    MIDNIGHT,
    OPEN,
    USD,
    battery,
    bids,
    desk_at,
    device,
    duck,
    gate_ns,
    leases,
    price,
)

QUARTER = 15 * MINUTE_NS
FAILURES = [LeaseState.REFUSED, LeaseState.FAILED, LeaseState.REVERTED, LeaseState.EXPIRED]
EVENING = 18
STARTS = MIDNIGHT + EVENING * HOUR_NS


def evening_desk(homes=20, soc=600):
    """A desk that has bid for 18:00, and the bid."""
    at = gate_ns(EVENING) - 10 * MINUTE_NS
    desk = desk_at(at, homes, soc)
    (bid,) = [one for one in bids(desk, at) if one.starts_ns == STARTS]
    return desk, bid


def awarded_desk(power_w=100_000, duration_ns=QUARTER, homes=20, soc=600):
    """A desk with one award from 18:00, whose batteries were just heard."""
    desk, bid = evening_desk(homes, soc)
    desk.apply(RecordReply(bid.bid_id, True, "REF", ""), STARTS - HOUR_NS)
    award = RecordAward(bid.bid_id, STARTS, duration_ns, power_w, 120 * USD)
    (fact,) = desk.apply(award, STARTS - 20 * MINUTE_NS)
    assert isinstance(fact, Awarded)
    for number in range(homes):
        desk.apply(battery(number, soc), STARTS - 5 * MINUTE_NS)
    return desk, award


def test_without_limits_there_is_no_bid():
    desk = Desk()
    for number in range(20):
        desk.apply(battery(number), gate_ns(EVENING))
    assert desk.apply(AdvanceDesk(), gate_ns(EVENING) - 10 * MINUTE_NS) == []


def test_contradictory_limits_are_refused_and_change_nothing():
    desk = Desk()
    assert desk.apply(OpenDesk(50, 1, 100), 0) == [DeskRefused("limits", Refusal.MALFORMED)]
    assert desk.apply(OPEN, 0) == [DeskOpened(500_000, 10_000 * USD, 100_000)]
    assert desk.apply(OPEN, 1) == []


def test_an_hour_is_bid_once_before_its_gate():
    desk, bid = evening_desk()
    assert bid.venue == "caiso"
    assert bid.gate_ns == STARTS - 75 * MINUTE_NS
    assert is_well_formed(bid.curve)
    assert bids(desk, bid.gate_ns - 5 * MINUTE_NS) == []


def test_no_bid_is_made_before_its_window_opens():
    at = gate_ns(EVENING) - 31 * MINUTE_NS
    desk = desk_at(at)
    assert STARTS not in {bid.starts_ns for bid in bids(desk, at)}


def test_even_hours_go_to_caiso_and_odd_ones_to_pjm():
    at = gate_ns(19) - 10 * MINUTE_NS
    desk = desk_at(at)
    (bid,) = [one for one in bids(desk, at) if one.starts_ns == STARTS + HOUR_NS]
    assert (bid.venue, bid.node, bid.market) == ("pjm", "51288", "RT")
    assert bid.gate_ns == bid.starts_ns - 65 * MINUTE_NS


def test_the_same_hour_always_has_the_same_bid_id():
    assert evening_desk()[1].bid_id == evening_desk(homes=25)[1].bid_id


def test_the_fleet_is_offered_up_to_the_power_limit_and_no_further():
    _, bid = evening_desk(homes=200)
    assert bid.curve[-1].power_w == 500_000
    assert bid.curve[0].power_w == -500_000


def test_a_fleet_below_the_minimum_is_held_back_once_at_the_last_call():
    at = gate_ns(EVENING) - 10 * MINUTE_NS
    desk = desk_at(at, homes=10)
    assert desk.apply(AdvanceDesk(), at) == []
    held = BidHeldBack("caiso", STARTS, Refusal.BELOW_MINIMUM)
    assert desk.apply(AdvanceDesk(), gate_ns(EVENING) - 2 * MINUTE_NS) == [held]
    assert desk.apply(AdvanceDesk(), gate_ns(EVENING) - MINUTE_NS) == []
    assert desk.apply(AdvanceDesk(), gate_ns(EVENING) + MINUTE_NS) == []


def test_homes_that_come_before_the_last_call_still_make_a_bid():
    at = gate_ns(EVENING) - 10 * MINUTE_NS
    desk = desk_at(at, homes=10)
    desk.apply(AdvanceDesk(), at)
    for number in range(10, 20):
        desk.apply(battery(number), at + MINUTE_NS)
    assert len(bids(desk, at + 2 * MINUTE_NS)) == 1


def test_an_hour_of_which_no_price_is_known_is_held_back():
    at = gate_ns(EVENING) - 2 * MINUTE_NS
    desk = Desk()
    desk.apply(OPEN, at - 30 * MINUTE_NS)
    for number in range(20):
        desk.apply(battery(number), at)
    assert desk.apply(AdvanceDesk(), at) == [BidHeldBack("caiso", STARTS, Refusal.NO_PRICE)]


def test_a_desk_that_slept_past_the_gate_says_so_and_does_not_bid():
    at = gate_ns(EVENING) - 30 * MINUTE_NS
    desk = desk_at(at)
    held = desk.apply(AdvanceDesk(), gate_ns(EVENING) - 30 * 1_000_000_000)
    assert BidHeldBack("caiso", STARTS, Refusal.GATE_CLOSED) in held


def test_gates_that_closed_before_the_desk_opened_are_not_its_business():
    desk = Desk()
    desk.apply(OPEN, gate_ns(EVENING) + MINUTE_NS)
    assert desk.apply(AdvanceDesk(), gate_ns(EVENING) + 2 * MINUTE_NS) == []


def test_the_day_is_closed_once_its_exposure_is_used_up():
    at = gate_ns(EVENING) - 2 * MINUTE_NS
    desk = desk_at(at)
    desk.apply(OpenDesk(500_000, 279 * USD, 100_000), at)
    assert desk.apply(AdvanceDesk(), at) == [BidHeldBack("caiso", STARTS, Refusal.RISK_LIMIT)]
    desk = desk_at(at)
    desk.apply(OpenDesk(500_000, 280 * USD, 100_000), at)
    assert len(bids(desk, at)) == 1


def test_energy_in_an_open_bid_is_not_bid_again_for_the_next_hour():
    desk, _ = evening_desk()
    at = gate_ns(19) - 2 * MINUTE_NS
    for number in range(20):
        desk.apply(battery(number), at)
    assert BidHeldBack("pjm", STARTS + HOUR_NS, Refusal.BELOW_MINIMUM) in desk.apply(
        AdvanceDesk(), at
    )


def test_energy_of_a_rejected_bid_is_free_again():
    desk, bid = evening_desk()
    desk.apply(RecordReply(bid.bid_id, False, "", "GATE_CLOSED"), bid.gate_ns)
    at = gate_ns(19) - 2 * MINUTE_NS
    for number in range(20):
        desk.apply(battery(number), at)
    assert [one.venue for one in bids(desk, at)] == ["pjm"]


def test_without_a_day_ahead_price_the_mean_of_seven_days_stands_in():
    at = gate_ns(EVENING) - 10 * MINUTE_NS
    desk = Desk()
    desk.apply(OPEN, at - 30 * MINUTE_NS)
    for number in range(20):
        desk.apply(battery(number), at)
    for day in range(1, 8):
        for hour in range(24):
            starts = MIDNIGHT + hour * HOUR_NS - day * DAY_NS
            observed = ("caiso", "TH_SP15_GEN-APND", "RTM", starts, HOUR_NS, duck(hour) * USD)
            desk.apply(ObservePrice(*observed), at - HOUR_NS)
    assert [bid.starts_ns for bid in bids(desk, at)] == [STARTS]


def test_a_price_is_a_fact_once_and_again_when_it_is_corrected():
    desk = Desk()
    assert len(desk.apply(price(MIDNIGHT, 50), 0)) == 1
    assert desk.apply(price(MIDNIGHT, 50), 1) == []
    (corrected,) = desk.apply(price(MIDNIGHT, 51), 2)
    assert isinstance(corrected, PriceObserved)


@pytest.mark.parametrize(
    ("starts_ns", "duration_ns", "micro", "refusal"),
    [
        (0, HOUR_NS, 10**12 + 1, Refusal.BAD_PRICE),
        (0, HOUR_NS, -(10**12) - 1, Refusal.BAD_PRICE),
        (0, 0, 1, Refusal.BAD_INTERVAL),
        (0, -HOUR_NS, 1, Refusal.BAD_INTERVAL),
        (-1, HOUR_NS, 1, Refusal.BAD_INTERVAL),
        (0, 25 * HOUR_NS, 1, Refusal.BAD_INTERVAL),
    ],
)
def test_an_impossible_price_is_refused(starts_ns, duration_ns, micro, refusal):
    (fact,) = Desk().apply(ObservePrice("caiso", "N", "DAM", starts_ns, duration_ns, micro), 0)
    assert fact == DeskRefused("price/caiso/N", refusal)


@pytest.mark.parametrize(
    "changes",
    [{"soc": 1_001}, {"soc": -1}, {"capacity_wh": -1}, {"max_charge_w": -1}],
)
def test_an_impossible_battery_is_refused(changes):
    (fact,) = Desk().apply(battery(1, **changes), 0)
    assert fact == DeskRefused(f"battery/{device(1)}", Refusal.MALFORMED)


# ---- what the venue says -------------------------------------------------------------------


def test_the_same_answer_twice_is_one_fact_and_another_one_is_refused():
    desk, bid = evening_desk()
    reply = RecordReply(bid.bid_id, True, "REF", "")
    assert desk.apply(reply, 1) == [BidAnswered(bid.bid_id, True, "REF", "")]
    assert desk.apply(reply, 2) == []
    other = RecordReply(bid.bid_id, False, "", "no")
    assert desk.apply(other, 3) == [DeskRefused(bid.bid_id, Refusal.CHANGED_REPLAY)]


def test_an_answer_or_award_for_no_bid_of_ours_is_refused():
    desk = Desk()
    refused = [DeskRefused("ff", Refusal.UNKNOWN_OFFER)]
    assert desk.apply(RecordReply("ff", True, "", ""), 0) == refused
    assert desk.apply(RecordAward("ff", 0, HOUR_NS, 1, 1), 0) == refused


def test_the_same_award_twice_is_one_award():
    desk, award = awarded_desk()
    assert desk.apply(award, STARTS) == []
    changed = msgspec.structs.replace(award, power_w=award.power_w + 1)
    assert desk.apply(changed, STARTS) == [
        DeskRefused(award.bid_id, Refusal.CHANGED_REPLAY),
    ]


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"power_w": 140_001}, Refusal.RISK_LIMIT),
        ({"power_w": -112_001}, Refusal.RISK_LIMIT),
        ({"starts_ns": STARTS - QUARTER}, Refusal.BAD_INTERVAL),
        ({"starts_ns": STARTS + 50 * MINUTE_NS}, Refusal.BAD_INTERVAL),
        ({"duration_ns": 0}, Refusal.BAD_INTERVAL),
        ({"price_micro_per_mwh": 10**13}, Refusal.BAD_PRICE),
    ],
)
def test_an_award_that_was_never_bid_is_refused(changes, refusal):
    desk, bid = evening_desk()
    fair = RecordAward(bid.bid_id, STARTS, QUARTER, 100_000, 120 * USD)
    award = msgspec.structs.replace(fair, **changes)
    assert desk.apply(award, STARTS - HOUR_NS) == [DeskRefused(bid.bid_id, refusal)]
    assert isinstance(desk.apply(fair, STARTS - HOUR_NS)[0], Awarded)


def test_awards_of_one_bid_do_not_overlap():
    desk, award = awarded_desk()
    inside = msgspec.structs.replace(award, starts_ns=STARTS + 5 * MINUTE_NS)
    assert desk.apply(inside, STARTS) == [DeskRefused(award.bid_id, Refusal.BAD_INTERVAL)]


def test_an_award_that_comes_after_its_end_is_refused():
    desk, bid = evening_desk()
    late = RecordAward(bid.bid_id, STARTS, QUARTER, 100_000, USD)
    assert desk.apply(late, STARTS + QUARTER) == [DeskRefused(bid.bid_id, Refusal.EXPIRED)]


def test_a_rejected_bid_is_never_dispatched():
    desk, bid = evening_desk()
    desk.apply(RecordReply(bid.bid_id, False, "", "no"), 1)
    award = RecordAward(bid.bid_id, STARTS, QUARTER, 100_000, USD)
    assert desk.apply(award, STARTS - MINUTE_NS) == [DeskRefused(bid.bid_id, Refusal.UNKNOWN_OFFER)]


# ---- dispatch ------------------------------------------------------------------------------


def test_an_award_becomes_leases_that_sum_to_it_and_end_with_the_slot():
    desk, award = awarded_desk()
    assert leases(desk, STARTS - 3 * MINUTE_NS) == []
    issued = leases(desk, STARTS - 2 * MINUTE_NS)
    assert sum(lease.power_w for lease in issued) == award.power_w
    assert len({lease.lease_id for lease in issued}) == 20
    assert {lease.not_before_ns for lease in issued} == {STARTS}
    assert {lease.expires_ns for lease in issued} == {STARTS + QUARTER}
    assert leases(desk, STARTS - MINUTE_NS) == []


def test_shares_follow_what_each_battery_can_hold():
    desk, _ = awarded_desk(power_w=90_000)
    desk.apply(battery(0, 600, max_discharge_w=4_000), STARTS - 4 * MINUTE_NS)
    shares = {lease.device: lease.power_w for lease in leases(desk, STARTS - 2 * MINUTE_NS)}
    assert shares[device(0)] * 2 in range(shares[device(1)] - 2, shares[device(1)] + 3)
    assert sum(shares.values()) == 90_000


def test_a_purchase_is_dispatched_as_charging():
    desk, _ = awarded_desk(power_w=-100_000)
    issued = leases(desk, STARTS - MINUTE_NS)
    assert sum(lease.power_w for lease in issued) == -100_000
    assert all(lease.power_w < 0 for lease in issued)


def test_an_hour_of_award_is_leased_one_slot_at_a_time():
    desk, _ = awarded_desk(power_w=40_000, duration_ns=HOUR_NS)
    for slot in range(4):
        begins = STARTS + slot * QUARTER
        for number in range(20):
            desk.apply(battery(number), begins - 3 * MINUTE_NS)
        issued = leases(desk, begins - MINUTE_NS)
        assert sum(lease.power_w for lease in issued) == 40_000
        assert {(lease.not_before_ns, lease.expires_ns) for lease in issued} == {
            (begins, begins + QUARTER)
        }
    assert leases(desk, STARTS + HOUR_NS - MINUTE_NS) == []


def test_a_fleet_that_shrank_gives_what_it_can():
    desk, _ = awarded_desk(power_w=100_000)
    for number in range(20):
        desk.apply(battery(number, 110), STARTS - 3 * MINUTE_NS)
    assert sum(lease.power_w for lease in leases(desk, STARTS - MINUTE_NS)) == 20 * 560


@pytest.mark.parametrize("state", FAILURES)
def test_the_share_of_a_gateway_that_fails_goes_to_the_others(state):
    desk, _ = awarded_desk(power_w=100_000)
    issued = leases(desk, STARTS - MINUTE_NS)
    failed = issued[0]
    desk.apply(RecordLease(failed.device, failed.lease_id, state, 0), STARTS)
    again = leases(desk, STARTS + MINUTE_NS)
    assert failed.device not in {lease.device for lease in again}
    before = {lease.device: lease.power_w for lease in issued}
    extra = sum(lease.power_w - before[lease.device] for lease in again)
    assert extra == failed.power_w
    assert {lease.expires_ns for lease in again} == {STARTS + QUARTER}
    assert not {lease.lease_id for lease in again} & {lease.lease_id for lease in issued}
    assert leases(desk, STARTS + 2 * MINUTE_NS) == []


def test_a_gateway_that_failed_is_left_out_of_the_next_slot_too():
    desk, _ = awarded_desk(power_w=40_000, duration_ns=HOUR_NS)
    failed = leases(desk, STARTS - MINUTE_NS)[0]
    desk.apply(RecordLease(failed.device, failed.lease_id, LeaseState.FAILED, 0), STARTS)
    for number in range(20):
        desk.apply(battery(number), STARTS + QUARTER - 2 * MINUTE_NS)
    following = leases(desk, STARTS + QUARTER - MINUTE_NS)
    assert sum(lease.power_w for lease in following) == 40_000
    assert failed.device not in {lease.device for lease in following}


@pytest.mark.parametrize("state", [LeaseState.ACCEPTED, LeaseState.ACTIVE])
def test_good_news_or_old_news_of_a_lease_changes_nothing(state):
    desk, _ = awarded_desk()
    lease = leases(desk, STARTS - MINUTE_NS)[0]
    desk.apply(RecordLease(lease.device, lease.lease_id, state, lease.power_w), STARTS)
    desk.apply(RecordLease(lease.device, "another", LeaseState.FAILED, 0), STARTS)
    assert leases(desk, STARTS + MINUTE_NS) == []


@pytest.mark.parametrize("early_s", [0, 30])
@pytest.mark.parametrize("state", [LeaseState.EXPIRED, LeaseState.REVERTED])
def test_a_lease_that_is_over_at_its_end_has_not_failed(state, early_s):
    desk, _ = awarded_desk()
    lease = leases(desk, STARTS - MINUTE_NS)[0]
    ends = STARTS + QUARTER - early_s * 1_000_000_000
    desk.apply(RecordLease(lease.device, lease.lease_id, state, 0), ends)
    assert leases(desk, ends) == []


# ---- metering ------------------------------------------------------------------------------


def run_slot(desk, power_of, minutes=15):
    """Reports from all homes once a minute through the slot; `power_of` by home and minute."""
    issued = leases(desk, STARTS - MINUTE_NS)
    for minute in range(minutes):
        for number, lease in enumerate(issued):
            watts = power_of(lease.power_w, number, minute)
            at = STARTS + minute * MINUTE_NS
            desk.apply(RecordLease(lease.device, lease.lease_id, LeaseState.ACTIVE, watts), at)


def result(desk):
    facts = desk.apply(AdvanceDesk(), STARTS + QUARTER + MINUTE_NS)
    (metered,) = [fact for fact in facts if isinstance(fact, AwardMetered)]
    return metered


def test_a_fleet_that_follows_its_leases_delivers_and_earns_the_award():
    desk, award = awarded_desk(power_w=100_000)
    run_slot(desk, lambda leased, *_: leased)
    assert result(desk) == AwardMetered(award.bid_id, 25_000, 25_000, 3 * USD, STARTS)


def test_what_was_not_delivered_is_not_earned():
    desk, _ = awarded_desk(power_w=100_000)
    run_slot(desk, lambda leased, number, _: leased if number % 2 else 0)
    metered = result(desk)
    assert (metered.delivered_wh, metered.revenue_micro) == (12_500, 1_500_000)


def test_a_purchase_costs_money():
    desk, _ = awarded_desk(power_w=-100_000)
    run_slot(desk, lambda leased, *_: leased)
    assert (result(desk).delivered_wh, result_money(desk)) == (-25_000, [])


def result_money(desk):
    """A second look finds no second result."""
    facts = desk.apply(AdvanceDesk(), STARTS + QUARTER + 2 * MINUTE_NS)
    return [fact.revenue_micro for fact in facts if isinstance(fact, AwardMetered)]


def test_silence_is_not_energy():
    desk, _ = awarded_desk(power_w=60_000)
    run_slot(desk, lambda leased, *_: leased, minutes=1)
    assert result(desk).delivered_wh == 5_000


def test_what_happens_before_and_after_the_interval_is_not_delivered():
    desk, _ = awarded_desk(power_w=100_000)
    lease = leases(desk, STARTS - MINUTE_NS)[0]
    report = RecordLease(lease.device, lease.lease_id, LeaseState.ACTIVE, 6_000)
    desk.apply(report, STARTS - 30 * 1_000_000_000)
    desk.apply(msgspec.structs.replace(report, measured_w=0), STARTS)
    desk.apply(report, STARTS + QUARTER)
    assert result(desk).delivered_wh == 0


def test_what_another_lease_measured_is_not_the_battery():
    desk, _ = awarded_desk(power_w=100_000)
    run_slot(desk, lambda *_: 0, minutes=2)
    for minute in range(2, 15):
        report = RecordLease(device(3), "curtailment", LeaseState.ACTIVE, 9_000)
        desk.apply(report, STARTS + minute * MINUTE_NS)
    assert result(desk).delivered_wh == 0


@pytest.mark.parametrize(("delivered", "limit_usd"), [(True, 280), (False, 330)])
def test_of_a_finished_sale_only_what_was_not_delivered_stays_exposed(delivered, limit_usd):
    desk, _ = awarded_desk(power_w=100_000)
    run_slot(desk, lambda leased, *_: leased if delivered else 0)
    result(desk)
    at = gate_ns(22) - 2 * MINUTE_NS
    for number in range(20):
        desk.apply(battery(number), at)
    low, high = (OpenDesk(500_000, usd * USD, 100_000) for usd in (limit_usd - 1, limit_usd))
    desk.apply(low, at)
    assert bids(desk, at - 10 * MINUTE_NS) == []
    desk.apply(high, at)
    assert [bid.venue for bid in bids(desk, at)] == ["caiso"]


def test_ordinary_telemetry_counts_as_well_as_lease_reports():
    desk, _ = awarded_desk(power_w=100_000)
    leases(desk, STARTS - MINUTE_NS)
    for minute in range(15):
        for number in range(20):
            desk.apply(battery(number, 600, power_w=5_000), STARTS + minute * MINUTE_NS)
    assert result(desk).delivered_wh == 25_000


# ---- the machine ---------------------------------------------------------------------------


def test_a_bids_state_follows_its_facts():
    desk, bid = evening_desk()

    def state():
        (one,) = [b for b in desk.live_bids(STARTS) if b.prepared.bid_id == bid.bid_id]
        return one.state

    def facts(command, at_ns):
        return desk.apply(command, at_ns)

    assert state() is BidState.VALIDATED
    assert facts(RecordSubmission(bid.bid_id), bid.gate_ns) == [BidSubmitted(bid.bid_id)]
    assert facts(RecordSubmission(bid.bid_id), bid.gate_ns) == []
    assert state() is BidState.SUBMITTED
    desk.apply(RecordReply(bid.bid_id, True, "REF", ""), bid.gate_ns)
    assert state() is BidState.ACCEPTED
    desk.apply(RecordAward(bid.bid_id, STARTS, QUARTER, 100_000, USD), STARTS - MINUTE_NS)
    assert state() is BidState.CLEARED
    for number in range(20):
        desk.apply(battery(number), STARTS - MINUTE_NS)
    desk.apply(AdvanceDesk(), STARTS - MINUTE_NS)
    assert state() is BidState.DISPATCHED
    assert facts(RecordStatement(bid.bid_id, 1, 5), STARTS) == [
        DeskRefused(bid.bid_id, Refusal.BAD_INTERVAL)
    ]
    desk.apply(AdvanceDesk(), STARTS + QUARTER + MINUTE_NS)
    assert state() is BidState.METERED
    (settled,) = facts(RecordStatement(bid.bid_id, 1, 5), STARTS + HOUR_NS)
    assert settled == BidSettled(bid.bid_id, 1, 5, 0)
    assert state() is BidState.SETTLED


def test_a_newer_statement_replaces_an_older_one_and_never_the_other_way():
    desk, bid = evening_desk()
    desk.apply(RecordAward(bid.bid_id, STARTS, QUARTER, 100_000, USD), STARTS - MINUTE_NS)
    desk.apply(AdvanceDesk(), STARTS + QUARTER + MINUTE_NS)
    later = STARTS + HOUR_NS
    assert desk.apply(RecordStatement(bid.bid_id, 2, 700), later) == [
        BidSettled(bid.bid_id, 2, 700, 0)
    ]
    assert desk.apply(RecordStatement(bid.bid_id, 2, 700), later) == []
    for version in (1, 2):
        assert desk.apply(RecordStatement(bid.bid_id, version, 5), later) == [
            DeskRefused(bid.bid_id, Refusal.CHANGED_REPLAY)
        ]
    assert desk.apply(RecordStatement(bid.bid_id, 3, 5), later) == [BidSettled(bid.bid_id, 3, 5, 0)]


def test_a_cancelled_bid_frees_its_hour_for_the_next_revision():
    desk, bid = evening_desk()
    at = bid.gate_ns - 5 * MINUTE_NS
    assert desk.apply(RecordCancellation(bid.bid_id, True), at) == [BidCancelled(bid.bid_id, True)]
    (again,) = [one for one in bids(desk, at) if one.starts_ns == STARTS]
    assert again.bid_id != bid.bid_id
    assert again.curve == bid.curve
    assert desk.apply(
        RecordAward(bid.bid_id, STARTS, QUARTER, 100_000, USD), STARTS - MINUTE_NS
    ) == [DeskRefused(bid.bid_id, Refusal.UNKNOWN_OFFER)]


def test_a_cancellation_without_rebidding_leaves_the_hour_empty():
    desk, bid = evening_desk()
    at = bid.gate_ns - 5 * MINUTE_NS
    desk.apply(RecordCancellation(bid.bid_id, False), at)
    assert [one for one in bids(desk, at) if one.starts_ns == STARTS] == []
    assert desk.apply(RecordCancellation(bid.bid_id, False), at) == [
        DeskRefused(bid.bid_id, Refusal.UNKNOWN_OFFER)
    ]


def test_nothing_is_cancelled_after_the_gate_or_an_award():
    desk, bid = evening_desk()
    late = DeskRefused(bid.bid_id, Refusal.GATE_CLOSED)
    assert desk.apply(RecordCancellation(bid.bid_id, False), bid.gate_ns + 1) == [late]
    desk.apply(RecordAward(bid.bid_id, STARTS, QUARTER, 100_000, USD), bid.gate_ns - 1)
    assert desk.apply(RecordCancellation(bid.bid_id, False), bid.gate_ns) == [late]


def journal():
    """The commands of an evening with an award and a failing gateway."""
    at = gate_ns(EVENING) - 10 * MINUTE_NS
    log = [(OPEN, at - HOUR_NS)]
    prices = [price(MIDNIGHT + hour * HOUR_NS, duck(hour % 24)) for hour in range(48)]
    log += [(observed, at - HOUR_NS) for observed in prices]
    log += [(battery(number), at) for number in range(20)]
    log.append((AdvanceDesk(), at))
    bid = evening_desk()[1].bid_id
    log.append((RecordReply(bid, True, "REF", ""), at + MINUTE_NS))
    log.append((RecordAward(bid, STARTS, QUARTER, 100_000, USD), STARTS - MINUTE_NS))
    log += [(battery(number), STARTS - MINUTE_NS) for number in range(20)]
    log += [(AdvanceDesk(), STARTS + minute * MINUTE_NS) for minute in range(-1, 17)]
    return log


def test_replaying_the_journal_gives_the_same_facts_and_state():
    first, second = Desk(), Desk()
    facts = [first.apply(command, at) for command, at in journal()]
    again = [second.apply(decode_command(encode_command(command)), at) for command, at in journal()]
    assert facts == again
    encoder = msgspec.msgpack.Encoder(order="deterministic")
    assert encoder.encode(first.state()) == encoder.encode(second.state())
    kinds = {type(fact) for step in facts for fact in step}
    assert {BidPrepared, LeaseIssued, AwardMetered} <= kinds


def test_what_is_days_old_is_forgotten():
    desk, _ = awarded_desk()
    desk.apply(AdvanceDesk(), STARTS + HOUR_NS)
    desk.apply(AdvanceDesk(), STARTS + 40 * DAY_NS)
    empty = Desk()
    empty.apply(OPEN, 0)
    grown, fresh = desk.state(), empty.state()
    assert [grown[index] for index in (3, 4, 5, 7, 8)] == [
        fresh[index] for index in (3, 4, 5, 7, 8)
    ]
