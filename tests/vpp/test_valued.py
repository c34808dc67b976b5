"""A told worth: what the desk takes, how it reckons with it, and that its bids stay legal."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.commands import ValueEnergy, decode_command, encode_command
from cloud.facts import DeskRefused, EnergyValued
from cloud.vpp.bids import OFFERED
from cloud.vpp.capability import HOUR_NS, FleetCapability
from cloud.vpp.curve import is_well_formed, power_at
from cloud.vpp.desk import Desk
from cloud.vpp.offer import hour_offer
from cloud.vpp.optimum import Plant
from cloud.vpp.prices import PriceBook
from cloud.vpp.spread import prior
from cloud.vpp.stochastic import LEVELS, PRICE_MAX_MICRO
from cloud.vpp.valued import WORTH_MAX_MICRO, Told, told_worth
from protos.messages import Refusal

USD = 1_000_000
AT = 20_000 * 24 * HOUR_NS
CAISO = OFFERED[0]
PLANT = Plant(4_000_000, 1_000_000, 1_000_000)


def flat(worth_usd):
    return Told((-100 * USD, 100 * USD), ((worth_usd * USD,) * 4,) * 2)


def tell(told, starts_ns=AT + 2 * HOUR_NS):
    return ValueEnergy(CAISO.venue, CAISO.node, starts_ns, told.prices_micro, told.worth_micro)


def test_between_two_prices_the_worth_lies_between_them():
    told = Told((0, 100 * USD), ((40 * USD, 0), (80 * USD, 20 * USD)))
    model = prior(900)
    worth = told_worth(told, PLANT, model, [50 * USD] * 6, 0)
    assert worth.expected.shape == (6, model.bins, LEVELS)
    assert not worth.expected[:2].any()
    middle = model.bin_of(0)
    assert worth.prices[2][middle] == 50 * USD
    # Half of the battery at 60, the other half at 10, in micro-units for 4 MWh.
    assert worth.expected[2][middle][-1] == 2 * 60 * USD + 2 * 10 * USD
    assert worth.expected[2][middle][LEVELS // 2] == pytest.approx(2 * 60 * USD, rel=1e-6)
    # Far beyond the last price told, its worth stands.
    assert worth.expected[2][-1][-1] == 2 * 80 * USD + 2 * 20 * USD


@pytest.mark.parametrize(("worth_usd", "sign"), [(10, 1), (200, -1), (40, 0)])
def test_the_bid_sells_below_its_worth_and_buys_above_it(worth_usd, sign):
    able = FleetCapability(80_000, 80_000, 80_000, 160_000, 80_000, 80_000)
    curve = hour_offer(PriceBook(), CAISO, AT, [40 * USD] * 24, able, 500_000, flat(worth_usd))
    power_w = power_at(curve, 40 * USD)
    assert (power_w > 0) - (power_w < 0) == sign


extreme = st.integers(-WORTH_MAX_MICRO, WORTH_MAX_MICRO)


@settings(max_examples=150, deadline=None)
@given(
    prices=st.lists(
        st.integers(-PRICE_MAX_MICRO, PRICE_MAX_MICRO), min_size=2, max_size=6, unique=True
    ),
    worth=st.lists(extreme, min_size=24, max_size=24),
    reference=st.integers(-200, 2_500),
    stored=st.integers(0, 4_000_000),
    product=st.sampled_from(OFFERED),
)
def test_whatever_is_told_the_bid_is_one_that_a_venue_takes(
    prices, worth, reference, stored, product
):
    rows = tuple(
        tuple(sorted(worth[at * 4 : at * 4 + 4], reverse=True)) for at in range(len(prices))
    )
    told = Told(tuple(sorted(prices)), rows)
    assert told.is_sound
    able = FleetCapability(500_000, 500_000, stored, 4_000_000, 500_000, 500_000)
    curve = hour_offer(PriceBook(), product, AT, [reference * USD] * 24, able, 500_000, told)
    assert curve == () or is_well_formed(curve)
    assert all(low.power_w < high.power_w for low, high in pairwise(curve))


def test_nothing_overflows_at_the_bounds():
    told = Told(
        (-PRICE_MAX_MICRO, PRICE_MAX_MICRO), ((-WORTH_MAX_MICRO,) * 2, (WORTH_MAX_MICRO,) * 2)
    )
    worth = told_worth(told, Plant(10**9, 10**8, 10**8), prior(900), [0] * 4, 0)
    assert np.abs(worth.expected).max() <= WORTH_MAX_MICRO * 1_000
    middle = worth.expected[0][worth.model.bin_of(0)]
    assert abs(int(middle[-1])) <= 1_000


@pytest.mark.parametrize(
    "told",
    [
        Told((), ()),
        Told((1,), ((1,),)),
        Told((1, 1), ((1,), (1,))),
        Told((2, 1), ((1,), (1,))),
        Told((1, 2), ((1,),)),
        Told((1, 2), ((), ())),
        Told((1, 2), ((1, 2), (2, 1))),
        Told((1, 2), ((2, 1), (1,))),
        Told((1, PRICE_MAX_MICRO + 1), ((1,), (1,))),
        Told((1, 2), ((1,), (WORTH_MAX_MICRO + 1,))),
        Told(tuple(range(65)), ((1,),) * 65),
        Told((1, 2), ((1,) * 33,) * 2),
    ],
)
def test_what_cannot_be_reckoned_with_is_refused(told):
    desk = Desk()
    assert desk.apply(tell(told), AT) == [
        DeskRefused(f"worth/caiso/{AT + 2 * HOUR_NS}", Refusal.BAD_PRICE)
    ]


@pytest.mark.parametrize("starts_ns", [AT, AT - HOUR_NS, AT + HOUR_NS + 1, AT + 49 * HOUR_NS])
def test_an_hour_that_runs_or_is_far_away_is_refused(starts_ns):
    told = Desk().apply(tell(flat(30), starts_ns), AT)
    assert told == [DeskRefused(f"worth/caiso/{starts_ns}", Refusal.BAD_INTERVAL)]


def test_the_same_word_twice_is_one_fact_and_a_new_word_replaces_it():
    desk = Desk()
    first, second = tell(flat(30)), tell(flat(31))
    assert desk.apply(first, AT) == [
        EnergyValued(CAISO.venue, CAISO.node, first.starts_ns, 30 * USD, 30 * USD)
    ]
    assert desk.apply(first, AT) == []
    assert len(desk.apply(second, AT)) == 1
    again = pickle.loads(pickle.dumps(desk))
    assert again.state() == desk.state()
    assert again.apply(second, AT) == []
    assert decode_command(encode_command(second)) == second


def test_a_desk_that_was_told_nothing_has_the_state_it_always_had():
    told, untold = Desk(), Desk()
    told.apply(tell(flat(30)), AT)
    assert len(told.state()) == len(untold.state()) + 1
