"""What the wholesale side must show beside its speed: money, faults found, nothing lost or doubled.

Bounded here; each takes its number of trials as an argument for a run in full length.
"""

import asyncio
import multiprocessing
import os
import random
import sys
import tempfile
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from statistics import quantiles

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cloud.commands import RecordPerformance
from cloud.facts import BidPrepared
from cloud.feeds import caiso
from cloud.feeds.intervals import (
    CENTRAL,
    EASTERN,
    PACIFIC,
    from_local,
    hour_ending,
    hour_interval,
    operating_hour,
    operating_hour_of,
    trade_day,
)
from cloud.feeds.quality import age_ns, coverage, identity
from cloud.venues.caiso import CAISO
from cloud.venues.days import caiso_zip
from cloud.venues.paper import PARTICIPANT, RULES, Rejected, check_offer
from cloud.venues.pjm import PJM
from cloud.venues.sim import Faults, VenueSim
from cloud.venues.statements import SettlementDesk, parse_statement
from cloud.venues.years import HARD_PLACES, PLACES, make_prices
from cloud.vpp import backtest
from cloud.vpp.bids import OFFERED
from cloud.vpp.capability import FleetStorage
from cloud.vpp.cooptimum import ReservePrices, joint_plan
from cloud.vpp.hourly import _staircase
from cloud.vpp.learned import learn
from cloud.vpp.optimum import Plant, best_plan
from cloud.vpp.risk import Limits, objection, storage_objection
from cloud.vpp.settlement import DayAccount
from cloud.vpp.storage import saying, swing_of
from protos.clock import MINUTE_NS, SECOND_NS
from tests.venues.bidding import HandClock, bid
from tests.venues.cutting import Gateway, Wire, killed_at, online, served
from tests.venues.test_reserve_market import followed, our_lines, random_day
from tests.venues.test_sim import closest_of_four
from tests.vpp.test_settlement import DAY as STATEMENT_DAY
from tests.vpp.test_settlement import correct, expected, settled_day

USD = 1_000_000
HOUR_NS = 60 * MINUTE_NS
QUARTER_NS = 15 * MINUTE_NS
ONE_MEGAWATT = Plant(4_000_000, 1_000_000, 1_000_000)
FIRST_HELD_DAY = 12
HELD_YEAR = 365
HELD_SEED, TRAINING_SEED = 2, 1
TRAINING_DAYS = 730
GATE_LEAD_S = 4_500
ALL_PLACES = (*PLACES, *HARD_PLACES)
SERIES = "GRIDTOKENX_PRICE_SERIES"
"""A folder with real series that may not be shipped: NAME.npz with `ahead` (days, 24) and `real`
(days, 288) in micro-units per MWh. The last year is held out."""

BLOCKS = 8
REAL_DAYS = 40


# ---- money ---------------------------------------------------------------------------------


def captured(place_number, days):
    """Shares of perfect foresight over `days` days of one place, in the order of `strategies`."""
    place = ALL_PLACES[place_number]
    past = make_prices(place, TRAINING_DAYS, TRAINING_SEED)
    held = make_prices(place, HELD_YEAR, HELD_SEED)
    return place.name, *earned(past.ahead, past.real, held.ahead, held.real, days)


def earned(past_ahead, past_real, ahead, real, days):
    """Foresight's money and the shares of it, over blocks of days spread evenly over a held-out
    year, each of which begins with an empty battery.
    """
    trained = models(past_ahead, past_real)
    gap = (HELD_YEAR - FIRST_HELD_DAY) // BLOCKS
    oracle, money = 0, [0] * len(strategies(*trained))
    for first in range(FIRST_HELD_DAY, FIRST_HELD_DAY + gap * BLOCKS, gap):
        span = range(first, first + days // BLOCKS)
        oracle += backtest.foresight(ONE_MEGAWATT, real, span)
        for index, strategy in enumerate(strategies(*trained)):
            money[index] += backtest.run(ONE_MEGAWATT, ahead, real, span, strategy)[0]
    return oracle, backtest.shares(money, oracle)


def models(ahead, real):
    """Of the spread, from the last year, and of the worth of energy, from as much as it takes."""
    learned = learn(
        ONE_MEGAWATT, backtest.history_of(ahead.reshape(-1), real.reshape(-1)), GATE_LEAD_S
    )
    return backtest.trained(ahead[-365:], real[-365:]), learned


def strategies(spread, value):
    """Learned, stochastic, plain, mean schedule, threshold."""
    return (
        backtest.Learned(ONE_MEGAWATT, spread, value),
        backtest.Stochastic(ONE_MEGAWATT, spread),
        backtest.plain(ONE_MEGAWATT),
        backtest.mean_schedule(ONE_MEGAWATT),
        backtest.threshold(ONE_MEGAWATT, 30 * USD, 100 * USD),
    )


def captured_everywhere(days):
    with multiprocessing.Pool(2) as pool:
        return pool.starmap(captured, [(number, days) for number in range(len(ALL_PLACES))])


def captured_really(path):
    """The same on one real series."""
    with np.load(path) as held:
        ahead, real = held["ahead"], held["real"]
    past, last = slice(-HELD_YEAR), slice(-HELD_YEAR, None)
    return path.stem, *earned(ahead[past], real[past], ahead[last], real[last], REAL_DAYS)


def real_series():
    folder = os.environ.get(SERIES)
    return sorted(Path(folder).glob("*.npz")) if folder else []


def captured_on_real():
    with multiprocessing.Pool(2) as pool:
        return pool.map(captured_really, real_series())


def plan_ms(rounds=60):
    """Median and 95th percentile of an exact 48-hour plan of five-minute prices."""
    prices = make_prices(PLACES[0], rounds + 2, 9).real
    took = []
    for day in range(rounds):
        two_days = prices[day : day + 2].reshape(-1).tolist()
        start = time.perf_counter()
        best_plan(ONE_MEGAWATT, two_days, 300)
        took.append((time.perf_counter() - start) * 1e3)
    parts = quantiles(took, n=20)
    return parts[9], parts[18]


def joint_ms(rounds=40):
    """Median and 95th percentile of a day's plan of energy and three reserve products."""
    prices = make_prices(PLACES[0], rounds + 1, 9).real.reshape(rounds + 1, 24, 12).mean(axis=2)
    draw = random.Random(6)
    took = []
    for day in prices[:rounds].astype(int).tolist():
        reserves = ReservePrices(*([draw.randrange(0, 20 * USD) for _ in day] for _ in range(3)))
        start = time.perf_counter()
        joint_plan(ONE_MEGAWATT, day, reserves, 3_600)
        took.append((time.perf_counter() - start) * 1e3)
    parts = quantiles(took, n=20)
    return parts[9], parts[18]


def _planned(numbers):
    prices = make_prices(PLACES[0], 3, 9).real[1].reshape(96, 3).mean(axis=1).astype(int).tolist()
    earned = 0
    for number in numbers:
        plant = Plant(5_000 + number % 10_000, 5_000, 5_000, 8 * USD)
        earned += sum(best_plan(plant, prices, 900, number % 5_000).money_micro)
    return earned


def fleet_s(batteries=10_000):
    """Exact day plans of so many different batteries, 96 steps each, on two cores."""
    start = time.perf_counter()
    with multiprocessing.Pool(2) as pool:
        pool.map(_planned, [range(part, batteries, 8) for part in range(8)])
    return time.perf_counter() - start


# ---- time and data -------------------------------------------------------------------------


def switch_days(zone):
    for year in range(2016, 2031):
        day = date(year, 1, 1)
        while day.year == year:
            if trade_day(day, zone).duration_ns != 24 * HOUR_NS:
                yield day
            day += timedelta(days=1)


def misplaced():
    """Hours whose label does not lead back to them, and how many were asked."""
    wrong = asked = 0
    for zone, iso in ((PACIFIC, "caiso"), (EASTERN, "pjm"), (CENTRAL, "ercot"), (EASTERN, "nyiso")):
        for day in switch_days(zone):
            for start in trade_day(day, zone).steps(HOUR_NS):
                asked += 1
                wrong += _back(iso, zone, start) != start
    return wrong, asked


def _back(iso, zone, start):
    if iso == "caiso":
        return operating_hour(*operating_hour_of(start)).start_ns
    day, hour, repeated = hour_ending(start, zone)
    if iso == "nyiso":
        naive = datetime.combine(day, datetime.min.time()) + timedelta(hours=hour - 1)
        return from_local(naive, zone, repeated=repeated)
    return hour_interval(day, hour, zone, repeated=repeated).start_ns


def corruptions(days=40):
    """Seeded corruptions, those found, and false alarms on the clean days."""
    draw = random.Random(5)
    seeded = found = false = 0
    for number in range(days):
        day = date(2026, 1, 1) + timedelta(days=9 * number)
        span = trade_day(day, PACIFIC)
        clean = caiso.parse(caiso_zip(day, "RTM")).rows
        false += _alarmed(clean, span, span.end_ns)
        at = draw.choice([row.start_ns for row in clean])
        price = [row for row in clean if row.item == "LMP"]
        one = draw.choice([row for row in price if row.value_micro])
        part = draw.choice([row for row in clean if row.item == "MCE"])
        damaged = (
            [row for row in clean if row.start_ns != at],
            clean[: len(clean) // 3],
            [_with(row, item="MCE") if row is one else row for row in clean],
            [_with(row, value_micro=-row.value_micro) if row is one else row for row in clean],
            [_with(row, value_micro=row.value_micro + 30) if row is part else row for row in clean],
        )
        for rows in damaged:
            seeded += 1
            found += _alarmed(rows, span, span.end_ns)
        seeded += 1
        found += _alarmed(clean, span, span.end_ns + 3 * HOUR_NS)
    return seeded, found, false


def _with(row, **changes):
    fields = {name: getattr(row, name) for name in row.__struct_fields__}
    return type(row)(**{**fields, **changes})


def _alarmed(rows, span, now_ns):
    prices = [row for row in rows if row.item == "LMP"]
    whole = coverage(prices, span, QUARTER_NS).is_complete
    return bool(identity(rows)) or not whole or age_ns(rows, now_ns) > QUARTER_NS


# ---- bids ----------------------------------------------------------------------------------


def illegal(cases):
    """Generated decisions: bids that came of them, those of them that a venue's rules refuse; then
    what was held back for its batteries, and what of that the venue would have refused.
    """
    draw = np.random.default_rng(8)
    limits = Limits(500_000, 10_000 * USD, 100_000)
    counts = dict.fromkeys(("made", "refused", "held", "rightly"), 0)
    for number in range(cases):
        curve = _any_curve(draw)
        if curve == () or objection(limits, curve, HOUR_NS, 0) is not None:
            continue
        store, beside = _any_store(draw), _any_curve(draw) if number % 3 == 0 else ()
        prepared = saying(_energy(number % 2, f"b{number}", curve), store)
        swing = swing_of(prepared, [beside] if beside else [])
        refused = _refuses(number % 2, prepared, beside)
        if storage_objection(store, swing) is None:
            counts["made"] += 1
            counts["refused"] += refused
        else:
            counts["held"] += 1
            counts["rightly"] += refused
    return counts


def _energy(which, name, curve, hours_later=0):
    """A real-time bid of one of the two venues."""
    product = OFFERED[which]
    starts_ns = bid().starts_ns + hours_later * HOUR_NS
    gate_ns = starts_ns - product.gate_lead_ns
    where = (product.venue, product.node, product.market)
    return BidPrepared(name, *where, starts_ns, HOUR_NS, gate_ns, curve)


def _refuses(which, prepared, beside):
    """Whether the venue refuses a bid, `beside` being the curve that stands for the hour after."""
    rules, codec = RULES[which], (CAISO, PJM)[which]
    try:
        others = [_read(codec, _energy(which, "beside", beside, 1))] if beside else []
        check_offer(rules, _read(codec, prepared), prepared.gate_ns, others)
    except (Rejected, ValueError):
        return True
    return False


def _read(codec, prepared):
    return codec.decode_bid(codec.encode_bid(prepared, PARTICIPANT))


def _any_store(draw):
    """Batteries of any charge, and now and then too few or too slow for what is offered."""
    least, stored, most = sorted(int(one) for one in draw.integers(0, 2_500_001, 3))
    return FleetStorage(stored, least, most, int(draw.integers(0, 200_001)))


def _any_curve(draw):
    """A curve from powers, prices and gains of any kind, not only sensible ones."""
    powers = sorted({0, *(int(one) * 1_000 for one in draw.integers(-600, 601, 8))})
    bins = int(draw.integers(2, 8))
    prices = sorted(int(one) for one in draw.integers(-300 * USD, 3_000 * USD, bins))
    gains = draw.integers(-1_000_000, 1_000_001, (bins, len(powers)))
    return _staircase(prices, gains.tolist(), gains, powers)


async def killed(trials):
    """Bids lost, doubled or left unanswered when the gateway dies at any byte."""
    wrong = 0
    draw = random.Random(9)
    for venue, whole in (("caiso", 1_900), ("pjm", 2_300)):
        clock = HandClock(bid(venue).gate_ns - 600 * SECOND_NS)
        sim = VenueSim(Faults(session_ns=10**18))
        with served(sim, clock) as url, tempfile.TemporaryDirectory() as state:
            wire = Wire(url)
            async with wire.open() as address:
                way = online(venue, address, Path(state), clock)
                for number in range(trials // 2):
                    byte = draw.randrange(1, whole)
                    recorded = await killed_at(byte, number, venue, wire, way, clock)
                    wrong += [reply.accepted for reply in recorded] != [True]
        wrong += abs(len(sim.exchange.held(venue)) - trials // 2)
    return wrong


async def late(steps=60):
    """Bids that reached the venue after its gate, our clock being wrong by up to two seconds."""
    arrived = tried = 0
    gate_ns = bid().gate_ns
    true, sim = HandClock(gate_ns), VenueSim()
    with served(sim, true) as url, tempfile.TemporaryDirectory() as state:
        for number in range(steps):
            for error_ms in (-2_000, -1_000, 0, 1_000, 2_000):
                true.at = gate_ns + (number * 100 - 4_000) * 1_000_000
                ours = HandClock(true.at + error_ms * 1_000_000)
                gateway = Gateway(online("caiso", url, Path(state), ours), ours)
                before = sim.counters.bids
                name = f"{number}/{error_ms}"
                await gateway.pump.submit(bid(bid_id=name, node=name))
                tried += 1
                arrived += true.at > gate_ns and sim.counters.bids > before
    return tried, arrived


def paced(minutes=10, speed=60.0):
    with tempfile.TemporaryDirectory() as state:
        return closest_of_four(Path(state), minutes, speed)


def settled(days=60):
    """The most cents that a shadow and a statement were ever apart, and versions compared."""
    worst = versions = 0
    for seed in range(days):
        draw = random.Random(seed)
        desk: SettlementDesk = settled_day(("caiso", "pjm")[seed % 2], draw)
        account = DayAccount(desk.venue, STATEMENT_DAY)
        for _ in range(6):
            statement = parse_statement(desk.publish())
            ours = expected(desk)
            apart = account.receive(statement, ours)
            total = abs(statement.total_cents - sum(line.amount_cents for line in ours))
            worst = max(worst, total, len(apart))
            versions += 1
            for _ in range(draw.randrange(1, 6)):
                correct(desk, draw)
    return worst, versions


def settled_ahead_and_reserves(days=30):
    """The same for days of day-ahead energy, and of reserves with the energy of their calls, beside
    the real-time energy.
    """
    worst = versions = 0
    for seed in range(days):
        draw = random.Random(seed)
        desk = random_day(("caiso", "pjm")[seed % 2], draw)
        account = DayAccount(desk.venue, STATEMENT_DAY)
        for _ in range(6):
            statement, ours = parse_statement(desk.publish()), our_lines(desk)
            apart = account.receive(statement, ours)
            total = abs(statement.total_cents - sum(line.amount_cents for line in ours))
            worst = max(worst, total, len(apart))
            versions += 1
            for key in draw.sample(sorted(desk.awards), 4):
                desk.imbalance_prices[key[1]] += draw.randrange(-50, 51) * USD // 3
                desk.meters_wh[key] += draw.randrange(-9_000, 9_001)
                desk.performance[key] = draw.randrange(0, 1_001)
    return worst, versions


def followed_scores():
    """How far the two sides' performance of regulation are apart, per mille, and the scores."""
    apart, scores = 0, []
    for part in (1, 0, -1):
        commands, theirs = followed(lambda told, part=part: told * part)
        (ours,) = [one for one in commands if isinstance(one, RecordPerformance)]
        mean = (ours.accuracy + ours.delay + ours.precision) // 3
        apart, scores = max(apart, abs(mean - theirs)), [*scores, theirs]
    return apart, scores


def run(coroutine):
    return asyncio.run(coroutine)
