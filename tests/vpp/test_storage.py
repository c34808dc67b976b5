"""What a bid says of the batteries behind it, by hand; and no bid that they could not carry out."""

import pickle
import random
from dataclasses import replace

import pytest

from cloud.commands import (
    AdvanceDesk,
    BidAhead,
    CallReserve,
    CurveSegment,
    ForecastHomes,
    LimitDay,
    OfferReserve,
    OpenDesk,
    RecordAward,
    RecordReply,
    StateStorage,
    decode_command,
    encode_command,
)
from cloud.facts import (
    BidHeldBack,
    BidPrepared,
    DeskRefused,
    ReservePrepared,
    StorageStated,
    decode_fact,
    encode_fact,
)
from cloud.venues.caiso import CAISO
from cloud.venues.paper import PARTICIPANT, PaperExchange
from cloud.venues.pjm import PJM
from cloud.vpp.bids import OFFERED
from cloud.vpp.capability import HOUR_NS, Fleet, FleetStorage, heard
from cloud.vpp.risk import Swing, storage_objection
from cloud.vpp.storage import RAMP_WITHIN_NS
from protos.clock import MINUTE_NS, slot_at
from protos.messages import Refusal
from tests.vpp.fleet import MIDNIGHT, USD, battery, bids, desk_at, gate_ns

ON = StateStorage(is_on=True)
EVENING = 18
STARTS = MIDNIGHT + EVENING * HOUR_NS
AT = gate_ns(EVENING) - 10 * MINUTE_NS
EVE = STARTS - 30 * HOUR_NS
AHEAD_GATE = STARTS - 24 * HOUR_NS
KWH = 1_000
FULL = FleetStorage(168 * KWH, 28 * KWH, 280 * KWH, 320 * KWH)
"""Twenty homes of 14 kWh at 600 per mille, each of 8 kW either way."""


def stating_desk(at=AT, homes=20, soc=600):
    desk = desk_at(at, homes, soc)
    desk.apply(ON, at)
    return desk


def evening_bid(desk, at=AT):
    (found,) = [one for one in bids(desk, at) if one.starts_ns == STARTS]
    return found


def said(bid):
    return FleetStorage(bid.stored_wh, bid.soc_min_wh, bid.soc_max_wh, bid.ramp_w_per_min)


def curve(low_w, high_w):
    points = ((low_w, -150 * USD), (0, 30 * USD), (high_w, 90 * USD))
    return tuple(CurveSegment(*point) for point in points)


def ahead(desk, venue, starts_ns, low_w, high_w, at=EVE):
    gate = starts_ns - 24 * HOUR_NS
    (fact,) = desk.apply(BidAhead(venue, starts_ns, gate, curve(low_w, high_w)), at)
    return fact


# ---- what is said --------------------------------------------------------------------------


def test_it_is_told_once_and_can_be_taken_back():
    desk = desk_at(AT)
    assert desk.apply(ON, AT) == [StorageStated(True)]
    assert desk.apply(ON, AT) == []
    assert desk.apply(StateStorage(is_on=False), AT) == [StorageStated(False)]
    assert evening_bid(desk).ramp_w_per_min == 0


def test_a_bid_of_a_journal_that_never_said_it_is_the_bid_it_was():
    old, new = evening_bid(desk_at(AT)), evening_bid(stating_desk())
    assert said(old) == FleetStorage(0, 0, 0, 0)
    assert old.curve == new.curve, "these homes can do all that was offered"
    body = encode_fact(old)
    assert encode_fact(new).startswith(b"\x9d\x34")
    assert body.startswith(b"\x99\x34"), "nine values, as before there were more"
    assert decode_fact(body) == old
    assert decode_fact(encode_fact(new)) == new


def test_a_bid_says_its_batteries_as_they_were_signed():
    assert said(evening_bid(stating_desk())) == FULL


def test_the_owners_and_the_operators_bounds_are_kept():
    desk = stating_desk(homes=40)
    desk.apply(LimitDay(0, 0, 300, 800), AT)
    found = said(evening_bid(desk))
    assert (found.soc_min_wh, found.soc_max_wh) == (168 * KWH, 448 * KWH)


@pytest.mark.parametrize(
    ("soc", "bounds"),
    [(50, (700, 700, 11_200)), (900, (2_800, 12_600, 12_600)), (0, (0, 0, 11_200))],
)
def test_a_battery_outside_its_bounds_is_one_where_it_stands(soc, bounds):
    fleet = Fleet()
    fleet.soc_bounds = (200, 800)
    fleet.observe(heard(battery(1, soc), AT))
    found = fleet.storage(AT)
    assert (found.soc_min_wh, found.stored_wh, found.soc_max_wh) == bounds
    assert found.is_sound


def test_a_silent_battery_is_none():
    fleet = Fleet()
    fleet.observe(heard(battery(1), AT))
    assert fleet.storage(AT + 16 * MINUTE_NS) == FleetStorage(0, 0, 0, 0)
    assert not fleet.storage(AT + 16 * MINUTE_NS).is_sound


def test_the_ramp_is_a_leases_and_never_more_than_the_batterys_own_span():
    fleet = Fleet()
    fleet.observe(heard(battery(1, max_charge_w=3_000, max_discharge_w=5_000), AT))
    fleet.observe(heard(battery(2, max_charge_w=50_000, max_discharge_w=50_000), AT))
    assert fleet.storage(AT).ramp_w_per_min == 8_000 + 30_000


@pytest.mark.parametrize("seed", range(40))
def test_power_that_can_be_held_is_always_within_the_energy_that_is_said(seed):
    draw = random.Random(seed)
    fleet = Fleet()
    fleet.soc_bounds = tuple(sorted(draw.sample(range(1_001), 2)))
    for number in range(draw.randrange(1, 30)):
        changes = {name: draw.randrange(20_000) for name in ("max_charge_w", "max_discharge_w")}
        changes["capacity_wh"] = draw.randrange(30_000)
        fleet.observe(heard(battery(number, draw.randrange(1_001), **changes), AT))
    sold, bought = draw.randrange(200_000), draw.randrange(200_000)
    able = fleet.capability(AT, HOUR_NS, sold, bought)
    for taken in (-bought - 10_000, -bought, 0, sold, sold + 10_000):
        store = fleet.storage(AT).after(taken, sold, bought)
        assert 0 <= store.soc_min_wh <= store.stored_wh <= store.soc_max_wh
        assert able.discharge_w <= store.stored_wh - store.soc_min_wh
        assert able.charge_w <= store.soc_max_wh - store.stored_wh


# ---- what is expected at the hour's start --------------------------------------------------


def evening_said(award_w=None, *, accepted=True):
    """What is expected at 19:00 once 120 kW are offered for 18:00, perhaps awarded or rejected."""
    desk = stating_desk(EVE, homes=40)
    bid = ahead(desk, "caiso", STARTS, -50_000, 120_000)
    at = gate_ns(19) - 10 * MINUTE_NS
    desk.apply(RecordReply(bid.bid_id, accepted, "REF", ""), at)
    if award_w is not None:
        desk.apply(RecordAward(bid.bid_id, STARTS, 15 * MINUTE_NS, award_w, 120 * USD), at)
    for number in range(40):
        desk.apply(battery(number), at)
    (found,) = [one for one in bids(desk, at) if one.starts_ns == STARTS + HOUR_NS]
    return found.stored_wh


def test_what_is_offered_before_is_expected_to_go_out_at_the_price_that_is_expected():
    assert evening_said(accepted=False) == 336 * KWH
    assert evening_said() == (336 - 120) * KWH


@pytest.mark.parametrize("award_w", [40_000, 0, -40_000])
def test_an_award_counts_as_it_was_given_and_the_rest_of_its_bid_as_expected(award_w):
    assert evening_said(award_w) == 336 * KWH - award_w // 4 - 90 * KWH


def test_what_the_homes_take_is_expected_to_be_gone():
    desk = stating_desk()
    slot = slot_at(AT)
    desk.apply(ForecastHomes(slot, (1_000,) * 8, (250,) * 8), AT)
    assert said(evening_bid(desk)).stored_wh == 168 * KWH - 5 * 750


def test_the_expectation_stays_between_what_may_go_out_and_what_may_come_in():
    assert FULL.after(500 * KWH, 0, 0) == FULL
    assert FULL.after(50 * KWH, 60 * KWH, 0).stored_wh == 118 * KWH
    assert FULL.after(500 * KWH, 500 * KWH, 0).stored_wh == FULL.soc_min_wh
    assert FULL.after(-500 * KWH, 0, 500 * KWH).stored_wh == FULL.soc_max_wh
    assert FULL.after(-500 * KWH, 0, 30 * KWH).stored_wh == 198 * KWH


# ---- what is refused -----------------------------------------------------------------------

HOUR_SWING = Swing(0, 0, HOUR_NS, 0, RAMP_WITHIN_NS)


@pytest.mark.parametrize(
    ("store", "asked", "refusal"),
    [
        ({}, {"discharge_w": 140_000}, None),
        ({}, {"discharge_w": 140_001}, Refusal.NOT_STORED),
        ({}, {"charge_w": 112_000}, None),
        ({}, {"charge_w": 112_001}, Refusal.NOT_STORED),
        ({}, {"discharge_w": 280_000, "duration_ns": HOUR_NS // 2}, None),
        ({}, {"turn_w": 4_800_000}, None),
        ({}, {"turn_w": 4_800_001}, Refusal.TOO_STEEP),
        ({"ramp_w_per_min": 0}, {}, Refusal.NO_BATTERY),
        ({"stored_wh": 27_999}, {}, Refusal.NO_BATTERY),
        ({"stored_wh": 280_001}, {}, Refusal.NO_BATTERY),
        ({"soc_min_wh": -1}, {}, Refusal.NO_BATTERY),
    ],
)
def test_no_bid_asks_for_more_than_the_batteries_can_do(store, asked, refusal):
    assert storage_objection(replace(FULL, **store), replace(HOUR_SWING, **asked)) == refusal


def test_where_the_venue_minds_the_charge_an_offer_of_tomorrow_only_fits_the_batteries():
    assert isinstance(ahead(stating_desk(EVE), "caiso", STARTS, -252_000, 252_000), BidPrepared)
    for low, high in ((-252_001, 1), (-1, 252_001)):
        refused = ahead(stating_desk(EVE), "caiso", STARTS, low, high)
        assert refused == DeskRefused(f"ahead/caiso/{STARTS}", Refusal.NOT_STORED)


def test_where_the_seller_minds_it_an_offer_of_tomorrow_needs_what_was_bought_before():
    sold = ("pjm", STARTS + HOUR_NS, -1_000, 200_000)
    refused = ahead(stating_desk(EVE), *sold)
    assert refused.reason == Refusal.NOT_STORED
    desk = stating_desk(EVE)
    afternoon = STARTS - 3 * HOUR_NS
    assert isinstance(ahead(desk, "pjm", afternoon, -111_000, 1_000), BidPrepared)
    found = ahead(desk, *sold)
    assert isinstance(found, BidPrepared), "the afternoon is expected to be cheap enough to buy"
    assert found.stored_wh == 279 * KWH


def test_without_a_battery_that_is_heard_nothing_is_offered():
    for venue in ("caiso", "pjm"):
        refused = ahead(stating_desk(EVE, homes=0), venue, STARTS, -100_000, 100_000)
        assert refused.reason == Refusal.NO_BATTERY


def test_a_big_battery_is_offered_as_far_as_its_lease_lets_it_turn():
    sizes = {"capacity_wh": 2_000_000, "max_charge_w": 900_000, "max_discharge_w": 900_000}
    widths = []
    for told in ([], [ON]):
        desk = desk_at(AT, homes=0)
        for command in (battery(0, 500, **sizes), *told):
            desk.apply(command, AT)
        found = evening_bid(desk)
        widths.append((found.curve[0].power_w, found.curve[-1].power_w))
    assert widths == [(-500_000, 500_000), (-225_000, 225_000)]


def test_an_hour_beside_a_wide_one_is_narrower():
    sizes = {"capacity_wh": 2_000_000, "max_charge_w": 900_000, "max_discharge_w": 900_000}
    desk = desk_at(EVE, homes=0)
    for command in (battery(0, 500, **sizes), ON):
        desk.apply(command, EVE)
    assert isinstance(ahead(desk, "pjm", STARTS + HOUR_NS, -50_000, 400_000), BidPrepared)
    refused = ahead(desk, "caiso", STARTS, -50_001, 100_000)
    assert refused.reason == Refusal.TOO_STEEP
    desk.apply(battery(0, 500, **sizes), AT)
    found = evening_bid(desk)
    assert found.curve[0].power_w >= -50_000
    assert found.curve[-1].power_w == 225_000


def test_reserves_say_their_batteries_too_and_need_the_energy_of_their_call():
    desk = stating_desk()
    (found,) = desk.apply(OfferReserve("caiso", "SPIN", STARTS, 100_000, USD), AT)
    assert said(found) == FULL
    assert decode_fact(encode_fact(found)) == found
    sizes = {"capacity_wh": 2_000_000, "max_charge_w": 900_000, "max_discharge_w": 900_000}
    desk = desk_at(AT, homes=0)
    for command in (battery(0, 500, **sizes), ON):
        desk.apply(command, AT)
    (refused,) = desk.apply(OfferReserve("caiso", "REG_UP", STARTS, 301_000, USD), AT)
    assert refused.reason == Refusal.TOO_STEEP, "its lease turns 30 kW a minute, for ten minutes"
    (found,) = desk.apply(OfferReserve("caiso", "REG_UP", STARTS, 300_000, USD), AT)
    assert isinstance(found, ReservePrepared)


# ---- the day's deviation -------------------------------------------------------------------


def hour_after_an_award(power_w, delivered_w, *, told=True, limit_wh=10 * KWH):
    """What comes of 20:00, which is bid for while an award of 18:00 is followed by so much."""
    desk = desk_at(AT, homes=60, soc=700)
    desk.apply(OpenDesk(110_000, 10_000 * USD, 100_000), AT)
    if told:
        desk.apply(ON, AT)
    bid = evening_bid(desk)
    desk.apply(LimitDay(limit_wh, 0), AT)
    desk.apply(RecordReply(bid.bid_id, True, "REF", ""), AT)
    desk.apply(RecordAward(bid.bid_id, STARTS, HOUR_NS, power_w, 120 * USD), AT)
    found = []
    for minute in range(-2, 44):
        at = STARTS + minute * MINUTE_NS
        for number in range(60):
            desk.apply(battery(number, 700, 0 if minute < 0 else delivered_w), at)
        found += desk.apply(AdvanceDesk(), at)
    decided = [one for one in found if isinstance(one, BidPrepared | BidHeldBack)]
    return [one for one in decided if one.starts_ns == STARTS + 2 * HOUR_NS]


@pytest.mark.parametrize(
    ("power_w", "delivered_w"), [(60_000, 0), (60_000, -1_000), (-60_000, 0), (60_000, 2_000)]
)
def test_an_award_that_strays_stops_the_days_bids_before_it_is_metered(power_w, delivered_w):
    (held,) = hour_after_an_award(power_w, delivered_w)
    assert held == BidHeldBack("caiso", STARTS + 2 * HOUR_NS, Refusal.RISK_LIMIT)
    assert isinstance(hour_after_an_award(power_w, delivered_w, told=False)[0], BidPrepared)
    assert isinstance(hour_after_an_award(power_w, delivered_w, limit_wh=0)[0], BidPrepared)


def test_an_award_that_is_followed_stops_nothing():
    assert isinstance(hour_after_an_award(60_000, 1_000)[0], BidPrepared)


@pytest.mark.parametrize(("called_w", "refused"), [(100_000, True), (0, False)])
def test_a_call_of_a_reserve_that_strays_counts_too_and_its_capacity_does_not(called_w, refused):
    desk = stating_desk(homes=60)
    desk.apply(LimitDay(10 * KWH, 0), AT)
    (bid,) = desk.apply(OfferReserve("caiso", "SPIN", STARTS, 100_000, USD), AT)
    desk.apply(RecordReply(bid.bid_id, True, "REF", ""), AT)
    desk.apply(RecordAward(bid.bid_id, STARTS, HOUR_NS, 100_000, 5 * USD), AT)
    desk.apply(CallReserve(bid.bid_id, STARTS, 30 * MINUTE_NS, called_w), STARTS)
    at = STARTS + 10 * MINUTE_NS
    for number in range(60):
        desk.apply(battery(number), at)
    (found,) = desk.apply(OfferReserve("caiso", "SPIN", STARTS + 4 * HOUR_NS, 100_000, USD), at)
    assert isinstance(found, DeskRefused) == refused
    assert not refused or found.reason == Refusal.RISK_LIMIT


# ---- what comes back -----------------------------------------------------------------------


def test_a_restart_keeps_what_was_said():
    desk = stating_desk()
    bid = evening_bid(desk)
    again = pickle.loads(pickle.dumps(desk))
    assert again.state() == desk.state()
    assert [one.prepared for one in again.live_bids(AT)] == [bid]
    assert again.rules.states_storage
    assert decode_command(encode_command(ON)) == ON


CODECS = {"caiso": CAISO, "pjm": PJM}


@pytest.mark.parametrize("seed", range(30))
def test_no_venue_refuses_a_bid_of_the_desk_whatever_its_batteries_are(seed):
    """A day of ticks over a fleet that is drawn at random, against the venues' own rules."""
    draw = random.Random(seed)
    exchange, taken = PaperExchange(), 0
    start = MIDNIGHT + 4 * HOUR_NS
    desk = stating_desk(start, homes=0)
    homes = [
        (draw.randrange(1, 60) * 1_000, draw.randrange(60) * 500, draw.randrange(60) * 500)
        for _ in range(draw.randrange(1, 40))
    ]
    if seed % 3 == 0:
        low = draw.randrange(500)
        desk.apply(LimitDay(0, 0, low, draw.randrange(low + 1, 1_001)), start)
    for step in range(12 * 6):
        at = start + step * 10 * MINUTE_NS
        for number, (capacity, charge, discharge) in enumerate(homes):
            sizes = {"capacity_wh": capacity, "max_charge_w": charge, "max_discharge_w": discharge}
            desk.apply(battery(number, draw.randrange(1_001), **sizes), at)
        for fact in desk.apply(AdvanceDesk(), at):
            if not isinstance(fact, BidPrepared):
                continue
            taken += 1
            codec = CODECS[fact.venue]
            answer = exchange.submit(fact.venue, codec.encode_bid(fact, PARTICIPANT), at)
            reply = codec.decode_reply(fact.bid_id, answer)
            assert reply.accepted, reply.reason
            if draw.random() < 0.5:
                desk.apply(RecordReply(fact.bid_id, False, "", "drawn"), at)
    assert taken or len(homes) < 20
    assert len(OFFERED) == 2
