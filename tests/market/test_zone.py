"""The machine as a whole: birth, admission, slots reported, replay."""

import msgspec
import pytest

from cloud.commands import (
    AdmitGateway,
    CreateSite,
    ExpelGateway,
    GrantAllowance,
    OpenZone,
    ReleaseReservation,
    ZoneRules,
)
from cloud.facts import (
    GateClosed,
    GatewayAdmitted,
    GatewayExpelled,
    OfferRefused,
    SlotMetered,
    ZoneOpened,
    ZoneRefused,
    encode_fact,
)
from cloud.market.zone import Zone
from protos.clock import SECOND_NS, SLOT_NS
from protos.ids import DeviceId
from protos.messages import Refusal
from tests.market.scene import NETWORK, RULES, SLOT, START_NS, Scene, device, ms, of

DAY_NS = 96 * SLOT_NS


def test_a_zone_opens_on_the_network_that_was_loaded() -> None:
    scene = Scene()
    assert scene.open() == [ZoneOpened("north", NETWORK.sha256, SLOT, RULES)]
    assert scene.zone.rules == RULES
    assert scene.open() == []


def test_a_zone_does_not_open_on_another_network() -> None:
    zone = Zone("north", NETWORK)
    facts = zone.apply(OpenZone("north", bytes(32), SLOT, RULES), START_NS)
    assert facts == [ZoneRefused("north", "network", Refusal.UNKNOWN_ELEMENT)]
    assert zone.open_slots(START_NS) == range(0)


def test_an_open_zones_rules_do_not_change() -> None:
    scene = Scene()
    scene.open()
    other = OpenZone("north", NETWORK.sha256, SLOT, ZoneRules(grid_fee_bps=1))
    assert scene.apply(other) == [ZoneRefused("north", "zone", Refusal.CHANGED_REPLAY)]
    assert scene.zone.rules == RULES


@pytest.mark.parametrize(
    "rules",
    [
        ZoneRules(tick_micro_per_kwh=0),
        ZoneRules(tick_micro_per_kwh=7),
        ZoneRules(tick_micro_per_kwh=1),
        ZoneRules(fallback_import_micro_per_kwh=1_000_000),
        ZoneRules(fallback_import_micro_per_kwh=10**18 + 2_200_000, tick_micro_per_kwh=10**15),
        ZoneRules(gate_closure_s=-1),
        ZoneRules(metering_deadline_s=-1),
        ZoneRules(grid_fee_bps=10_001),
        ZoneRules(trading_fee_bps=-1),
        ZoneRules(position_max_wh=0),
        ZoneRules(orders_free=-1),
        ZoneRules(opening_s=-1),
        ZoneRules(opening_s=86_400),
        ZoneRules(orders_per_trade_max=-1),
    ],
)
def test_rules_by_which_no_market_can_run_are_refused(rules: ZoneRules) -> None:
    zone = Zone("north", NETWORK)
    (fact,) = zone.apply(OpenZone("north", NETWORK.sha256, SLOT, rules), START_NS)
    assert fact == ZoneRefused("north", "rules", Refusal.BAD_PRICE)


@pytest.mark.parametrize("first_slot", [-1, SLOT + 200])
def test_the_first_slot_lies_within_a_day(first_slot: int) -> None:
    zone = Zone("north", NETWORK)
    (fact,) = zone.apply(OpenZone("north", NETWORK.sha256, first_slot, RULES), START_NS)
    assert fact == ZoneRefused("north", "first slot", Refusal.UNKNOWN_SLOT)


def test_a_zone_that_names_an_early_first_slot_reports_from_its_birth_on() -> None:
    scene = Scene()
    scene.apply(OpenZone("north", NETWORK.sha256, 0, RULES))
    scene.admit("first", 2)
    facts = of(scene.advance(START_NS + 4 * SLOT_NS), SlotMetered)
    assert [fact.slot for fact in facts] == [SLOT + 1, SLOT + 2]


def test_before_a_zone_is_open_nothing_can_be_traded_and_time_does_nothing() -> None:
    scene = Scene()
    scene.admit("early", 2)
    (fact,) = scene.buy("early", 10, 3_000_000)
    assert isinstance(fact, OfferRefused)
    assert fact.reason == Refusal.UNKNOWN_SLOT
    assert scene.advance(START_NS + DAY_NS) == []


def test_a_negative_price_band_is_a_market_too() -> None:
    scene = Scene(ZoneRules(fallback_export_micro_per_kwh=-500_000))
    scene.open()
    scene.admit("a", 2)
    scene.admit("b", 4)
    scene.sell("a", 1_000, -200_000)
    (traded,) = scene.buy("b", 1_000, -200_000)
    assert traded.price_micro_per_kwh == -200_000
    assert scene.purse("b")[2] == 0
    assert scene.purse("a")[2] == 6_000_000


def test_admission_names_a_node_of_the_network() -> None:
    scene = Scene()
    command = AdmitGateway("north", device("a"), "acc", 6)
    refused = ZoneRefused("north", device("a"), Refusal.UNKNOWN_ELEMENT)
    assert scene.apply(command) == [refused]
    assert scene.apply(AdmitGateway("north", DeviceId("nonsense"), "acc", 1)) == [
        ZoneRefused("north", "nonsense", Refusal.UNKNOWN_DEVICE)
    ]


def test_admission_is_said_once_and_cannot_move_a_gateway(scene: Scene) -> None:
    new = AdmitGateway("north", device("new"), "acc", 5)
    assert scene.apply(new) == [GatewayAdmitted("north", device("new"), "acc", 5)]
    assert scene.apply(new) == []
    moved = AdmitGateway("north", device("new"), "acc", 4)
    assert scene.apply(moved) == [ZoneRefused("north", device("new"), Refusal.CHANGED_REPLAY)]


def test_a_home_counts_from_the_slot_after_its_admission() -> None:
    scene = Scene()
    scene.open()
    scene.admit("new", 2)
    facts = of(scene.advance(START_NS + 4 * SLOT_NS), SlotMetered)
    # The slot of the admission is not reported at all: nobody counts in it.
    assert [[m.account for m in fact.meters] for fact in facts] == [["acc-new"], ["acc-new"]]


def test_expulsion_is_for_good(scene: Scene) -> None:
    me = device("home-2")
    assert scene.apply(ExpelGateway("north", me)) == [GatewayExpelled("north", me)]
    assert scene.apply(ExpelGateway("north", me)) == []
    again = AdmitGateway("north", me, "acc-home-2", 2)
    assert scene.apply(again) == [ZoneRefused("north", me, Refusal.REVOKED_DEVICE)]
    assert scene.apply(ExpelGateway("north", device("who"))) == [
        ZoneRefused("north", device("who"), Refusal.UNKNOWN_DEVICE)
    ]


def test_what_an_expelled_home_sold_is_still_counted(scene: Scene) -> None:
    scene.apply(ExpelGateway("north", device("home-2")))
    facts = of(scene.advance(START_NS + 4 * SLOT_NS), SlotMetered)
    assert all(f.meters[0].account == "acc-home-2" for f in facts)
    later = []
    for day in (1, 2):
        while new := of(scene.advance(START_NS + day * DAY_NS + 4 * SLOT_NS), SlotMetered):
            later += new
    last = max(f.slot for f in later if f.meters[0].account == "acc-home-2")
    assert last == SLOT + 96


def test_a_foreign_command_stops_the_writer(scene: Scene) -> None:
    with pytest.raises(AssertionError):
        scene.apply(CreateSite("site", "north", 1, "acc"))


def test_an_allowance_or_a_release_for_a_stranger_harms_nobody(scene: Scene) -> None:
    assert scene.apply(ReleaseReservation("north", "nobody", SLOT)) == []
    assert scene.apply(GrantAllowance("north", "nobody", 5)) == []


def test_slots_close_are_metered_and_corrected_by_time_alone(scene: Scene) -> None:
    names = ("home-2", "home-3", "home-4", "home-5")
    for name in names:
        scene.read(name, (ms(SLOT, 0), 1_000, 500), (ms(SLOT, 50), 1_010, 510))
    scene.at_ns = START_NS + SLOT_NS + SECOND_NS
    for name in names[:3]:
        scene.read(name, (ms(SLOT, 600), 1_100, 600), (ms(SLOT, 901), 1_200, 650))
    assert of(scene.advance(), SlotMetered) == []
    (first,) = of(scene.advance(START_NS + 2 * SLOT_NS), SlotMetered)
    assert (first.slot, first.revision) == (SLOT, 0)
    assert [(m.import_wh, m.export_wh, m.estimated) for m in first.meters] == [
        (199, 149, False),
        (199, 149, False),
        (199, 149, False),
        (10, 10, True),
    ]
    scene.read("home-5", (ms(SLOT, 600), 1_100, 600), (ms(SLOT, 901), 1_200, 650))
    (second,) = of(scene.advance(scene.at_ns + SECOND_NS), SlotMetered)
    assert (second.slot, second.revision) == (SLOT, 1)
    assert all(m.import_wh == 199 and not m.estimated for m in second.meters)


def test_gates_close_even_if_nobody_says_that_time_passed(scene: Scene) -> None:
    scene.at_ns = START_NS + SLOT_NS
    facts = scene.read("home-2", (ms(SLOT, 899), 1, 1))
    assert [f.slot for f in of(facts, GateClosed)] == [SLOT + 1]
    assert of(scene.advance(), GateClosed) == []


def test_flows_of_an_open_and_of_a_closed_slot_can_be_asked_for(scene: Scene) -> None:
    scene.sell("home-3", 500, 3_000_000)
    scene.buy("home-5", 500, 3_000_000)
    before = scene.zone.element_flows(SLOT + 2)
    assert [flow.power_w for flow in before] == [20_000, 6_000, -2_000, 14_000, 14_000]
    assert scene.zone.injections_w(SLOT + 2) == {3: 2_000, 5: -2_000}
    scene.advance(START_NS + 2 * SLOT_NS)
    assert scene.zone.element_flows(SLOT + 2) == before
    assert scene.zone.injections_w(SLOT + 2) == {3: 2_000, 5: -2_000}
    scene.advance(START_NS + 2 * DAY_NS)
    assert scene.zone.injections_w(SLOT + 2) == {}


def test_questions_change_nothing(scene: Scene) -> None:
    scene.sell("home-3", 500, 3_000_000)
    before = scene.zone.state()
    scene.zone.element_flows(SLOT + 50)
    scene.zone.injections_w(SLOT + 50)
    scene.zone.open_slots(scene.at_ns + 10 * SLOT_NS)
    scene.zone.durable(device("nobody"))
    scene.zone.knows(device("nobody"))
    assert scene.zone.is_open
    assert scene.zone.state() == before


def test_the_same_commands_give_the_same_state_and_the_state_can_be_hashed(scene: Scene) -> None:
    scene.sell("home-2", 1_000, 3_000_000)
    scene.buy("home-4", 1_500, 4_000_000)
    scene.read("home-2", (ms(SLOT, 30), 1, 1))
    scene.advance(START_NS + SLOT_NS)
    canonical = msgspec.msgpack.Encoder(order="deterministic")
    assert canonical.encode(scene.replayed()) == canonical.encode(scene.zone.state())


def test_every_fact_of_a_day_can_be_encoded(scene: Scene) -> None:
    facts = scene.sell("home-2", 1_000, 3_000_000) + scene.buy("home-4", 1_500, 4_000_000)
    facts += scene.buy("home-4", 0, 1, slot=(1 << 64) - 1, number=(1 << 64) - 1)
    facts += scene.advance(START_NS + 4 * SLOT_NS)
    assert all(encode_fact(fact) for fact in facts)
