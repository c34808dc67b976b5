"""Reserve capacity: offered once, held back from energy, called, scored, paid and settled."""

import random

import msgspec
import pytest

from cloud.commands import (
    AdvanceDesk,
    CallReserve,
    HaltDesk,
    OfferReserve,
    RecordAward,
    RecordLease,
    RecordPerformance,
    RecordReply,
    RecordStatement,
    decode_command,
    encode_command,
)
from cloud.facts import (
    Awarded,
    BidSettled,
    DeskRefused,
    LeaseIssued,
    ReserveCalled,
    ReserveMetered,
    ReservePrepared,
    RevenueStated,
    decode_fact,
    encode_fact,
)
from cloud.vpp.bids import BidState
from cloud.vpp.capability import HOUR_NS
from cloud.vpp.cooptimum import JointPlan, ReservePrices, joint_plan
from cloud.vpp.optimum import Plant
from cloud.vpp.reserve_plan import reserve_offers
from protos.clock import MINUTE_NS
from protos.messages import LeaseState, Refusal
from tests.vpp.fleet import MIDNIGHT, USD, battery, bids, desk_at, gate_ns

HOUR = 20
STARTS = MIDNIGHT + HOUR * HOUR_NS
AT = gate_ns(HOUR) - 10 * MINUTE_NS
QUARTER_NS = 15 * MINUTE_NS


def offer(product="SPIN", capacity_w=100_000, **changes):
    fields = {
        "venue": "caiso",
        "product": product,
        "starts_ns": STARTS,
        "capacity_w": capacity_w,
        "price_micro_per_mw_h": 5 * USD,
    }
    return OfferReserve(**fields | changes)


def awarded(product="SPIN", venue="caiso"):
    """A desk whose reserve was taken and awarded for one quarter of an hour."""
    desk = desk_at(AT)
    (prepared,) = desk.apply(offer(product, venue=venue), AT)
    desk.apply(RecordReply(prepared.bid_id, True, "ref", ""), AT)
    (award,) = desk.apply(
        RecordAward(prepared.bid_id, STARTS, QUARTER_NS, 100_000, 8 * USD), AT + MINUTE_NS
    )
    for number in range(20):
        desk.apply(battery(number), STARTS)
    return desk, prepared, award


def finish(desk):
    facts = desk.apply(AdvanceDesk(), STARTS + QUARTER_NS + 2 * MINUTE_NS)
    (result,) = [one for one in facts if isinstance(one, ReserveMetered)]
    return result


def test_a_reserve_offer_is_a_bid_of_its_own_and_survives_the_journal():
    desk = desk_at(AT)
    (prepared,) = desk.apply(offer(), AT)
    assert isinstance(prepared, ReservePrepared)
    assert (prepared.product, prepared.call_s, prepared.market) == ("SPIN", 1_800, "RTM")
    assert [one.power_w for one in prepared.curve] == [0, 100_000]
    assert decode_fact(encode_fact(prepared)) == prepared
    assert decode_command(encode_command(offer())) == offer()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"venue": "mars"}, Refusal.UNKNOWN_OFFER),
        ({"product": "REG"}, Refusal.UNKNOWN_OFFER),
        ({"venue": "pjm", "product": "REG_UP"}, Refusal.UNKNOWN_OFFER),
        ({"starts_ns": STARTS + 1}, Refusal.BAD_INTERVAL),
        ({"starts_ns": STARTS + 240 * HOUR_NS}, Refusal.BAD_INTERVAL),
        ({"starts_ns": STARTS - 2 * HOUR_NS}, Refusal.GATE_CLOSED),
        ({"price_micro_per_mw_h": -1}, Refusal.BAD_PRICE),
        ({"price_micro_per_mw_h": 251 * USD}, Refusal.BAD_PRICE),
        ({"capacity_w": 0}, Refusal.MALFORMED),
        ({"capacity_w": 99_000}, Refusal.BELOW_MINIMUM),
        ({"capacity_w": 501_000}, Refusal.RISK_LIMIT),
        ({"capacity_w": 161_000}, Refusal.NO_RESERVE),
    ],
)
def test_a_wrong_reserve_offer_is_refused_with_its_reason(change, reason):
    (refused,) = desk_at(AT).apply(offer(**change), AT)
    assert refused.reason == reason


def test_the_kill_switch_holds_reserve_offers_too():
    desk = desk_at(AT)
    desk.apply(HaltDesk(True, "x"), AT)
    assert desk.apply(offer(), AT)[0].reason == Refusal.RISK_LIMIT


def test_the_same_power_is_never_sold_twice_whichever_comes_first():
    free = desk_at(AT, homes=40)
    (alone,) = [one for one in bids(free, AT) if one.starts_ns == STARTS]
    able_w = desk_at(AT, homes=40)._able(STARTS, AT).discharge_w
    for reserved_w in (100_000, 140_000):
        desk = desk_at(AT, homes=40)
        desk.apply(offer("REG_UP", reserved_w), AT)
        made = [one for one in bids(desk, AT) if one.starts_ns == STARTS]
        top_w = made[0].curve[-1].power_w if made else 0
        assert max(0, top_w) + reserved_w <= able_w
    rest_w = (able_w - max(0, alone.curve[-1].power_w)) // 1_000 * 1_000
    wanted_w = max(100_000, rest_w + 1_000)
    assert free.apply(offer("REG_UP", wanted_w), AT)[0].reason == Refusal.NO_RESERVE


def test_what_is_offered_alone_has_its_hour_for_itself():
    alone = offer("REG_UP", alone=True)
    assert decode_command(encode_command(alone)) == alone
    as_it_was = [191, "caiso", "REG_UP", STARTS, 100_000, 5 * USD]
    assert decode_command(msgspec.msgpack.encode(as_it_was)) == offer("REG_UP")
    desk = desk_at(AT, homes=40)
    assert [one for one in bids(desk_at(AT, homes=40), AT) if one.starts_ns == STARTS]
    (taken,) = desk.apply(alone, AT)
    assert isinstance(taken, ReservePrepared)
    assert [one for one in bids(desk, AT) if one.starts_ns == STARTS] == [], "no energy beside it"
    for beside in (offer("SPIN"), None):
        desk = desk_at(AT, homes=40)
        (first, *_) = bids(desk, AT) if beside is None else desk.apply(beside, AT)
        assert first.starts_ns == STARTS
        assert desk.apply(alone, AT)[0].reason == Refusal.NO_RESERVE
        desk.apply(RecordReply(first.bid_id, False, "", "no"), AT)
        assert isinstance(desk.apply(alone, AT)[0], ReservePrepared), "a rejected bid is no bid"


def test_random_offers_of_all_kinds_never_exceed_the_fleet():
    draw = random.Random(7)
    for _ in range(40):
        desk = desk_at(AT, homes=draw.randrange(20, 60), soc=draw.randrange(200, 900))
        whole = desk._able(STARTS, AT)
        up_w = down_w = 0
        for _ in range(6):
            product = draw.choice(("SPIN", "REG_UP", "REG_DOWN"))
            told = desk.apply(offer(product, draw.randrange(100, 300) * 1_000), AT)
            if isinstance(told[0], ReservePrepared):
                up_w += told[0].curve[-1].power_w * (product != "REG_DOWN")
                down_w += told[0].curve[-1].power_w * (product == "REG_DOWN")
        made = [one for one in bids(desk, AT) if one.starts_ns == STARTS]
        if made:
            up_w += max(0, made[0].curve[-1].power_w)
            down_w += max(0, -made[0].curve[0].power_w)
        assert up_w <= whole.discharge_w
        assert down_w <= whole.charge_w


def test_the_energy_of_a_call_is_kept_from_the_hours_after_it():
    plain = desk_at(AT)._able(STARTS + HOUR_NS, AT).stored_wh
    desk = desk_at(AT)
    desk.apply(offer("REG_UP", 120_000), AT)
    assert desk._able(STARTS + HOUR_NS, AT).stored_wh == plain - 120_000


def test_capacity_is_paid_though_nothing_was_called_and_shared_by_what_each_held():
    desk, prepared, award = awarded()
    assert isinstance(award, Awarded)
    assert desk.reserve_awards() == [award], "a restarted pump follows it again"
    assert not [one for one in desk.apply(AdvanceDesk(), STARTS) if isinstance(one, LeaseIssued)]
    result = finish(desk)
    assert (result.capacity_wh, result.called_wh, result.delivered_wh) == (25_000, 0, 0)
    assert result.revenue_micro == 200_000, "0.1 MW for a quarter at 8 a MW and hour"
    bid = next(one for one in desk.bids() if one.prepared.bid_id == prepared.bid_id)
    assert bid.state is BidState.METERED
    desk.apply(RecordStatement(prepared.bid_id, 1, 200_000), STARTS + HOUR_NS)
    assert bid.state is BidState.SETTLED


def test_a_call_becomes_leases_of_the_fleet_and_its_shortfall_is_known():
    desk, prepared, _ = awarded()
    call = CallReserve(prepared.bid_id, STARTS, 10 * MINUTE_NS, 60_000)
    (told,) = desk.apply(call, STARTS)
    assert told == ReserveCalled(prepared.bid_id, STARTS, 10 * MINUTE_NS, 60_000)
    leases = [one for one in desk.apply(AdvanceDesk(), STARTS) if isinstance(one, LeaseIssued)]
    assert sum(one.power_w for one in leases) == 60_000
    assert {one.expires_ns for one in leases} == {STARTS + 10 * MINUTE_NS}
    for minute in range(0, 11, 2):
        for lease in leases[1:]:
            at_ns = STARTS + minute * MINUTE_NS
            report = RecordLease(lease.device, lease.lease_id, LeaseState.ACTIVE, lease.power_w)
            desk.apply(report, at_ns)
    result = finish(desk)
    assert result.called_wh == 10_000
    assert 0 < result.delivered_wh < 10_000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bid_id": "another"}, Refusal.UNKNOWN_OFFER),
        ({"starts_ns": STARTS - 1}, Refusal.UNKNOWN_OFFER),
        ({"duration_ns": HOUR_NS}, Refusal.BAD_INTERVAL),
        ({"power_w": 101_000}, Refusal.RISK_LIMIT),
        ({"power_w": -1_000}, Refusal.RISK_LIMIT),
    ],
)
def test_more_than_was_awarded_is_never_called(change, reason):
    desk, prepared, _ = awarded()
    fields = {"bid_id": prepared.bid_id, "starts_ns": STARTS, "duration_ns": 10 * MINUTE_NS}
    (refused,) = desk.apply(CallReserve(**fields | {"power_w": 1_000} | change), STARTS)
    assert isinstance(refused, DeskRefused)
    assert refused.reason == reason


def test_regulation_is_paid_by_its_performance_and_nothing_without_one():
    def paid(*scores):
        desk, prepared, _ = awarded("REG_UP")
        for one in scores:
            assert desk.apply(RecordPerformance(prepared.bid_id, STARTS, *one), STARTS) == []
        return finish(desk)

    assert paid((900, 1_000, 800)).revenue_micro == 180_000
    assert paid((900, 1_000, 800)).performance_per_mille == 900
    assert paid().revenue_micro == 0
    desk, prepared, _ = awarded("SPIN")
    (refused,) = desk.apply(RecordPerformance(prepared.bid_id, STARTS, 1, 1, 1), STARTS)
    assert refused.reason == Refusal.MALFORMED


def test_a_reserve_payment_reaches_the_homes():
    desk, prepared, _ = awarded()
    for number in range(20):
        changed = battery(number)
        desk.apply(type(changed)(*(*_values(changed), f"acc-{number}")), STARTS)
    desk.apply(AdvanceDesk(), STARTS)
    finish(desk)
    told = desk.apply(RecordStatement(prepared.bid_id, 1, 200_000), STARTS + HOUR_NS)
    assert [type(one) for one in told] == [BidSettled, RevenueStated]
    assert {one.energy_wh for one in told[1].deliveries} == {1_250}


def _values(command):
    names = [one for one in command.__struct_fields__ if one != "account"]
    return [getattr(command, name) for name in names]


def test_a_joint_plan_becomes_offers_that_the_desk_takes():
    plant = Plant(160_000, 160_000, 160_000)
    high = ReservePrices([20 * USD] * 2, [0] * 2, [3 * USD] * 2)
    plan = joint_plan(plant, [30 * USD] * 2, high, 3_600, 150_000)
    offers = reserve_offers("caiso", plan, STARTS)
    assert offers
    assert all(one.capacity_w % 1_000 == 0 and one.capacity_w >= 100_000 for one in offers)
    desk = desk_at(AT, homes=40)
    taken = [desk.apply(one, AT)[0] for one in offers if one.starts_ns == STARTS]
    assert any(isinstance(one, ReservePrepared) for one in taken)


def test_pjm_is_offered_the_smaller_side_as_one_product():
    plan = JointPlan((0,), (130_500,), (110_900,), (99_000,), (0,), 0)
    (found,) = reserve_offers("pjm", plan, STARTS)
    assert (found.product, found.capacity_w) == ("REG", 110_000)
    assert found.price_micro_per_mw_h == 800_000, "a tenth of the wear of a MWh"
