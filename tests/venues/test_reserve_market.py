"""Reserves at the venue: offered, checked, awarded, followed every four seconds, and settled."""

import asyncio
import dataclasses
import random
from datetime import date

import msgspec
import pytest

from cloud.commands import CallReserve, CurveSegment, RecordAward, RecordPerformance
from cloud.facts import Awarded, ReservePrepared, Telemetry
from cloud.feeds.intervals import EASTERN, PACIFIC, trade_date
from cloud.feeds.prices import observations
from cloud.regulation_pump import RegulationPump
from cloud.venues.caiso import CAISO
from cloud.venues.days import publication
from cloud.venues.paper import PARTICIPANT, RULES, PaperExchange, Rejected, check_offer
from cloud.venues.performance import SAMPLE_NS
from cloud.venues.pjm import PJM
from cloud.venues.regulation import Report, decode_report, encode_report, signal_w
from cloud.venues.shell import PaperVenue
from cloud.venues.sim import VenueSim
from cloud.venues.statements import SettlementDesk, parse_statement
from cloud.venues.venue import BadAnswer, BadBid, Storage
from cloud.vpp.settlement import DayAccount, Position, SettlementPrices, shadow
from protos.clock import MINUTE_NS, SECOND_NS
from protos.units import energy_wh
from tests.venues.bidding import HOUR_NS, NOON, SILENT, USD, HandClock, bid
from tests.venues.cutting import online, served
from tests.vpp.fleet import device

KINDS = [
    ("caiso", "SPIN"),
    ("caiso", "REG_UP"),
    ("caiso", "REG_DOWN"),
    ("pjm", "SPIN"),
    ("pjm", "REG"),
]
CODECS = {"caiso": CAISO, "pjm": PJM}
BY_NAME = {rules.codec.venue: rules for rules in RULES}
STORAGE = Storage(50_000, 20_000, 380_000, 200_000)


def reserve(venue="pjm", product="REG", capacity_w=200_000, usd=0, **changes):
    values = msgspec.structs.asdict(bid(venue, **changes))
    values["bid_id"] = f"{product}-of-{venue}"
    values["curve"] = (CurveSegment(0, -150 * USD), CurveSegment(capacity_w, usd * USD))
    return ReservePrepared(**values, reserve=product, call_s=3_600)


def taken(venue, product, **changes):
    exchange = PaperExchange()
    sent = reserve(venue, product, **changes)
    answer = exchange.submit(venue, CODECS[venue].encode_bid(sent, PARTICIPANT), sent.gate_ns)
    return exchange, sent, CODECS[venue].decode_reply(sent.bid_id, answer)


@pytest.mark.parametrize(("venue", "product"), KINDS)
def test_a_reserve_offer_survives_the_wire(venue, product):
    sent = reserve(venue, product)
    offer = CODECS[venue].decode_bid(CODECS[venue].encode_bid(sent, PARTICIPANT))
    assert (offer.product, offer.storage, offer.curve) == (product, STORAGE, sent.curve)
    assert (offer.bid_id, offer.starts_ns) == (sent.bid_id, sent.starts_ns)


@pytest.mark.parametrize(("venue", "product"), KINDS)
def test_an_accepted_reserve_is_awarded_its_capacity_at_the_reserves_own_price(venue, product):
    exchange, sent, reply = taken(venue, product)
    assert reply.accepted
    exchange.submit(venue, CODECS[venue].encode_bid(bid(venue), PARTICIPANT), sent.gate_ns)
    assert len(exchange.held(venue)) == 2, "energy and reserve of one hour stand beside each other"
    awards = CODECS[venue].decode_awards(exchange.results(venue, NOON + HOUR_NS))
    assert {one.power_w for one in awards} == {200_000}
    assert all(0 < one.price_micro_per_mwh <= 24 * USD for one in awards)
    assert sum(one.duration_ns for one in awards) == HOUR_NS


def test_a_reserve_dearer_than_its_price_is_not_awarded():
    exchange, _, reply = taken("pjm", "REG", usd=99)
    assert reply.accepted
    assert PJM.decode_awards(exchange.results("pjm", NOON + HOUR_NS)) == []


@pytest.mark.parametrize(
    ("venue", "product", "changes", "code"),
    [
        ("pjm", "REG", {"usd": 101}, "PRICE_CAP"),
        ("caiso", "SPIN", {"usd": 251}, "PRICE_CAP"),
        ("caiso", "SPIN", {"usd": -1}, "PRICE_CAP"),
        ("caiso", "REG_UP", {"capacity_w": 99_000}, "MINIMUM_SIZE"),
    ],
)
def test_a_reserve_offer_against_the_rules_is_rejected(venue, product, changes, code):
    _, _, reply = taken(venue, product, **changes)
    assert not reply.accepted
    assert reply.reason.startswith(code)


@pytest.mark.parametrize("venue", ["caiso", "pjm"])
@pytest.mark.parametrize(
    ("changes", "registered", "code"),
    [
        (SILENT, None, "STORAGE"),
        (SILENT, STORAGE, "STORAGE"),
        ({"ramp_w_per_min": -1}, None, "RAMP"),
        ({"ramp_w_per_min": 1_000}, None, "RAMP"),
        ({"ramp_w_per_min": 50_001}, STORAGE, "RAMP"),
        ({"soc_min_wh": 19_999}, STORAGE, "SOC_BOUNDS"),
        ({"soc_max_wh": 380_001}, STORAGE, "SOC_BOUNDS"),
        ({"soc_min_wh": 200_001}, None, "SOC_BOUNDS"),
        ({"soc_max_wh": 199_999}, None, "SOC_BOUNDS"),
        ({"soc_min_wh": -1}, None, "SOC_BOUNDS"),
        ({}, STORAGE, ""),
        ({}, None, ""),
    ],
)
def test_ramp_and_state_of_charge_must_be_possible_and_registered(venue, changes, registered, code):
    rules = dataclasses.replace(BY_NAME[venue], registered=registered)
    sent = bid(venue, **changes)
    offer = CODECS[venue].decode_bid(CODECS[venue].encode_bid(sent, PARTICIPANT))
    try:
        check_offer(rules, offer, sent.gate_ns)
        found = ""
    except Rejected as error:
        found = error.code
    assert found == code


# ---- four seconds --------------------------------------------------------------------------


def test_a_signal_stays_inside_its_capacity_and_is_the_same_for_everybody():
    for product, low, high in (("REG", -200, 200), ("REG_UP", 0, 200), ("REG_DOWN", -200, 0)):
        told = [signal_w("b", product, 200, NOON + n * SAMPLE_NS) for n in range(2_000)]
        assert low <= min(told) < max(told) <= high
        assert told == [signal_w("b", product, 200, NOON + n * SAMPLE_NS) for n in range(2_000)]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"bid_id":1,"at_ns":1,"power_w":1}'])
def test_what_is_no_telemetry_is_refused_in_band(body):
    with pytest.raises(BadBid):
        decode_report(body)
    assert VenueSim().telemetry("pjm", body).status == 400
    assert VenueSim().telemetry("mars", body).status == 404


def test_telemetry_for_a_bid_that_sold_no_regulation_is_refused():
    exchange, sent, _ = taken("pjm", "SPIN")
    venue = PaperVenue(exchange, "pjm", HandClock(NOON))
    with pytest.raises(BadAnswer):
        asyncio.run(venue.regulate(Report(sent.bid_id, NOON, 0, 1_000)))


def followed(response, venue="pjm", product="REG", minutes=60):
    """A fleet of one battery that does `response(told, before)` for an award; what was sent."""

    async def run():
        exchange, sent, _ = taken(venue, product)
        clock, commands = HandClock(NOON), []

        async def send(command):
            commands.append(command)

        pump = RegulationPump({venue: PaperVenue(exchange, venue, clock)}, clock, send)
        duration = minutes * MINUTE_NS
        award = Awarded(sent.bid_id, venue, NOON, duration, 200_000, 5 * USD)
        pump.listen([sent, award], NOON)
        power_w = 7_000
        for at_ns in range(NOON, NOON + duration + SAMPLE_NS, SAMPLE_NS):
            pump.listen([telemetry(at_ns, power_w)], at_ns)
            await pump.tick(at_ns)
            told = signal_w(sent.bid_id, product, 200_000, at_ns + SAMPLE_NS)
            power_w = 7_000 + response(told)
        offer = exchange.offer(venue, sent.bid_id)
        theirs = exchange.regulation[venue].performance(
            RecordAward(sent.bid_id, NOON, duration, 200_000, 5 * USD), offer
        )
        return commands, theirs

    return asyncio.run(run())


def telemetry(at_ns, power_w):
    fields = dict.fromkeys(Telemetry.__struct_fields__, 0)
    fields |= {"zone": "z", "device": device(1), "account": "a", "at_ns": at_ns}
    return Telemetry(**fields | {"battery_w": power_w})


@pytest.mark.parametrize(("part", "least", "most"), [(1, 990, 1_000), (0, 0, 350), (-1, 0, 400)])
def test_the_score_of_both_sides_is_the_same_and_tells_who_follows(part, least, most):
    commands, theirs = followed(lambda told: told * part)
    (score,) = [one for one in commands if isinstance(one, RecordPerformance)]
    assert (score.accuracy + score.delay + score.precision) // 3 == theirs
    assert least <= theirs <= most
    calls = [one for one in commands if isinstance(one, CallReserve)]
    assert len(calls) == 60
    assert all(abs(one.power_w) <= 200_000 for one in calls)


def test_telemetry_travels_to_the_simulator_over_http(tmp_path):
    clock = HandClock(bid("pjm").gate_ns - 600 * SECOND_NS)
    sim = VenueSim()
    sent = reserve("pjm", "REG")

    async def run(url):
        way = online("pjm", url, tmp_path, clock)
        assert (await way.submit(sent)).accepted
        return await way.regulate(Report(sent.bid_id, NOON, 5, 1_000))

    with served(sim, clock) as url:
        told = asyncio.run(run(url))
    assert told == signal_w(sent.bid_id, "REG", 200_000, NOON)
    assert decode_report(encode_report(Report("b", 1, -2, 3))) == Report("b", 1, -2, 3)


# ---- money ---------------------------------------------------------------------------------


def random_day(venue, draw):
    """A day of real-time and day-ahead energy and of reserves, at random; and our own positions."""
    desk = SettlementDesk(venue, "2026-07-15")
    products = [one for name, one in KINDS if name == venue]
    for number in range(40):
        starts = NOON + number // 4 * 15 * MINUTE_NS
        kind = number % 4
        name = f"bid-{kind}"
        low = -500_000 if kind < 2 else 100_000
        price = draw.randrange(0 if kind > 1 else -150 * 10**5, 900 * 10**5) * 10
        award = RecordAward(name, starts, 15 * MINUTE_NS, draw.randrange(low, 500_001), price)
        desk.awards[name, starts] = award
        # Every fifth award of a reserve was not called.
        is_called = kind < 2 or number % 5
        desk.meters_wh[name, starts] = draw.randrange(-125_000, 125_001) if is_called else 0
        desk.award_prices[starts] = draw.randrange(-150 * 10**5, 900 * 10**5) * 10
        desk.imbalance_prices[starts] = draw.randrange(-150 * 10**5, 900 * 10**5) * 10
        desk.performance[name, starts] = draw.randrange(0, 1_001)
    desk.ahead = {"bid-1"}
    desk.reserves = {"bid-2": products[0], "bid-3": products[-1]}
    return desk


def our_lines(desk):
    positions = []
    for key, award in desk.awards.items():
        product = desk.reserves.get(award.bid_id, "EN")
        awarded_wh = energy_wh(award.power_w, award.duration_ns)
        given_wh, moved_wh = desk.meters_wh[key], 0
        if product != "EN":
            share = 1_000 if product == "SPIN" else desk.performance[key]
            given_wh, moved_wh = awarded_wh * share // 1_000, given_wh
        positions.append(
            Position(*key, awarded_wh, given_wh, product, award.bid_id in desk.ahead,
                     award.price_micro_per_mwh, moved_wh)
        )  # fmt: skip
    return shadow(desk.venue, positions, SettlementPrices(desk.award_prices, desk.imbalance_prices))


@pytest.mark.parametrize("venue", ["caiso", "pjm"])
@pytest.mark.parametrize("seed", range(8))
def test_day_ahead_and_reserve_lines_agree_to_the_cent_after_any_corrections(venue, seed):
    draw = random.Random(seed)
    desk, account = random_day(venue, draw), DayAccount(venue, "2026-07-15")
    for _ in range(8):
        statement = parse_statement(desk.publish())
        assert account.receive(statement, our_lines(desk)) == []
        assert statement.total_cents == sum(line.amount_cents for line in our_lines(desk))
        for _ in range(5):
            key = draw.choice(sorted(desk.awards))
            desk.imbalance_prices[key[1]] += draw.randrange(-50, 51) * USD // 3
            desk.meters_wh[key] += draw.randrange(-9_000, 9_001)
            desk.performance[key] = draw.randrange(0, 1_001)
    codes = {line.charge_code for line in our_lines(desk)}
    assert codes >= (
        {"6011", "6460", "6470", "6475", "6170", "6670"}
        if venue == "caiso"
        else {"DAY_AHEAD_ENERGY", "BALANCING_ENERGY", "SYNCHRONIZED_RESERVE", "REGULATION"}
    )


def test_a_day_ahead_award_is_paid_its_own_price_and_its_stray_the_real_time_price():
    position = Position("b", NOON, 100_000, 90_000, "EN", True, 50 * USD)
    lines = shadow("pjm", [position], SettlementPrices({}, {NOON: 80 * USD}))
    assert {(one.charge_code, one.quantity_wh, one.amount_cents) for one in lines} == {
        ("DAY_AHEAD_ENERGY", 100_000, 500),
        ("BALANCING_ENERGY", -10_000, -80),
    }


@pytest.mark.parametrize(("venue", "code"), [("caiso", "6470"), ("pjm", "BALANCING_ENERGY")])
@pytest.mark.parametrize(("moved_wh", "cents"), [(15_000, 120), (-15_000, -120), (0, None)])
def test_the_energy_of_a_reserves_calls_is_paid_the_real_time_price(venue, code, moved_wh, cents):
    position = Position("b", NOON, 100_000, 100_000, "SPIN", False, 5 * USD, moved_wh)
    lines = shadow(venue, [position], SettlementPrices({}, {NOON: 80 * USD}))
    energy = {one.quantity_wh: one.amount_cents for one in lines if one.charge_code == code}
    assert energy == ({} if cents is None else {moved_wh: cents})
    (capacity,) = [one for one in lines if one.charge_code != code]
    assert (capacity.quantity_wh, capacity.amount_cents) == (100_000, 50)


@pytest.mark.parametrize(("venue", "zone"), [("caiso", PACIFIC), ("pjm", EASTERN)])
def test_called_energy_follows_meters_and_reruns_while_capacity_keeps_its_price(venue, zone):
    """The simulator's own words: capacity at the reserve's price, energy at the real-time price."""
    sim, clock = VenueSim(), NOON - 36 * HOUR_NS
    sent = reserve(venue, "SPIN")
    answer = sim.submit(venue, CODECS[venue].encode_bid(sent, PARTICIPANT), clock)
    assert CODECS[venue].decode_reply(sent.bid_id, answer.body).accepted
    market = BY_NAME[venue].market
    real = {
        one.starts_ns: one.price_micro_per_mwh
        for one in observations(venue, publication(venue, trade_date(NOON, zone), market))
    }

    def stated():
        body = sim.statement(venue, trade_date(NOON, zone), NOON + HOUR_NS).body
        return [line for line in parse_statement(body).lines if line.starts_ns == NOON]

    (held,) = stated()
    sim.meter(sent.bid_id, NOON, 12_345)
    energy, again = sorted(stated(), key=lambda line: line == held)
    assert again == held, "capacity is paid as before"
    assert (energy.quantity_wh, energy.price_micro_per_mwh) == (12_345, real[NOON])
    sim.rerun(venue, NOON, 777)
    energy, again = sorted(stated(), key=lambda line: line == held)
    assert again == held, "a rerun of the energy price leaves capacity alone"
    assert energy.price_micro_per_mwh == real[NOON] + 7_770_000


@pytest.mark.parametrize(("venue", "zone"), [("caiso", PACIFIC), ("pjm", EASTERN)])
def test_the_simulators_statement_knows_what_each_award_was_sold_as(venue, zone):
    sim, clock = VenueSim(), NOON - 36 * HOUR_NS
    day = trade_date(NOON, zone)
    assert isinstance(day, date)
    ahead = bid(venue, bid_id="ahead", market={"caiso": "DAM", "pjm": "DA"}[venue])
    product = KINDS[1][1] if venue == "caiso" else "REG"
    for one in (ahead, bid(venue), reserve(venue, product)):
        answer = sim.submit(venue, CODECS[venue].encode_bid(one, PARTICIPANT), clock)
        assert CODECS[venue].decode_reply(one.bid_id, answer.body).accepted
    for n in range(900):
        report = Report(reserve(venue, product).bid_id, NOON + n * SAMPLE_NS, 0, 1_000)
        assert sim.telemetry(venue, encode_report(report)).status == 200
    statement = parse_statement(sim.statement(venue, day, NOON + HOUR_NS).body)
    codes = {line.charge_code for line in statement.lines}
    if venue == "caiso":
        assert {"6570"} <= codes <= {"6011", "6460", "6475", "6570"}
    else:
        assert {"REGULATION"} <= codes
