"""The spread model's chances sum to one, and the worth of energy behaves like worth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.commands import ObservePrice
from cloud.vpp.bids import OFFERED
from cloud.vpp.capability import HOUR_NS, FleetCapability
from cloud.vpp.curve import is_well_formed, power_at
from cloud.vpp.hourly import MASS, best_curve, carried, certain
from cloud.vpp.offer import hour_offer
from cloud.vpp.optimum import Plant
from cloud.vpp.prices import PriceBook, Published, spreads
from cloud.vpp.spread import BLOCKS, ONE, block_of, fit, prior
from cloud.vpp.stochastic import LEVELS, reach, solve
from tests.vpp.fleet import MIDNIGHT, USD

QUARTER_S = 900
QUARTER_NS = HOUR_NS // 4
PLANT = Plant(200_000, 100_000, 100_000, 8 * USD)
CAISO, PJM = OFFERED


def noisy(count, seed=1):
    draw = np.random.default_rng(seed)
    return (draw.standard_t(2, count) * 10 * USD).astype(np.int64)


@pytest.mark.parametrize("model", [prior(QUARTER_S), fit(noisy(2_000), 0, QUARTER_S)])
def test_chances_sum_to_one_and_centres_rise(model):
    assert (model.moves.sum(axis=2) == ONE).all()
    assert (model.moves >= 0).all()
    assert model.moves.shape == (BLOCKS, model.bins, model.bins)
    assert (np.diff(model.centres, axis=1) > 0).all()


def test_a_model_of_less_than_two_days_is_refused():
    with pytest.raises(ValueError, match="less than two days"):
        fit([0] * 191, 0, QUARTER_S)


def test_a_constant_spread_is_one_bin_or_two():
    model = fit([5 * USD] * 400, 0, QUARTER_S)
    assert model.bins == 2
    assert model.centres[0][model.bin_of(5 * USD)] == 5 * USD


def test_a_spread_that_lasts_is_expected_to_last():
    lasting = fit(np.repeat(noisy(250), 8), 0, QUARTER_S)
    fleeting = fit(np.roll(noisy(2_000), 1), 0, QUARTER_S)
    stays = [np.trace(model.moves.sum(axis=0)) / ONE / BLOCKS for model in (lasting, fleeting)]
    assert stays[0] > 4 * stays[1]


def test_blocks_are_two_hours_of_the_utc_day():
    assert [block_of(hour * 3_600) for hour in (0, 1, 2, 23, 24)] == [0, 0, 1, 11, 0]


def test_energy_is_worth_more_where_there_is_more_and_each_wh_less_than_the_one_before():
    worth = solve(PLANT, prior(3_600), [40 * USD] * 24, 0)
    gained = np.diff(worth.expected[0], axis=1)
    assert (gained >= 0).all()
    assert (np.diff(gained, axis=1) <= gained.max() // 20).all(), "concave but for rounding"


def test_uncertainty_makes_stored_energy_worth_more():
    flat = [40 * USD] * 24
    certain_worth = solve(PLANT, fit([0] * 400, 0, 3_600), flat, 0).expected[0][0]
    uncertain = solve(PLANT, prior(3_600), flat, 0).expected[0][0]
    assert uncertain[LEVELS // 2] > certain_worth[LEVELS // 2]


@settings(max_examples=100, deadline=None)
@given(power=st.integers(-300_000, 300_000), level=st.integers(0, LEVELS - 1))
def test_a_step_keeps_energy_within_the_battery(power, level):
    way = reach(PLANT, power, QUARTER_S)
    assert 0 <= way.lower[level] <= LEVELS - 2
    assert 0 <= way.upper_part[level] <= ONE
    assert way.sold_wh[level] * power >= 0
    assert abs(int(way.sold_wh[level])) <= abs(power) // 4 + 1


def test_mass_is_kept_but_for_rounding_as_time_passes():
    worth = solve(PLANT, prior(QUARTER_S), [40 * USD] * 96, 0)
    mass = certain(worth, 3, 77_777)
    assert mass.sum() == MASS
    energy = (mass * np.arange(LEVELS)).sum() * PLANT.energy_wh / (LEVELS - 1) / MASS
    assert energy == pytest.approx(77_777, abs=1)
    for step in range(12):
        mass = carried(worth, mass, step, best_curve(worth, mass, step, [-50_000, 0, 50_000]))
    assert MASS * 0.999 < mass.sum() <= MASS


def able(stored_wh, usable_wh, charge_w, discharge_w):
    return FleetCapability(charge_w, discharge_w, stored_wh, usable_wh, 160_000, 160_000)


def book_with(days, spread=lambda step: 0):
    book = PriceBook()
    start = MIDNIGHT - days * 24 * HOUR_NS
    for hour in range((days + 2) * 24):
        at = start + hour * HOUR_NS
        book.observe((*CAISO.series[:2], "DAM"), at, Published(HOUR_NS, 40 * USD))
    for step in range(days * 96):
        price = Published(QUARTER_NS, 40 * USD + spread(step))
        book.observe(CAISO.series, start + step * QUARTER_NS, price)
    return book


def test_spreads_are_the_newest_unbroken_run():
    book = book_with(2, spread=lambda step: step * USD)
    newest, run = spreads(book, CAISO.series, "DAM", QUARTER_NS)
    assert newest == MIDNIGHT - QUARTER_NS
    assert run == [step * USD for step in range(192)]
    late = MIDNIGHT + 3 * QUARTER_NS
    book.observe(CAISO.series, late, Published(QUARTER_NS, 90 * USD))
    assert spreads(book, CAISO.series, "DAM", QUARTER_NS) == (late, [50 * USD])
    assert spreads(PriceBook(), CAISO.series, "DAM", QUARTER_NS) == (0, [])


def test_after_a_week_the_desk_bids_by_what_it_has_seen():
    calm = book_with(7, spread=lambda step: (step % 3 - 1) * USD)
    wild = book_with(7, spread=lambda step: 300 * USD if step % 20 == 0 else -2 * USD)
    path = [40 * USD] * 24
    fleet = able(80_000, 160_000, 80_000, 80_000)
    starts = MIDNIGHT + 2 * HOUR_NS
    calm_curve = hour_offer(calm, CAISO, starts, path, fleet, 500_000)
    wild_curve = hour_offer(wild, CAISO, starts, path, fleet, 500_000)
    assert power_at(calm_curve, 50 * USD) == 80_000
    assert power_at(wild_curve, 50 * USD) < 80_000
    assert power_at(wild_curve, 400 * USD) == 80_000
    assert power_at(wild_curve, 37 * USD) < 0 <= power_at(calm_curve, 37 * USD)


@settings(max_examples=120, deadline=None)
@given(
    path=st.lists(st.integers(-200, 2_500), min_size=24, max_size=24),
    stored=st.integers(0, 1_000_000),
    room=st.integers(0, 1_000_000),
    charge=st.integers(0, 500_000),
    discharge=st.integers(0, 500_000),
    product=st.sampled_from(OFFERED),
)
def test_every_hours_offer_is_one_that_a_venue_takes(
    path, stored, room, charge, discharge, product
):
    fleet = able(stored, stored + room, min(charge, room), min(discharge, stored))
    prices = [price * USD for price in path]
    curve = hour_offer(PriceBook(), product, MIDNIGHT, prices, fleet, 500_000)
    assert curve == () or is_well_formed(curve)
    if curve:
        assert -min(charge, room) <= curve[0].power_w <= curve[-1].power_w
        assert curve[-1].power_w <= min(discharge, stored)


def test_the_fleet_that_can_do_nothing_offers_nothing():
    assert hour_offer(PriceBook(), CAISO, MIDNIGHT, [USD] * 24, able(0, 0, 0, 0), 500_000) == ()
    tiny = able(500, 1_000, 999, 999)
    assert hour_offer(PriceBook(), CAISO, MIDNIGHT, [USD] * 24, tiny, 500_000) == ()


def test_an_observed_price_and_a_command_speak_of_the_same_series():
    command = ObservePrice(*CAISO.series, MIDNIGHT, QUARTER_NS, USD)
    assert (command.venue, command.node, command.market) == CAISO.series
