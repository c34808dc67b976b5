"""A signed offer in place of an earlier one, and what gives way when an account meets itself."""

import pytest

from cloud.commands import GrantAllowance
from cloud.facts import (
    BatchRefused,
    Fact,
    OfferCancelled,
    OfferReduced,
    OfferRefused,
    OfferRested,
    Traded,
)
from cloud.market.risk import unit_reserve_micro
from protos import payload_pb2
from protos.messages import Offer, OfferBatch, OrderKind, Refusal, SelfTrade, Side, TimeInForce
from tests.market.scene import GARDEN_2, RULES, SLOT, Scene, device, of

LOW, HIGH = RULES.fallback_export_micro_per_kwh, RULES.fallback_import_micro_per_kwh
PRICE = 3_000_000
TICK = RULES.tick_micro_per_kwh
UNIT = unit_reserve_micro(Side.BUY, PRICE, RULES)


def said(facts: list[Fact]) -> list[tuple[object, ...]]:
    """What the facts say of offers and trades, in short."""
    return [
        ("trade", fact.buyer_number, fact.seller_number, fact.energy_wh)
        if isinstance(fact, Traded)
        else (type(fact).__name__[5:].lower(), fact.number, fact.energy_wh)
        for fact in facts
        if isinstance(fact, Traded | OfferRested | OfferCancelled | OfferReduced | OfferRefused)
    ]


def refusal(facts: list[Fact]) -> int:
    (fact,) = facts
    assert isinstance(fact, OfferRefused), fact
    return fact.reason


# ---- taking the place of an earlier offer ------------------------------------------------------


def test_an_offer_for_less_keeps_the_earlier_ones_place_in_the_queue(scene: Scene) -> None:
    scene.sell("home-2", 100, PRICE)
    scene.sell("home-3", 100, PRICE)
    facts = scene.sell("home-2", 60, PRICE, replaces=1)
    assert said(facts) == [("cancelled", 1, 100), ("rested", 2, 60)]
    (traded,) = of(scene.buy("home-4", 60, PRICE), Traded)
    assert (traded.seller_device, traded.seller_number) == (device("home-2"), 2)


@pytest.mark.parametrize(("energy_wh", "price"), [(101, PRICE), (60, PRICE - TICK)])
def test_more_energy_or_another_price_queues_anew(scene: Scene, energy_wh: int, price: int) -> None:
    scene.sell("home-2", 100, PRICE)
    scene.sell("home-3", 100, price)
    scene.sell("home-2", energy_wh, price, replaces=1)
    (traded,) = of(scene.buy("home-4", 60, PRICE), Traded)
    assert traded.seller_device == device("home-3")


def test_a_better_price_trades_at_once_with_whom_it_now_meets(scene: Scene) -> None:
    scene.sell("home-2", 100, PRICE)
    scene.buy("home-4", 80, PRICE - TICK)
    facts = scene.buy("home-4", 90, PRICE, replaces=1)
    assert said(facts) == [("cancelled", 1, 80), ("trade", 2, 1, 90)]
    assert len(scene.zone.state()["trading"]["offers"]) == 1


def test_only_what_is_left_of_a_partly_filled_offer_is_replaced(scene: Scene) -> None:
    scene.buy("home-4", 100, PRICE)
    scene.sell("home-2", 30, PRICE)
    facts = scene.buy("home-4", 70, PRICE, replaces=1)
    assert said(facts) == [("cancelled", 1, 70), ("rested", 2, 70)]


def test_the_purse_holds_exactly_what_the_new_terms_can_cost(scene: Scene) -> None:
    scene.buy("home-4", 100, PRICE)
    for energy_wh, price in ((40, PRICE), (90, PRICE), (90, LOW), (90, PRICE)):
        number = scene.chains["home-4"].number
        scene.buy("home-4", energy_wh, price, replaces=number)
        held = energy_wh * unit_reserve_micro(Side.BUY, price, RULES)
        assert scene.purse("home-4")[1:] == (held, held)


def test_an_allowance_need_not_carry_both_offers_at_once(scene: Scene) -> None:
    scene.apply(GrantAllowance("north", "acc-home-4", 100 * UNIT))
    scene.buy("home-4", 90, PRICE)
    assert said(scene.buy("home-4", 100, PRICE, replaces=1))[-1] == ("rested", 2, 100)


def test_a_raise_beyond_the_allowance_is_refused_and_the_earlier_offer_stays(
    scene: Scene,
) -> None:
    scene.apply(GrantAllowance("north", "acc-home-4", 100 * UNIT))
    scene.buy("home-4", 90, PRICE)
    before = scene.purse("home-4")
    assert refusal(scene.buy("home-4", 101, PRICE, replaces=1)) == Refusal.NO_ALLOWANCE
    assert scene.purse("home-4") == before
    assert said(scene.sell("home-2", 90, PRICE)) == [("trade", 1, 1, 90)]


def test_a_raise_beyond_the_position_limit_is_refused_and_the_earlier_offer_stays(
    scene: Scene,
) -> None:
    most = RULES.position_max_wh
    scene.buy("home-4", most, LOW)
    assert refusal(scene.buy("home-4", most + 1, LOW, replaces=1)) == Refusal.POSITION_LIMIT
    assert said(scene.buy("home-4", most, LOW + TICK, replaces=1))[-1] == ("rested", 3, most)


def test_an_offer_that_is_not_the_senders_own_open_one_cannot_be_replaced(scene: Scene) -> None:
    scene.buy("home-4", 10, PRICE)
    assert refusal(scene.buy("home-3", 10, PRICE, replaces=1)) == Refusal.UNKNOWN_OFFER
    assert refusal(scene.buy("home-4", 10, PRICE, replaces=77)) == Refusal.UNKNOWN_OFFER
    assert refusal(scene.buy("home-4", 10, PRICE, replaces=(1 << 64) - 1)) == Refusal.UNKNOWN_OFFER
    scene.sell("home-2", 10, PRICE)
    assert refusal(scene.buy("home-4", 10, PRICE, replaces=1)) == Refusal.UNKNOWN_OFFER
    assert scene.zone.state()["trading"]["offers"] == []


@pytest.mark.parametrize(
    "terms",
    [
        {"slot": SLOT + 3},
        {"side": Side.SELL},
        {"kind": OrderKind.MARKET},
        {"time_in_force": TimeInForce.IMMEDIATE_OR_CANCEL},
        {"time_in_force": TimeInForce.FILL_OR_KILL},
    ],
)
def test_what_is_no_limit_of_the_same_slot_and_side_replaces_nothing(
    scene: Scene, terms: dict[str, object]
) -> None:
    scene.buy("home-4", 10, PRICE)
    side = terms.pop("side", Side.BUY)
    facts = scene.offer("home-4", side, 10, PRICE, replaces=1, **terms)
    assert refusal(facts) == Refusal.BAD_REPLACEMENT
    assert [offer[2] for offer in scene.zone.state()["trading"]["offers"]] == [1]


@pytest.mark.parametrize(
    ("energy_wh", "price", "reason"),
    [
        (0, PRICE, Refusal.BAD_ENERGY),
        (10, HIGH + TICK, Refusal.PRICE_OUTSIDE_BAND),
        (10, PRICE + 1, Refusal.PRICE_OFF_TICK),
    ],
)
def test_unusable_terms_leave_the_earlier_offer_where_it_was(
    scene: Scene, energy_wh: int, price: int, reason: Refusal
) -> None:
    scene.buy("home-4", 10, PRICE)
    before = scene.zone.state()["trading"]["offers"]
    assert refusal(scene.buy("home-4", energy_wh, price, replaces=1)) == reason
    assert scene.zone.state()["trading"]["offers"] == before


def test_replacing_in_one_batch_follows_the_order_of_the_batch(scene: Scene) -> None:
    offers = (
        Offer(1, SLOT + 2, Side.BUY, 100, PRICE),
        Offer(2, SLOT + 2, Side.BUY, 50, PRICE, replaces=1),
        Offer(3, SLOT + 2, Side.BUY, 200, LOW, replaces=2),
        Offer(4, SLOT + 2, Side.BUY, 200, LOW, replaces=2),
    )
    assert said(scene.send("home-4", OfferBatch(offers))) == [
        ("rested", 1, 100),
        *(("cancelled", 1, 100), ("rested", 2, 50)),
        *(("cancelled", 2, 50), ("rested", 3, 200)),
        ("refused", 4, 200),
    ]


# ---- meeting an offer of the same account ------------------------------------------------------


def test_by_default_the_resting_offer_gives_way(scene: Scene) -> None:
    scene.sell("home-4", 100, PRICE)
    facts = scene.buy("home-4", 60, PRICE)
    assert said(facts) == [("cancelled", 1, 100), ("rested", 2, 60)]


def test_the_offer_that_comes_in_gives_way_where_it_says_so(scene: Scene) -> None:
    scene.sell("home-4", 100, PRICE)
    scene.sell("home-2", 40, LOW)
    facts = scene.buy("home-4", 60, PRICE, self_trade=SelfTrade.NEWEST)
    assert said(facts) == [("trade", 2, 1, 40), ("cancelled", 2, 20)]
    assert of(facts, OfferCancelled)[0].reason == Refusal.SELF_TRADE
    assert [offer[2] for offer in scene.zone.state()["trading"]["offers"]] == [1]


def test_both_give_way_where_it_says_so(scene: Scene) -> None:
    scene.sell("home-4", 100, PRICE)
    facts = scene.buy("home-4", 60, PRICE, self_trade=SelfTrade.BOTH)
    assert said(facts) == [("cancelled", 1, 100), ("cancelled", 2, 60)]
    assert scene.purse("home-4")[1:] == (0, 0)


def test_both_lose_the_smaller_amount_where_it_says_so(scene: Scene) -> None:
    scene.sell("home-4", 100, PRICE)
    facts = scene.buy("home-4", 60, PRICE, self_trade=SelfTrade.DECREMENT)
    assert said(facts) == [("reduced", 1, 60), ("cancelled", 2, 60)]
    assert of(facts, OfferReduced)[0].left_wh == 40
    held = 40 * unit_reserve_micro(Side.SELL, PRICE, RULES)
    assert scene.purse("home-4")[1:] == (held, held)
    assert said(scene.buy("home-2", 40, PRICE)) == [("trade", 1, 1, 40)]


def test_what_a_decrement_leaves_of_the_new_offer_trades_on_and_rests(scene: Scene) -> None:
    scene.sell("home-4", 10, LOW)
    scene.sell("home-2", 30, PRICE)
    facts = scene.buy("home-4", 60, PRICE, self_trade=SelfTrade.DECREMENT)
    assert said(facts) == [
        *(("cancelled", 1, 10), ("reduced", 2, 10)),
        *(("trade", 2, 1, 30), ("rested", 2, 20)),
    ]


def test_a_fill_or_kill_that_would_meet_its_own_account_changes_nothing(scene: Scene) -> None:
    scene.sell("home-4", 10, LOW)
    before = scene.zone.state()["trading"]["offers"]
    facts = scene.buy(
        *("home-4", 10, PRICE),
        self_trade=SelfTrade.DECREMENT,
        time_in_force=TimeInForce.FILL_OR_KILL,
    )
    assert refusal(facts) == Refusal.FILL_OR_KILL_UNFILLED
    assert scene.zone.state()["trading"]["offers"] == before


def test_a_self_trade_mode_that_nobody_knows_is_refused_as_a_payload(scene: Scene) -> None:
    chain = scene.chains["home-4"]
    message = payload_pb2.Payload()
    message.offers.offers.add(number=1, slot=SLOT + 2, energy_wh=5, self_trade=4)
    facts = scene.apply(chain.seal(message.SerializeToString()))
    assert [fact.reason for fact in of(facts, BatchRefused)] == [Refusal.MALFORMED]


def test_a_replay_comes_to_the_same_state(scene: Scene) -> None:
    scene.admit("twin", GARDEN_2, account="acc-home-4")
    for number, mode in enumerate(SelfTrade):
        scene.sell("twin", 50 + number, PRICE)
        scene.buy("home-4", 70, PRICE, self_trade=mode)
        scene.buy("home-4", 40, PRICE - TICK, replaces=scene.chains["home-4"].number)
        scene.sell("home-2", 15, LOW, replaces=number)
    assert scene.replayed() == scene.zone.state()
