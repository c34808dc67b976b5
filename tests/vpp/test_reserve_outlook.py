"""What a plan of reserves is told: prices of the venue's own hours, what is left, and when nothing is."""

import pytest

from cloud.commands import HaltDesk, ObservePrice, OfferReserve, OpenDesk
from cloud.facts import ReservePrepared
from cloud.vpp.capability import HOUR_NS
from cloud.vpp.desk import Desk
from cloud.vpp.reserve_plan import planned, reserve_offers
from protos.clock import MINUTE_NS
from protos.messages import Refusal
from tests.vpp.fleet import DAY_NS, MIDNIGHT, OPEN, USD, battery, price

AT = MIDNIGHT + 15 * HOUR_NS
TOMORROW = MIDNIGHT + DAY_NS
PLACES = {"caiso": "AS_SP26", "pjm": "PJM_RTO"}
PRODUCTS = {"caiso": ("DAM_AS", ("SPIN", "REG_UP", "REG_DOWN")), "pjm": ("RT_AS", ("SPIN", "REG"))}


def reserve(venue, kind, hour_ns, usd):
    market = f"{PRODUCTS[venue][0]}_{kind}"
    return ObservePrice(venue, PLACES[venue], market, hour_ns, HOUR_NS, usd * USD)


def desk_with(days=(1, 2, 3), homes=20, **changes):
    """A desk that has seen reserve prices on so many days before, growing by the day."""
    desk = Desk()
    desk.apply(changes.get("limits", OPEN), AT - HOUR_NS)
    for venue, (_, kinds) in PRODUCTS.items():
        for hour in range(24):
            desk.apply(price(MIDNIGHT + hour * HOUR_NS, 30 + hour, venue), AT)
            for kind in kinds:
                for day in days:
                    at_ns = TOMORROW + hour * HOUR_NS - day * DAY_NS
                    desk.apply(reserve(venue, kind, at_ns, 2 * day), AT)
    for number in range(homes):
        desk.apply(battery(number), AT)
    return desk


def look(desk, venue="caiso", hours=24):
    return desk.outlook(venue, TOMORROW, hours, AT)


@pytest.mark.parametrize(("venue", "first"), [("caiso", 0), ("pjm", 1)])
def test_only_the_venues_own_hours_have_a_reserve_price_and_all_have_an_energy_price(venue, first):
    found = look(desk_with(), venue)
    assert set(found.reserves_micro) == set(PRODUCTS[venue][1])
    for prices in found.reserves_micro.values():
        assert prices[first::2] == (4 * USD,) * 12, "the mean of 2, 4 and 6"
        assert set(prices[1 - first :: 2]) == {None}
    assert found.energy_micro == tuple((30 + hour) * USD for hour in range(24))


def test_a_published_price_stands_before_the_mean_and_the_unknown_is_not_guessed():
    desk = desk_with(days=())
    assert look(desk) is Refusal.NO_PRICE
    desk.apply(reserve("caiso", "SPIN", TOMORROW, 7), AT)
    desk.apply(reserve("caiso", "SPIN", TOMORROW - 7 * DAY_NS, 1), AT)
    desk.apply(reserve("caiso", "SPIN", TOMORROW + 2 * HOUR_NS - 8 * DAY_NS, 9), AT)
    found = look(desk)
    assert found.reserves_micro["SPIN"] == (7 * USD, *(None,) * 23), "eight days ago is forgotten"
    assert set(found.reserves_micro["REG_UP"]) == {None}
    offers = reserve_offers("caiso", planned(found), TOMORROW)
    assert {(one.product, one.starts_ns) for one in offers} <= {("SPIN", TOMORROW)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"venue": "mars"}, Refusal.UNKNOWN_OFFER),
        ({"homes": 2}, Refusal.BELOW_MINIMUM),
        ({"limits": OpenDesk(0, 0, 0)}, Refusal.RISK_LIMIT),
        ({"halted": True}, Refusal.RISK_LIMIT),
    ],
)
def test_where_nothing_could_be_offered_it_says_why(change, reason):
    desk = desk_with(**{key: change[key] for key in ("homes", "limits") if key in change})
    if "halted" in change:
        desk.apply(HaltDesk(True, "x"), AT)
    assert look(desk, change.get("venue", "caiso")) is reason


def test_the_plans_offers_are_taken_as_far_as_the_desk_says_there_is_room():
    for limits in (OPEN, OpenDesk(120_000, 10_000 * USD, 100_000), OpenDesk(500_000, 450 * USD, 1)):
        desk = desk_with(homes=40, limits=limits)
        found = look(desk)
        assert max(*found.up_w, *found.down_w) <= limits.power_max_w
        offers = reserve_offers("caiso", planned(found), TOMORROW)
        assert offers
        for offer in offers:
            room_w = desk.reserve_room_w(offer, AT)
            refused = desk.apply(_sized(offer, room_w + 1_000), AT)
            reasons = {Refusal.NO_RESERVE, Refusal.RISK_LIMIT, Refusal.BELOW_MINIMUM}
            assert refused[0].reason in reasons
            if min(room_w, offer.capacity_w) >= 100_000:
                capacity_w = min(offer.capacity_w, room_w // 1_000 * 1_000)
                (taken,) = desk.apply(_sized(offer, capacity_w), AT)
                assert isinstance(taken, ReservePrepared)


def _sized(offer, capacity_w):
    whole = capacity_w // 1_000 * 1_000
    return OfferReserve(offer.venue, offer.product, offer.starts_ns, whole, 0)


def test_the_energy_of_all_calls_together_is_in_the_battery():
    found = look(desk_with(homes=40))
    plan = planned(found)
    called_wh = sum(plan.up_w) + sum(plan.spin_w) // 2
    assert 0 < called_wh <= found.stored_wh
    assert sum(plan.down_w) <= found.plant.energy_wh - found.stored_wh


def test_what_is_promised_already_is_not_promised_again():
    desk = desk_with(homes=40)
    before = look(desk)
    desk.apply(OfferReserve("caiso", "REG_UP", TOMORROW, 100_000, 0), AT)
    after = look(desk)
    assert after.up_w[0] <= before.up_w[0] - 100_000
    assert after.up_w[5] <= before.up_w[5]
    assert after.stored_wh == before.stored_wh - 100_000
    assert sum(most for _, most in after.exposure_wh) == (
        sum(most for _, most in before.exposure_wh) - 100_000
    )
    late_ns = AT + 16 * MINUTE_NS
    assert desk.reserve_room_w(OfferReserve("caiso", "SPIN", TOMORROW, 1, 0), late_ns) <= 0, (
        "nobody is heard any more"
    )


def test_an_hour_of_regulation_holds_nothing_else():
    """A battery that follows a signal can hold no other power; spinning leaves room for energy."""
    found = look(desk_with(homes=60))
    plan = planned(found)
    assert any(plan.up_w) or any(plan.down_w)
    for power_w, *kinds in zip(plan.power_w, plan.up_w, plan.down_w, plan.spin_w, strict=True):
        assert sum(map(bool, kinds)) <= 1
        assert not power_w or not any(kinds[:2])
    offers = reserve_offers("caiso", plan, TOMORROW)
    assert all(one.alone == (one.product != "SPIN") for one in offers)
    pairs = planned(look(desk_with(homes=60), "pjm"))
    assert pairs.up_w == pairs.down_w
    assert not any(spin and up for spin, up in zip(pairs.spin_w, pairs.up_w, strict=True))


def test_the_hour_goes_to_what_earns_most_in_it():
    def best(usd_up, usd_spin):
        desk = desk_with(days=(), homes=60)
        for kind, usd in (("REG_UP", usd_up), ("SPIN", usd_spin)):
            desk.apply(reserve("caiso", kind, TOMORROW, usd), AT)
        (offer,) = reserve_offers("caiso", planned(look(desk)), TOMORROW)
        return offer.product

    assert best(30, 5) == "REG_UP"
    assert best(5, 30) == "SPIN"
