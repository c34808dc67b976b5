"""The order-to-trade throttle: who places many offers must trade now and then."""

import pytest

from cloud.commands import ZoneRules
from cloud.facts import OfferCancelled, OfferRefused, OfferRested, Traded
from cloud.market.throttle import Throttle
from protos.clock import MINUTE_NS, SLOT_NS
from protos.messages import ADVICE, Cancel, OfferBatch, Refusal
from tests.market.scene import SLOT, START_NS, Scene, of

PRICE = 3_000_000
RULES = ZoneRules(orders_free=6, orders_per_trade_max=4)


def begun(rules: ZoneRules) -> Scene:
    scene = Scene(rules)
    scene.at_ns = START_NS - MINUTE_NS
    scene.open()
    scene.admit("home-2", 2)
    scene.admit("home-4", 4)
    return scene


def place_and_cancel(scene: Scene, name: str = "home-2", slot: int = SLOT + 2) -> object:
    """The reason of the refusal, or None where the offer was taken."""
    (fact,) = scene.sell(name, 10, PRICE, slot=slot)
    if isinstance(fact, OfferRefused):
        return fact.reason
    assert isinstance(fact, OfferRested)
    cancel = OfferBatch(cancels=(Cancel(scene.chains[name].number),))
    assert of(scene.send(name, cancel), OfferCancelled)
    return None


def test_the_thresholds_are_a_hundred_to_one_above_five_hundred() -> None:
    rules, throttle = ZoneRules(), Throttle()
    assert all(throttle.allows("a", 1, rules) for _ in range(500))
    assert not throttle.allows("a", 1, rules)
    for _ in range(5):
        throttle.count_trade("a", 1)
    assert not throttle.allows("a", 1, rules)
    throttle.count_trade("a", 1)
    assert [throttle.allows("a", 1, rules) for _ in range(101)] == [True] * 100 + [False]


def test_an_account_that_only_places_and_cancels_is_refused_with_advice() -> None:
    scene = begun(RULES)
    assert [place_and_cancel(scene) for _ in range(6)] == [None] * 6
    assert place_and_cancel(scene) == Refusal.ORDERS_PER_TRADE
    assert "leave some open" in ADVICE[Refusal.ORDERS_PER_TRADE]


def test_other_slots_and_other_accounts_are_not_held_back() -> None:
    scene = begun(RULES)
    while place_and_cancel(scene) is None:
        pass
    assert place_and_cancel(scene, slot=SLOT + 3) is None
    assert place_and_cancel(scene, "home-4") is None


def test_two_gateways_of_one_account_share_its_offers() -> None:
    scene = begun(RULES)
    scene.admit("twin", 5, account="acc-home-2")
    for _ in range(3):
        assert place_and_cancel(scene) is None
        assert place_and_cancel(scene, "twin") is None
    assert place_and_cancel(scene, "twin") == Refusal.ORDERS_PER_TRADE


def test_a_throttled_account_may_cancel_and_its_open_offers_trade_it_free() -> None:
    scene = begun(RULES)
    for _ in range(6):
        scene.sell("home-2", 10, PRICE)
    assert place_and_cancel(scene) == Refusal.ORDERS_PER_TRADE
    assert of(scene.send("home-2", OfferBatch(cancels=(Cancel(6),))), OfferCancelled)
    assert len(of(scene.buy("home-4", 20, PRICE), Traded)) == 2
    # Two trades allow eight offers, of which six were placed.
    assert [place_and_cancel(scene) for _ in range(3)] == [None, None, Refusal.ORDERS_PER_TRADE]


@pytest.mark.parametrize("off", [{"orders_free": 0}, {"orders_per_trade_max": 0}])
def test_nought_is_no_limit(off: dict[str, int]) -> None:
    scene = begun(ZoneRules(**{"orders_free": 1, "orders_per_trade_max": 1} | off))
    assert [place_and_cancel(scene) for _ in range(20)] == [None] * 20


def test_offers_that_name_no_open_slot_leave_nothing_behind() -> None:
    scene = begun(RULES)
    for slot in (SLOT - 1, SLOT + 500, 1 << 60):
        scene.sell("home-2", 10, PRICE, slot=slot)
    assert scene.zone.state()["trading"]["throttle"] == []


def test_what_was_counted_goes_with_the_gate_and_comes_back_in_a_replay() -> None:
    scene = begun(RULES)
    while place_and_cancel(scene) is None:
        pass
    assert scene.zone.state()["trading"]["throttle"] == [(SLOT + 2, [("acc-home-2", 6, 0)])]
    assert scene.replayed() == scene.zone.state()
    scene.advance(START_NS + 2 * SLOT_NS)
    assert scene.zone.state()["trading"]["throttle"] == []
    assert scene.replayed() == scene.zone.state()
