"""Offers: each refusal, trading, reservations and cancellations."""

import pytest

from cloud.commands import ExpelGateway, GrantAllowance, ReleaseReservation, ZoneRules
from cloud.facts import (
    Fact,
    GateClosed,
    OfferCancelled,
    OfferRefused,
    OfferRested,
    Traded,
)
from cloud.market import trading
from cloud.market.risk import owed_micro
from protos.clock import MINUTE_NS, SLOT_NS, slot_start_ns
from protos.limits import (
    OFFER_ENERGY_WH_MAX,
    OPEN_OFFERS_PER_DEVICE_MAX,
    PRICE_MICRO_PER_KWH_MAX,
    SLOTS_AHEAD_MAX,
)
from protos.messages import Cancel, Offer, OfferBatch, OrderKind, Refusal, Side, TimeInForce
from protos.units import val
from tests.market.scene import (
    BAHT,
    GARDEN_1,
    GARDEN_2,
    METER_MAP,
    NETWORK,
    ORCHARD_1,
    RULES,
    SLOT,
    SOLAR_MAP,
    START_NS,
    Scene,
    device,
    of,
)

LOW, HIGH = RULES.fallback_export_micro_per_kwh, RULES.fallback_import_micro_per_kwh
PRICE = 3_000_000


def refusal(facts: list[Fact]) -> int:
    (fact,) = facts
    assert isinstance(fact, OfferRefused), fact
    return fact.reason


# ---- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize("energy_wh", [0, -1, OFFER_ENERGY_WH_MAX + 1, -(1 << 62), 1 << 62])
def test_an_offer_of_no_or_too_much_energy_is_refused(scene: Scene, energy_wh: int) -> None:
    assert refusal(scene.sell("home-2", energy_wh, PRICE)) == Refusal.BAD_ENERGY


@pytest.mark.parametrize(
    "price", [PRICE_MICRO_PER_KWH_MAX + 1, -PRICE_MICRO_PER_KWH_MAX - 1, 1 << 62]
)
def test_a_price_that_money_cannot_carry_is_refused(scene: Scene, price: int) -> None:
    assert refusal(scene.sell("home-2", 10, price)) == Refusal.BAD_PRICE


@pytest.mark.parametrize("price", [LOW - 1_000, HIGH + 1_000, 0, -PRICE])
def test_a_price_outside_the_band_is_refused(scene: Scene, price: int) -> None:
    assert refusal(scene.buy("home-2", 10, price)) == Refusal.PRICE_OUTSIDE_BAND


@pytest.mark.parametrize("price", [LOW, HIGH])
def test_both_ends_of_the_band_are_inside(scene: Scene, price: int) -> None:
    (fact,) = scene.buy("home-2", 10, price)
    assert isinstance(fact, OfferRested)


def test_a_price_between_ticks_is_refused(scene: Scene) -> None:
    assert refusal(scene.buy("home-2", 10, PRICE + 1)) == Refusal.PRICE_OFF_TICK


@pytest.mark.parametrize("slot", [SLOT - 1, 0, SLOT + SLOTS_AHEAD_MAX + 1, (1 << 64) - 1])
def test_a_slot_outside_the_market_is_refused(scene: Scene, slot: int) -> None:
    assert refusal(scene.buy("home-2", 10, PRICE, slot=slot)) == Refusal.UNKNOWN_SLOT


def test_the_running_slot_is_closed_and_the_last_of_the_day_is_open(scene: Scene) -> None:
    assert refusal(scene.buy("home-2", 10, PRICE, slot=SLOT)) == Refusal.GATE_CLOSED
    last = SLOT + SLOTS_AHEAD_MAX
    assert isinstance(scene.buy("home-2", 10, PRICE, slot=last)[0], OfferRested)
    assert scene.zone.open_slots(scene.at_ns) == range(SLOT + 1, last + 1)


def test_a_gate_closes_five_minutes_before_delivery_to_the_nanosecond(scene: Scene) -> None:
    gate_ns = START_NS + 2 * SLOT_NS - 5 * MINUTE_NS
    scene.at_ns = gate_ns - 1
    assert isinstance(scene.buy("home-2", 10, PRICE)[0], OfferRested)
    scene.at_ns = gate_ns
    assert refusal(scene.buy("home-2", 10, PRICE)) == Refusal.GATE_CLOSED


def test_an_offer_number_is_used_once_even_by_a_refused_offer(scene: Scene) -> None:
    scene.buy("home-2", 0, PRICE, number=7)
    assert refusal(scene.buy("home-2", 10, PRICE, number=7)) == Refusal.DUPLICATE_NUMBER
    assert refusal(scene.buy("home-2", 10, PRICE, number=3)) == Refusal.DUPLICATE_NUMBER
    assert isinstance(scene.buy("home-2", 10, PRICE, number=8)[0], OfferRested)


def test_offer_numbers_start_at_one(scene: Scene) -> None:
    assert refusal(scene.buy("home-2", 10, PRICE, number=0)) == Refusal.DUPLICATE_NUMBER


@pytest.mark.parametrize("kind", [OrderKind.GRID_BALANCING, OrderKind.EMERGENCY])
def test_a_home_cannot_claim_a_grid_authoritys_priority(scene: Scene, kind: OrderKind) -> None:
    assert refusal(scene.sell("home-2", 10, PRICE, kind=kind)) == Refusal.NOT_AUTHORISED


def test_the_open_offers_of_a_gateway_are_bounded(scene: Scene) -> None:
    for turn in range(OPEN_OFFERS_PER_DEVICE_MAX):
        slot = SLOT + 2 + turn % 4  # Fewer for each slot than the order-to-trade throttle lets.
        assert isinstance(scene.sell("home-2", 1, PRICE, slot=slot)[0], OfferRested)
    assert refusal(scene.sell("home-2", 1, PRICE)) == Refusal.TOO_MANY_OPEN_OFFERS
    scene.send("home-2", OfferBatch(cancels=(Cancel(1),)))
    assert isinstance(scene.sell("home-2", 1, PRICE)[0], OfferRested)


def test_the_open_offers_of_a_zone_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trading, "OPEN_OFFERS_PER_ZONE_MAX", 3)
    scene = Scene()
    scene.open()
    scene.admit("a", 2)
    scene.admit("b", 4)
    for _ in range(3):
        scene.sell("a", 10, PRICE)
    before = scene.purse("b")
    assert refusal(scene.buy("b", 10, LOW)) == Refusal.TOO_MANY_OPEN_OFFERS
    assert scene.purse("b") == before


def test_open_and_traded_energy_of_one_side_share_the_position_limit() -> None:
    scene = Scene(ZoneRules(position_max_wh=1_000))
    scene.open()
    scene.admit("a", 2)
    scene.admit("b", 4)
    scene.sell("a", 600, PRICE)
    scene.buy("b", 300, PRICE)
    assert refusal(scene.sell("a", 401, PRICE)) == Refusal.POSITION_LIMIT
    assert isinstance(scene.sell("a", 400, PRICE)[0], OfferRested)
    assert isinstance(scene.buy("a", 1_000, LOW)[0], OfferRested)
    assert isinstance(scene.sell("a", 1_000, PRICE, slot=SLOT + 3)[0], OfferRested)


def test_an_offer_beyond_the_allowance_is_refused_and_one_within_it_is_not(scene: Scene) -> None:
    # 3 baht and 5 % a kWh, and 2 micro-baht a Wh for rounding: 3152 a Wh.
    scene.apply(GrantAllowance("north", "acc-home-2", 3_152_000))
    assert refusal(scene.buy("home-2", 1_001, PRICE)) == Refusal.NO_ALLOWANCE
    assert isinstance(scene.buy("home-2", 1_000, PRICE)[0], OfferRested)
    assert refusal(scene.buy("home-2", 1, PRICE)) == Refusal.NO_ALLOWANCE


def test_a_seller_reserves_what_replacing_its_energy_may_cost_more(scene: Scene) -> None:
    scene.apply(GrantAllowance("north", "acc-home-2", 2_802_000))
    assert refusal(scene.sell("home-2", 1_001, PRICE)) == Refusal.NO_ALLOWANCE
    assert isinstance(scene.sell("home-2", 1_000, PRICE)[0], OfferRested)


def test_selling_at_the_import_tariff_needs_no_money(scene: Scene) -> None:
    scene.apply(GrantAllowance("north", "acc-home-2", 0))
    assert isinstance(scene.sell("home-2", 1_000, HIGH)[0], OfferRested)


def test_a_lowered_allowance_takes_back_the_newest_offers_that_it_cannot_carry(
    scene: Scene,
) -> None:
    for _ in range(3):
        scene.buy("home-2", 1_000, PRICE)
    scene.sell("home-2", 5, HIGH)
    facts = scene.apply(GrantAllowance("north", "acc-home-2", 2 * 3_152_000 - 1))
    assert [(f.number, f.energy_wh, f.reason) for f in of(facts, OfferCancelled)] == [
        (3, 1_000, Refusal.NO_ALLOWANCE),
        (2, 1_000, Refusal.NO_ALLOWANCE),
    ]
    assert scene.purse("home-2") == (2 * 3_152_000 - 1, 3_152_000, 3_152_000)


def test_what_was_traded_stands_even_if_the_allowance_falls_below_it(scene: Scene) -> None:
    scene.sell("home-4", 1_000, PRICE)
    scene.buy("home-2", 1_000, PRICE)
    assert scene.apply(GrantAllowance("north", "acc-home-2", 1)) == []
    assert scene.purse("home-2")[2] == 3_150_000
    assert refusal(scene.buy("home-2", 1, LOW)) == Refusal.NO_ALLOWANCE
    assert isinstance(scene.sell("home-2", 1, HIGH)[0], OfferRested)


def test_an_account_without_an_allowance_cannot_buy(scene: Scene) -> None:
    scene.admit("poor", 2, allowance=0)
    assert refusal(scene.buy("poor", 1, LOW)) == Refusal.NO_ALLOWANCE


def test_an_offer_is_refused_only_when_its_own_connection_is_full(scene: Scene) -> None:
    room = NETWORK.headroom_wh(SLOT + 2, {})[1][GARDEN_2]
    scene.sell("home-3", room, PRICE)
    scene.buy("home-2", room, PRICE)
    assert refusal(scene.sell("home-3", 1, PRICE)) == Refusal.NO_HEADROOM
    # The other direction relieves the line, and the neighbours' lines have room.
    assert isinstance(scene.buy("home-3", 1, LOW)[0], OfferRested)
    assert isinstance(scene.sell("home-2", 1, HIGH)[0], OfferRested)


def test_a_refused_offer_names_itself_and_changes_no_reservation(scene: Scene) -> None:
    assert scene.buy("home-2", 0, PRICE) == [
        OfferRefused("north", SLOT + 2, device("home-2"), 1, 0, Refusal.BAD_ENERGY)
    ]
    assert scene.purse("home-2")[1:] == (0, 0)


# ---- trading -------------------------------------------------------------------------------


def test_two_offers_meet_at_the_price_of_the_one_that_was_first(scene: Scene) -> None:
    assert scene.sell("home-2", 1_000, PRICE) == [
        OfferRested("north", SLOT + 2, device("home-2"), 1, "acc-home-2", Side.SELL, 1_000, PRICE)
    ]
    traded, rested = scene.buy("home-4", 1_500, PRICE + 500_000)
    assert traded == Traded(
        "north",
        SLOT + 2,
        1,
        1_000,
        PRICE,
        "acc-home-4",
        device("home-4"),
        1,
        "acc-home-2",
        device("home-2"),
        1,
    )
    assert (rested.energy_wh, rested.price_micro_per_kwh) == (500, PRICE + 500_000)


def test_trades_are_counted_over_all_slots_of_the_zone(scene: Scene) -> None:
    numbers = []
    for slot in (SLOT + 2, SLOT + 5, SLOT + 3):
        scene.sell("home-2", 10, PRICE, slot=slot)
        numbers += [f.trade for f in of(scene.buy("home-4", 10, PRICE, slot=slot), Traded)]
    assert numbers == [1, 2, 3]


def test_offers_for_different_slots_never_meet(scene: Scene) -> None:
    scene.sell("home-2", 10, PRICE, slot=SLOT + 2)
    assert isinstance(scene.buy("home-4", 10, PRICE, slot=SLOT + 3)[0], OfferRested)


def test_a_trade_turns_reservations_into_what_the_bank_will_make_pending(scene: Scene) -> None:
    scene.sell("home-2", 1_000, PRICE)
    scene.buy("home-4", 1_000, PRICE + 500_000)
    assert scene.purse("home-2")[1:] == (0, val(1_000, HIGH) - val(1_000, PRICE))
    assert scene.purse("home-4")[1:] == (0, 3 * BAHT + 3 * BAHT * 5 // 100)


def test_money_stays_reserved_until_the_bank_releases_the_slot(scene: Scene) -> None:
    scene.sell("home-2", 1_000, PRICE)
    scene.buy("home-4", 1_000, PRICE)
    scene.advance(START_NS + 3 * SLOT_NS)
    assert scene.purse("home-4")[2] > 0
    scene.apply(ReleaseReservation("north", "acc-home-4", SLOT + 3))
    assert scene.purse("home-4")[2] > 0
    scene.apply(ReleaseReservation("north", "acc-home-4", SLOT + 2))
    assert scene.purse("home-4")[1:] == (0, 0)
    scene.apply(ReleaseReservation("north", "acc-home-4", SLOT + 2))
    assert scene.purse("home-4")[1:] == (0, 0)


@pytest.mark.parametrize("price", [LOW, PRICE, 4_321_000, HIGH])
def test_splitting_an_offer_into_many_trades_never_costs_more_than_was_reserved(
    scene: Scene, price: int
) -> None:
    scene.buy("home-4", 200, price)
    reserved = scene.purse("home-4")[2]
    for _ in range(200):
        scene.sell("home-2", 1, price)
        assert scene.purse("home-4")[2] <= reserved
        reserved = scene.purse("home-4")[2]
    assert reserved == 200 * owed_micro(Side.BUY, 1, price, RULES)


def test_a_cancel_frees_what_was_reserved(scene: Scene) -> None:
    scene.buy("home-4", 1_000, PRICE)
    (accepted, fact) = scene.send("home-4", OfferBatch(cancels=(Cancel(1),)))
    assert fact == OfferCancelled("north", SLOT + 2, device("home-4"), 1, 1_000, 0)
    assert accepted.offers == 0
    assert scene.purse("home-4")[1:] == (0, 0)
    again = scene.send("home-4", OfferBatch(cancels=(Cancel(1),)))[1:]
    assert refusal(again) == Refusal.UNKNOWN_OFFER


def test_only_the_owner_can_cancel(scene: Scene) -> None:
    scene.buy("home-4", 1_000, PRICE)
    facts = scene.send("home-3", OfferBatch(cancels=(Cancel(1),)))[1:]
    assert refusal(facts) == Refusal.UNKNOWN_OFFER


def test_withdrawals_of_a_batch_make_room_for_its_offers(scene: Scene) -> None:
    scene.apply(GrantAllowance("north", "acc-home-2", 3_152_000))
    scene.buy("home-2", 1_000, PRICE)
    batch = OfferBatch((Offer(2, SLOT + 2, Side.BUY, 1_000, PRICE),), (Cancel(1),))
    kinds = [type(fact) for fact in scene.send("home-2", batch)[1:]]
    assert kinds == [OfferCancelled, OfferRested]


def test_a_market_offer_takes_what_is_there_and_never_rests(scene: Scene) -> None:
    assert refusal(scene.buy("home-4", 100, 0, kind=OrderKind.MARKET)) == Refusal.MARKET_UNFILLED
    scene.sell("home-2", 60, HIGH)
    traded, left = scene.buy("home-4", 100, 0, kind=OrderKind.MARKET)
    assert (traded.energy_wh, traded.price_micro_per_kwh) == (60, HIGH)
    assert left == OfferCancelled(
        "north", SLOT + 2, device("home-4"), 2, 40, Refusal.MARKET_UNFILLED
    )
    assert scene.purse("home-4")[1] == 0


def test_a_market_sale_goes_down_to_the_export_tariff(scene: Scene) -> None:
    scene.buy("home-4", 60, LOW)
    (traded,) = of(scene.sell("home-2", 60, 0, kind=OrderKind.MARKET), Traded)
    assert traded.price_micro_per_kwh == LOW


def test_an_immediate_offer_keeps_to_its_limit_and_gives_back_the_rest(scene: Scene) -> None:
    scene.sell("home-2", 60, PRICE)
    scene.sell("home-3", 60, PRICE + 1_000)
    traded, left = scene.buy("home-4", 100, PRICE, time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL)
    assert (traded.energy_wh, left.energy_wh, left.reason) == (60, 40, Refusal.MARKET_UNFILLED)


def test_fill_or_kill_is_all_or_nothing(scene: Scene) -> None:
    scene.sell("home-2", 60, PRICE)
    before = scene.purse("home-2"), scene.purse("home-4")
    kill = {"time_in_force": TimeInForce.FILL_OR_KILL}
    assert refusal(scene.buy("home-4", 61, PRICE, **kill)) == Refusal.FILL_OR_KILL_UNFILLED
    assert (scene.purse("home-2"), scene.purse("home-4")) == before
    (traded,) = scene.buy("home-4", 60, PRICE, **kill)
    assert traded.energy_wh == 60


def test_an_account_never_trades_with_itself(scene: Scene) -> None:
    scene.sell("home-2", 60, PRICE)
    cancelled, rested = scene.buy("home-2", 60, PRICE)
    assert cancelled == OfferCancelled(
        "north", SLOT + 2, device("home-2"), 1, 60, Refusal.SELF_TRADE
    )
    assert isinstance(rested, OfferRested)


def test_two_gateways_of_one_account_do_not_trade_either(scene: Scene) -> None:
    scene.admit("twin", 5, account="acc-home-2")
    scene.sell("home-2", 60, PRICE)
    assert of(scene.buy("twin", 60, PRICE), Traded) == []


def test_renewable_sellers_come_first_at_the_same_price(scene: Scene) -> None:
    scene.send("home-3", SOLAR_MAP)
    scene.sell("home-2", 60, PRICE)
    scene.sell("home-3", 60, PRICE, renewable=True)
    (traded,) = scene.buy("home-4", 60, PRICE)
    assert traded.seller == "acc-home-3"


def test_a_home_without_panels_cannot_claim_to_be_renewable(scene: Scene) -> None:
    scene.send("home-3", METER_MAP)
    scene.sell("home-2", 60, PRICE)
    scene.sell("home-3", 60, PRICE, renewable=True)
    (traded,) = scene.buy("home-4", 60, PRICE)
    assert traded.seller == "acc-home-2"


def test_an_offer_that_the_grid_lets_nothing_through_to_rests(scene: Scene) -> None:
    # Between the garden and the orchard both first lines are crossed; what is beyond them waits.
    down, up = NETWORK.headroom_wh(SLOT + 2, {})
    room = min(up[GARDEN_1], down[ORCHARD_1])
    scene.sell("home-2", 20_000, PRICE)
    traded, rested = scene.buy("home-4", 20_000, PRICE)
    assert (traded.energy_wh, rested.energy_wh) == (room, 20_000 - room)


def test_expulsion_withdraws_every_offer(scene: Scene) -> None:
    scene.sell("home-2", 60, PRICE)
    scene.sell("home-2", 70, PRICE, slot=SLOT + 3)
    facts = of(scene.apply(ExpelGateway("north", device("home-2"))), OfferCancelled)
    assert [(f.energy_wh, f.reason) for f in facts] == [
        (60, Refusal.REVOKED_DEVICE),
        (70, Refusal.REVOKED_DEVICE),
    ]
    assert scene.purse("home-2")[1:] == (0, 0)


# ---- gates ---------------------------------------------------------------------------------


def test_a_closing_gate_cancels_what_waits_and_sums_up_the_slot(scene: Scene) -> None:
    scene.sell("home-2", 1_000, PRICE)
    scene.buy("home-4", 400, PRICE)
    facts = scene.advance(START_NS + 2 * SLOT_NS - 5 * MINUTE_NS)
    closed = of(facts, GateClosed)
    assert [f.slot for f in closed] == [SLOT + 1, SLOT + 2]
    assert of(facts, OfferCancelled) == [
        OfferCancelled("north", SLOT + 2, device("home-2"), 1, 600, Refusal.GATE_CLOSED)
    ]
    fact = closed[1]
    assert (fact.trades, fact.volume_wh, fact.last_price_micro_per_kwh) == (1, 400, PRICE)
    assert scene.purse("home-2")[1] == 0


def test_the_flows_at_the_gate_are_the_base_and_the_trades(scene: Scene) -> None:
    scene.sell("home-3", 500, PRICE)
    scene.buy("home-5", 500, PRICE)
    facts = of(scene.advance(START_NS + 2 * SLOT_NS), GateClosed)
    base, traded = ({flow.element: flow.power_w for flow in fact.flows} for fact in facts)
    assert base == {1: 20_000, 2: 8_000, 3: 0, 4: 12_000, 5: 12_000}
    # 500 Wh in a quarter hour are 2 kW, out of the garden and into the orchard.
    assert traded == {1: 20_000, 2: 6_000, 3: -2_000, 4: 14_000, 5: 14_000}
    ratios = [abs(flow.power_w) / flow.limit_w for flow in facts[1].flows]
    assert ratios == sorted(ratios, reverse=True)


def test_after_a_stop_of_a_week_only_slots_that_were_open_are_closed(scene: Scene) -> None:
    scene.sell("home-2", 1_000, PRICE, slot=SLOT + SLOTS_AHEAD_MAX)
    facts = scene.advance(START_NS + 7 * 96 * SLOT_NS)
    assert len(of(facts, GateClosed)) <= SLOTS_AHEAD_MAX + 1
    assert [f.slot for f in of(facts, OfferCancelled)] == [SLOT + SLOTS_AHEAD_MAX]
    today = SLOT + 7 * 96
    assert scene.zone.open_slots(scene.at_ns) == range(today + 1, today + 97)
    assert isinstance(scene.buy("home-4", 10, PRICE, slot=today + 96)[0], OfferRested)


def test_every_slot_has_a_book_of_its_own_however_long_the_zone_runs(scene: Scene) -> None:
    for slot in range(SLOT + 2, SLOT + 300):
        scene.at_ns = slot_start_ns(slot - 1)
        scene.sell("home-2", 10, PRICE, slot=slot)
        assert len(of(scene.buy("home-4", 4, PRICE, slot=slot), Traded)) == 1


def test_every_day_has_its_own_books(scene: Scene) -> None:
    for day in range(3):
        scene.at_ns = START_NS + day * 96 * SLOT_NS + MINUTE_NS
        for ahead in (1, 50, 96):
            slot = SLOT + day * 96 + ahead
            scene.sell("home-2", 10, PRICE, slot=slot)
            assert len(of(scene.buy("home-4", 10, PRICE, slot=slot), Traded)) == 1
