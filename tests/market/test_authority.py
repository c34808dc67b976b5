"""Orders of grid authorities: other limits, curtailments, and the referee's word."""

import pytest

from cloud.commands import ExpelGateway, OrderCurtailment, OverrideLimit, RecordReferee
from cloud.facts import (
    CurtailmentPlanned,
    Fact,
    GateClosed,
    LeaseIssued,
    LimitOverridden,
    OfferRefused,
    OverrideContested,
    RefereeRecorded,
    Traded,
    ZoneRefused,
)
from cloud.market.authority import OVERRIDE_NS_MAX
from protos.clock import MINUTE_NS, SECOND_NS, SLOT_NS
from protos.limits import LEASE_NS_MAX
from protos.messages import Refusal
from tests.market.scene import (
    GARDEN_1,
    GARDEN_2,
    NETWORK,
    ORCHARD_1,
    SLOT,
    START_NS,
    TRANSFORMER,
    Scene,
    device,
    ms,
    of,
)

PRICE = 3_000_000


def override(scene: Scene, element: int, limit_w: int, until_ns: int = 0) -> list[Fact]:
    until_ns = until_ns or scene.at_ns + 86_400 * SECOND_NS
    return scene.apply(OverrideLimit("north", element, limit_w, "DSO", "works", until_ns))


def curtail(scene: Scene, element: int, limit_w: int, **more: object) -> list[Fact]:
    starts = more.get("starts_ns", scene.at_ns)
    ends = more.get("ends_ns", scene.at_ns + 3_600 * SECOND_NS)
    return scene.apply(
        OrderCurtailment("north", "order-1", element, limit_w, starts, ends, "DSO", "overload")
    )


@pytest.mark.parametrize("element", [-1, 0, 6, 1 << 40])
def test_orders_name_an_element_of_the_network(scene: Scene, element: int) -> None:
    assert override(scene, element, 1_000) == [ZoneRefused("north", "DSO", Refusal.UNKNOWN_ELEMENT)]
    assert curtail(scene, element, 1_000) == [
        ZoneRefused("north", "order-1", Refusal.UNKNOWN_ELEMENT)
    ]


@pytest.mark.parametrize("ahead_ns", [0, -1, OVERRIDE_NS_MAX + 1])
def test_an_override_ends_in_the_future_and_within_bounds(scene: Scene, ahead_ns: int) -> None:
    (fact,) = override(scene, GARDEN_1, 1_000, scene.at_ns + ahead_ns)
    assert fact == ZoneRefused("north", "DSO", Refusal.BAD_INTERVAL)


@pytest.mark.parametrize("limit_w", [-1, 1 << 60])
def test_a_limit_is_neither_negative_nor_absurd(scene: Scene, limit_w: int) -> None:
    assert override(scene, GARDEN_1, limit_w)[0].reason == Refusal.RISK_LIMIT
    assert curtail(scene, GARDEN_1, limit_w)[0].reason == Refusal.RISK_LIMIT


def test_an_override_holds_for_what_is_traded_after_it(scene: Scene) -> None:
    (fact,) = override(scene, GARDEN_2, 4_000)
    assert fact == LimitOverridden(
        "north", GARDEN_2, 4_000, "DSO", "works", scene.at_ns + 86_400 * SECOND_NS
    )
    scene.sell("home-3", 5_000, PRICE)
    (traded,) = of(scene.buy("home-2", 5_000, PRICE), Traded)
    assert traded.energy_wh == 1_000


def test_an_override_shrinks_markets_that_are_open_already(scene: Scene) -> None:
    scene.sell("home-3", 600, PRICE)
    scene.buy("home-2", 600, PRICE)
    override(scene, GARDEN_2, 4_000)
    scene.sell("home-3", 5_000, PRICE)
    (traded,) = of(scene.buy("home-2", 5_000, PRICE), Traded)
    assert traded.energy_wh == 400


def test_an_override_holds_for_buyers_too(scene: Scene) -> None:
    scene.sell("home-2", 600, PRICE)
    scene.buy("home-3", 600, PRICE)
    override(scene, GARDEN_2, 4_000)
    scene.sell("home-2", 5_000, PRICE)
    (traded,) = of(scene.buy("home-3", 5_000, PRICE), Traded)
    # A part of the limit is kept for losses towards the customers.
    assert traded.energy_wh == NETWORK.headroom_wh(SLOT + 2, {GARDEN_2: 4_000})[0][GARDEN_2] - 600


def test_below_what_is_sold_already_only_relief_is_traded(scene: Scene) -> None:
    scene.sell("home-3", 2_000, PRICE)
    scene.buy("home-2", 2_000, PRICE)
    override(scene, GARDEN_2, 4_000)
    (refused,) = scene.sell("home-3", 10, PRICE)
    assert isinstance(refused, OfferRefused)
    assert refused.reason == Refusal.NO_HEADROOM
    scene.sell("home-2", 10, PRICE)
    assert len(of(scene.buy("home-3", 10, PRICE), Traded)) == 1


def test_an_override_ends_with_its_time_slot_by_slot(scene: Scene) -> None:
    override(scene, GARDEN_2, 4_000, START_NS + 3 * SLOT_NS)
    volumes = []
    for slot in (SLOT + 2, SLOT + 3):
        scene.sell("home-3", 5_000, PRICE, slot=slot)
        volumes += [t.energy_wh for t in of(scene.buy("home-2", 5_000, PRICE, slot=slot), Traded)]
    assert volumes == [1_000, 5_000]


def test_a_lifted_limit_lets_those_trade_who_waited_for_room(scene: Scene) -> None:
    override(scene, GARDEN_2, 4_000)
    scene.sell("home-3", 5_000, PRICE)
    scene.buy("home-2", 5_000, PRICE + 1_000)
    facts = override(scene, GARDEN_2, 12_000)
    (traded,) = of(facts, Traded)
    assert (traded.energy_wh, traded.price_micro_per_kwh) == (2_000, PRICE)
    assert isinstance(facts[0], LimitOverridden)


def test_an_override_cannot_raise_a_limit_beyond_what_the_wire_bears(scene: Scene) -> None:
    _, up = NETWORK.headroom_wh(SLOT + 2, {})
    override(scene, GARDEN_2, 1 << 30)
    scene.sell("home-3", 20_000, PRICE)
    (traded,) = of(scene.buy("home-2", 20_000, PRICE), Traded)
    assert traded.energy_wh == up[GARDEN_2]


def test_the_flows_at_the_gate_stand_against_the_overridden_limit(scene: Scene) -> None:
    override(scene, GARDEN_2, 4_000)
    (fact,) = of(scene.advance(START_NS + SLOT_NS), GateClosed)[:1]
    assert {f.element: f.limit_w for f in fact.flows}[GARDEN_2] == 4_000


def test_an_override_that_is_over_is_forgotten(scene: Scene) -> None:
    override(scene, GARDEN_2, 4_000, scene.at_ns + MINUTE_NS)
    assert scene.zone.state()["markets"]["overrides"] != []
    scene.advance(scene.at_ns + MINUTE_NS)
    assert scene.zone.state()["markets"]["overrides"] == []


def feed_in(scene: Scene) -> None:
    """Garden: 9 kW and 1 kW; orchard: 5 kW."""
    for name, power_w in (("home-2", -9_000), ("home-3", -1_000), ("home-4", -5_000)):
        scene.read(name, (ms(SLOT, 30), 0, 0), power_w=power_w)


def test_a_curtailment_caps_only_who_is_below_the_element(scene: Scene) -> None:
    feed_in(scene)
    # The base takes 8 kW in the garden, so 10 kW of feed-in leave 2 kW going out.
    plan, *leases = curtail(scene, GARDEN_1, 1_000)
    assert plan == CurtailmentPlanned(
        "north",
        "order-1",
        GARDEN_1,
        1_000,
        scene.at_ns,
        scene.at_ns + 3_600 * SECOND_NS,
        "DSO",
        "overload",
        2,
    )
    caps = {lease.device: lease.export_limit_w for lease in leases}
    assert set(caps) == {device("home-2"), device("home-3")}
    assert min(9_000, caps[device("home-2")]) + min(1_000, caps[device("home-3")]) == 9_000


def test_a_lease_lasts_exactly_as_long_as_its_order_and_names_no_power(scene: Scene) -> None:
    feed_in(scene)
    starts, ends = scene.at_ns + MINUTE_NS, scene.at_ns + 11 * MINUTE_NS
    for lease in of(curtail(scene, GARDEN_1, 0, starts_ns=starts, ends_ns=ends), LeaseIssued):
        assert (lease.not_before_ns, lease.expires_ns, lease.power_w) == (starts, ends, None)
        assert lease.export_limit_w is not None
        assert lease.reason == "overload"


def test_the_same_order_gives_the_same_leases_again(scene: Scene) -> None:
    feed_in(scene)
    assert curtail(scene, GARDEN_1, 0) == curtail(scene, GARDEN_1, 0)


def test_a_curtailment_that_is_not_needed_asks_nobody(scene: Scene) -> None:
    feed_in(scene)
    (plan,) = curtail(scene, TRANSFORMER, 50_000)
    assert plan.gateways == 0


def test_expelled_gateways_are_not_asked(scene: Scene) -> None:
    feed_in(scene)
    scene.apply(ExpelGateway("north", device("home-2")))
    assert {lease.device for lease in of(curtail(scene, GARDEN_1, 0), LeaseIssued)} <= {
        device("home-3")
    }


@pytest.mark.parametrize(
    ("starts", "ends"), [(0, 0), (100, 100), (200, 100), (-200, -100), (0, LEASE_NS_MAX + 1)]
)
def test_a_curtailment_ends_after_it_starts_and_within_a_day(
    scene: Scene, starts: int, ends: int
) -> None:
    (fact,) = curtail(
        scene, ORCHARD_1, 0, starts_ns=scene.at_ns + starts, ends_ns=scene.at_ns + ends
    )
    assert fact == ZoneRefused("north", "order-1", Refusal.BAD_INTERVAL)


def test_the_referees_word_is_recorded_as_it_came(scene: Scene) -> None:
    facts = scene.apply(RecordReferee("north", SLOT, True, 3, 870, 962, 1_013))
    assert facts == [RefereeRecorded("north", SLOT, True, 3, 870, 962, 1_013)]


def ordered(
    scene: Scene, limit_w: int, authority: str, rank: int, area: str = "", hours: int = 24
) -> list[Fact]:
    until_ns = scene.at_ns + hours * 3_600 * SECOND_NS
    order = OverrideLimit("north", GARDEN_2, limit_w, authority, "works", until_ns, rank, area)
    return of(scene.apply(order), OverrideContested)


def limit_of(scene: Scene, slot: int) -> int:
    (flow,) = [f for f in scene.zone.element_flows(slot) if f.element == GARDEN_2]
    return flow.limit_w


@pytest.mark.parametrize(
    ("first", "second", "holds", "by"),
    [
        (("EGAT", 0, ""), ("PEA", 1, "north"), "EGAT", "rank"),
        (("PEA", 1, "north"), ("EGAT", 0, ""), "EGAT", "rank"),
        (("PEA", 1, "north"), ("MEA", 1, "bangkok"), "PEA", "area"),
        (("MEA", 1, "bangkok"), ("PEA", 1, "north"), "PEA", "area"),
        (("PEA", 1, "north"), ("MEA", 1, "north"), "MEA", "time"),
    ],
)
def test_of_contradicting_orders_rank_then_area_then_time_decide(
    scene: Scene, first: tuple[str, int, str], second: tuple[str, int, str], holds: str, by: str
) -> None:
    limits = {first[0]: 4_000, second[0]: 5_000}
    assert ordered(scene, 4_000, *first) == []
    yields = next(name for name in limits if name != holds)
    assert ordered(scene, 5_000, *second) == [
        OverrideContested("north", GARDEN_2, holds, limits[holds], yields, limits[yields], by)
    ]
    assert limit_of(scene, SLOT + 2) == limits[holds]


def test_an_order_that_yields_holds_when_the_stronger_one_ends(scene: Scene) -> None:
    ordered(scene, 4_000, "EGAT", 0, hours=1)
    ordered(scene, 5_000, "PEA", 1, hours=2)
    assert [limit_of(scene, SLOT + slots) for slots in (2, 6)] == [4_000, 5_000]
    assert scene.replayed() == scene.zone.state()


def test_an_authority_replaces_its_own_order_and_contradicts_nobody(scene: Scene) -> None:
    ordered(scene, 4_000, "PEA", 1)
    assert ordered(scene, 6_000, "PEA", 1) == []
    assert limit_of(scene, SLOT + 2) == 6_000


def test_orders_that_say_the_same_are_no_conflict(scene: Scene) -> None:
    ordered(scene, 4_000, "EGAT", 0)
    assert ordered(scene, 4_000, "PEA", 1) == []


def test_a_raised_limit_lets_waiting_offers_trade(scene: Scene) -> None:
    ordered(scene, 4_000, "EGAT", 0)
    scene.sell("home-3", 5_000, PRICE)
    assert sum(f.energy_wh for f in of(scene.buy("home-2", 5_000, PRICE), Traded)) == 1_000
    until_ns = scene.at_ns + 86_400 * SECOND_NS
    raised = OverrideLimit("north", GARDEN_2, 8_000, "EGAT", "works", until_ns, 0, "")
    assert sum(f.energy_wh for f in of(scene.apply(raised), Traded)) == 1_000
