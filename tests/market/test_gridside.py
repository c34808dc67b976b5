"""The grid's side of a zone: outages suspend, meters alarm, envelopes bind, reserves are fair."""

import pytest

from cloud.commands import (
    FollowSignal,
    GridRules,
    HomeCut,
    OptOut,
    OrderCurtailment,
    OrderDemandResponse,
    OrderReserve,
    Redispatch,
    SetGridRules,
    SurveyGrid,
)
from cloud.facts import (
    EnvelopesSet,
    GridRulesSet,
    LeaseIssued,
    OfferCancelled,
    OfferRefused,
    OfferRested,
    OutageChanged,
    QualityAlarm,
    Redispatched,
    ReserveActivated,
    ResponseCalled,
    ResponseEnded,
    SignalFollowed,
    Traded,
    ZoneRefused,
)
from cloud.gate.news import lease_order
from cloud.grid.quality import Level
from protos.clock import MINUTE_NS, SECOND_NS, SLOT_NS
from protos.messages import (
    ClockQuality,
    DeviceEntry,
    Quantity,
    Refusal,
    RegisterEntry,
    RegisterMap,
    Role,
    SweepBatch,
)
from tests.market.scene import (
    GARDEN_1,
    GARDEN_2,
    METER_MAP,
    NETWORK,
    ORCHARD_1,
    SLOT,
    START_NS,
    TRANSFORMER,
    Scene,
    device,
    of,
)

PRICE = 3_000_000
HOMES = ("home-2", "home-3", "home-4", "home-5")
FULL_MAP = RegisterMap(
    3,
    (*METER_MAP.devices, DeviceEntry("store", Role.BATTERY, "test/battery", 1)),
    (
        *METER_MAP.registers,
        *(RegisterEntry(0, Quantity.VOLTAGE_MV, phase) for phase in (1, 2, 3)),
        RegisterEntry(0, Quantity.FREQUENCY_MHZ),
        RegisterEntry(1, Quantity.POWER_W),
        RegisterEntry(1, Quantity.STATE_OF_CHARGE_PER_MILLE),
        RegisterEntry(1, Quantity.CAPACITY_WH),
        RegisterEntry(1, Quantity.POWER_MAX_CHARGE_W),
        RegisterEntry(1, Quantity.POWER_MAX_DISCHARGE_W),
    ),
)


def tell(scene, name, *, grid_w=0, volts=(230, 230, 230), hertz=50.0, battery_w=0, soc=500):
    """One reading of everything a full home measures, now."""
    if 3 not in scene.zone._gateways[device(name)].maps:
        scene.send(name, FULL_MAP)
    values = [0, 0, grid_w, *(v * 1_000 for v in volts), int(hertz * 1_000), battery_w, soc]
    values += [10_000, 4_000, 5_000]
    at_ms = scene.at_ns // 1_000_000
    batch = SweepBatch(
        3, 1, 1, ClockQuality.SYNCHRONISED, ((at_ms,),) * 2, tuple((v,) for v in values)
    )
    return scene.send(name, batch)


def survey(scene, after_s=0):
    scene.at_ns += after_s * SECOND_NS
    return scene.apply(SurveyGrid("north"))


def all_talk(scene, names=HOMES, **more):
    for name in names:
        tell(scene, name, **more)


# ---- outages ----------------------------------------------------------------------------------


def go_dark(scene, names=("home-2", "home-3")):
    """Everybody talks for a while, then only the others do."""
    for _ in range(8):
        all_talk(scene)
        assert of(survey(scene, 10), OutageChanged) == []
    facts = []
    for _ in range(12):
        all_talk(scene, [name for name in HOMES if name not in names])
        facts += survey(scene, 10)
    return facts


def test_a_subtree_that_falls_silent_is_an_outage_and_its_offers_go(scene: Scene) -> None:
    scene.sell("home-2", 500, PRICE)
    scene.sell("home-4", 500, PRICE)
    facts = go_dark(scene)
    (outage,) = of(facts, OutageChanged)
    assert (outage.element, outage.is_out, outage.gateways) == (GARDEN_1, True, 2)
    (gone,) = of(facts, OfferCancelled)
    assert (gone.device, gone.reason) == (device("home-2"), Refusal.SUSPENDED)
    assert scene.replayed() == scene.zone.state()


def test_below_an_outage_nobody_trades_near_slots_and_all_others_do(scene: Scene) -> None:
    go_dark(scene)
    (refused,) = of(scene.buy("home-3", 500, PRICE), OfferRefused)
    assert refused.reason == Refusal.SUSPENDED
    assert of(scene.buy("home-3", 500, PRICE, slot=SLOT + 40), OfferRested)
    scene.sell("home-4", 500, PRICE)
    assert of(scene.buy("home-5", 500, PRICE), Traded)


def test_when_the_homes_are_heard_again_they_trade_again(scene: Scene) -> None:
    go_dark(scene)
    all_talk(scene)
    (over,) = of(survey(scene), OutageChanged)
    assert (over.element, over.is_out) == (GARDEN_1, False)
    assert of(scene.buy("home-3", 500, PRICE), OfferRested)


def test_a_meter_without_voltage_is_a_last_gasp(scene: Scene) -> None:
    all_talk(scene)
    scene.at_ns += SECOND_NS
    tell(scene, "home-3", volts=(0, 0, 0))
    (outage,) = of(survey(scene, 1), OutageChanged)
    assert (outage.element, outage.gasps, outage.is_out) == (GARDEN_2, 1, True)


def test_phases_that_are_not_connected_are_neither_a_gasp_nor_a_low_voltage(scene: Scene) -> None:
    all_talk(scene, volts=(231, 0, 0))
    assert of(survey(scene, 120), OutageChanged) == []
    all_talk(scene, volts=(231, 0, 0))
    assert of(survey(scene), QualityAlarm) == []


def test_when_the_cloud_itself_is_deaf_nobody_is_suspended(scene: Scene) -> None:
    all_talk(scene)
    assert of(survey(scene, 3_600), OutageChanged) == []


def test_a_gateway_that_speaks_seldom_is_not_silent_at_once(scene: Scene) -> None:
    for _ in range(4):
        all_talk(scene)
        for _ in range(12):
            all_talk(scene, HOMES[2:])
            assert of(survey(scene, 10), OutageChanged) == []


# ---- frequency and voltage --------------------------------------------------------------------


def test_a_voltage_alarms_once_it_lasts_and_ends_well_inside_its_band(scene: Scene) -> None:
    def seen(volts):
        tell(scene, "home-2", volts=(volts, 230, 230))
        return [(f.subject, f.level, f.value) for f in of(survey(scene, 30), QualityAlarm)]

    assert [seen(254), seen(254)] == [[], []]
    assert seen(255) == [(device("home-2"), Level.HIGH, 1_109)]
    assert [seen(255), seen(252), seen(252)] == [[], [], []]
    assert [seen(250) for _ in range(3)] == [[], [], [(device("home-2"), Level.NORMAL, 1_087)]]
    assert scene.replayed() == scene.zone.state()


def test_frequency_is_the_median_so_one_meter_can_neither_raise_nor_hide_it(scene: Scene) -> None:
    for hertz in (50.0, 50.0, 46.0):
        all_talk(scene)
        tell(scene, "home-2", hertz=hertz)
        assert of(survey(scene, 5), QualityAlarm) == []
    all_talk(scene, hertz=46.5)
    scene.at_ns += SECOND_NS
    tell(scene, "home-2", hertz=50.0)
    (alarm,) = of(survey(scene, 5), QualityAlarm)
    assert (alarm.subject, alarm.level) == ("frequency", Level.CRITICAL_LOW)


def test_thresholds_are_the_zones_own_and_journaled(scene: Scene) -> None:
    rules = GridRules(voltage_high=1_050, voltage_hold_s=0)
    assert scene.apply(SetGridRules("north", rules)) == [GridRulesSet("north", rules)]
    assert scene.apply(SetGridRules("north", rules)) == []
    tell(scene, "home-2", volts=(243, 243, 243))
    (alarm,) = of(survey(scene, 1), QualityAlarm)
    assert alarm.level == Level.HIGH


@pytest.mark.parametrize(
    "rules",
    [
        GridRules(voltage_low=1_200),
        GridRules(frequency_back_mhz=5_000),
        GridRules(silent_s=0),
        GridRules(voltage_rated_mv=0),
        GridRules(suspend_slots=-1),
    ],
)
def test_rules_that_contradict_themselves_are_refused(scene: Scene, rules: GridRules) -> None:
    assert scene.apply(SetGridRules("north", rules)) == [
        ZoneRefused("north", "grid rules", Refusal.MALFORMED)
    ]


# ---- envelopes --------------------------------------------------------------------------------


def at_gate(scene):
    """The gate of the next slot has closed, and the zone has been told."""
    return scene.advance(START_NS + SLOT_NS - 4 * MINUTE_NS)


def test_every_closed_slot_has_an_envelope_for_every_home_and_only_once(scene: Scene) -> None:
    at_gate(scene)
    (fact,) = of(survey(scene), EnvelopesSet)
    assert fact.slot == SLOT + 1
    assert {home.device for home in fact.homes} == set(map(device, HOMES))
    assert all(home.export_limit_w > 0 < home.import_limit_w for home in fact.homes)
    assert survey(scene, 1) == []


def test_an_envelope_that_binds_becomes_a_lease_for_exactly_its_slot(scene: Scene) -> None:
    scene.apply(SetGridRules("north", GridRules(envelopes=True, connection_export_w=1 << 30)))
    all_talk(scene)
    at_gate(scene)
    facts = survey(scene)
    (fact,) = of(facts, EnvelopesSet)
    limits = {home.device: home.export_limit_w for home in fact.homes}
    leases = of(facts, LeaseIssued)
    assert {lease.device: lease.export_limit_w for lease in leases} == limits
    for lease in leases:
        assert (lease.not_before_ns, lease.expires_ns) == (
            (SLOT + 1) * SLOT_NS,
            (SLOT + 2) * SLOT_NS,
        )


def test_an_envelope_of_draw_that_binds_is_sent_to_homes_with_a_battery(scene: Scene) -> None:
    rules = GridRules(envelopes=True, connection_export_w=0, connection_import_w=1 << 30)
    scene.apply(SetGridRules("north", rules))
    all_talk(scene)
    at_gate(scene)
    facts = survey(scene)
    (fact,) = of(facts, EnvelopesSet)
    limits = {home.device: home.import_limit_w for home in fact.homes}
    leases = of(facts, LeaseIssued)
    assert leases
    for lease in leases:
        assert (lease.import_limit_w, lease.export_limit_w) == (limits[lease.device], None)
        assert lease_order(lease).import_limit_w == limits[lease.device]
    assert scene.replayed() == scene.zone.state()


def test_an_envelope_never_loosens_a_curtailment(scene: Scene) -> None:
    scene.apply(SetGridRules("north", GridRules(envelopes=True, connection_export_w=1 << 30)))
    all_talk(scene, grid_w=-9_000)
    ends_ns = scene.at_ns + 3_600 * SECOND_NS
    order = OrderCurtailment("north", "c", GARDEN_1, 0, scene.at_ns, ends_ns, "DSO", "x")
    caps = {f.device: f.export_limit_w for f in of(scene.apply(order), LeaseIssued)}
    assert caps
    at_gate(scene)
    leases = {f.device: f.export_limit_w for f in of(survey(scene), LeaseIssued)}
    assert all(leases[name] <= cap for name, cap in caps.items())


def test_with_all_homes_at_their_envelope_no_element_passes_its_room(scene: Scene) -> None:
    scene.sell("home-3", 1_000, PRICE)
    scene.buy("home-5", 1_000, PRICE)
    fact = None
    scene.advance((SLOT + 2) * SLOT_NS - 4 * MINUTE_NS)
    (fact,) = of(survey(scene), EnvelopesSet)
    assert fact.slot == SLOT + 2
    capacity = NETWORK.capacity_w(fact.slot, {})
    nodes = {device(f"home-{node}"): node for node in (2, 3, 4, 5)}
    flow = [0] * NETWORK.size
    for home in fact.homes:
        for element in NETWORK.path(nodes[home.device]):
            flow[element] -= home.export_limit_w
    assert all(flow[e] >= -capacity[e] for e in range(1, NETWORK.size))


# ---- re-dispatch ------------------------------------------------------------------------------


def test_a_redispatch_keeps_the_trade_and_says_what_the_operator_owes(scene: Scene) -> None:
    scene.sell("home-3", 2_000, PRICE)
    scene.buy("home-5", 2_000, PRICE)
    scene.advance((SLOT + 2) * SLOT_NS - 4 * MINUTE_NS)
    cut = HomeCut(device("home-3"), 1_500)
    order = Redispatch("north", SLOT + 2, GARDEN_1, True, 1_120, 990, (cut,))
    fact, lease = scene.apply(order)
    assert isinstance(fact, Redispatched)
    assert (fact.before_per_mille, fact.after_per_mille) == (1_120, 990)
    (home,) = fact.homes
    assert (home.power_w, home.energy_wh, home.account) == (1_500, 375, "acc-home-3")
    assert home.compensation_micro == 375 * scene.rules.fallback_import_micro_per_kwh // 1_000
    assert (lease.device, lease.power_w) == (device("home-3"), None)
    assert lease.export_limit_w == max(0, 8_000 - NETWORK.node_w(SLOT + 2)[3] - 1_500)
    assert (lease.not_before_ns, lease.expires_ns) == ((SLOT + 2) * SLOT_NS, (SLOT + 3) * SLOT_NS)


def test_a_redispatch_takes_no_more_than_was_traded_and_not_of_strangers(scene: Scene) -> None:
    scene.sell("home-3", 100, PRICE)
    scene.buy("home-5", 100, PRICE)
    scene.advance((SLOT + 2) * SLOT_NS - 4 * MINUTE_NS)
    cuts = (HomeCut(device("home-3"), 9_999), HomeCut(device("home-4"), 50), HomeCut("nobody", 5))
    order = Redispatch("north", SLOT + 2, GARDEN_1, True, 1_120, 990, cuts)
    fact, *leases = scene.apply(order)
    assert [(home.device, home.power_w) for home in fact.homes] == [(device("home-3"), 400)]
    assert len(leases) == 1
    late = Redispatch("north", SLOT - 2, GARDEN_1, True, 1_120, 990, cuts)
    assert scene.apply(late)[0].reason == Refusal.BAD_INTERVAL


# ---- reserves ---------------------------------------------------------------------------------


def reserve(scene, power_w, element=TRANSFORMER, order_id="r-1", minutes=15):
    ends_ns = scene.at_ns + minutes * MINUTE_NS
    return scene.apply(
        OrderReserve("north", order_id, element, power_w, scene.at_ns, ends_ns, "EGAT", "FREQUENCY")
    )


def test_a_reserve_calls_the_fullest_batteries_first_and_no_more_than_asked(scene: Scene) -> None:
    for name, soc in (("home-2", 900), ("home-3", 300), ("home-4", 600)):
        tell(scene, name, soc=soc)
    fact, *leases = reserve(scene, 7_000)
    assert isinstance(fact, ReserveActivated)
    assert (fact.activated_w, fact.gateways) == (7_000, 2)
    assert {lease.device: lease.power_w for lease in leases} == {
        device("home-2"): 5_000,
        device("home-4"): 2_000,
    }


def test_a_reserve_to_take_power_fills_the_emptiest_first(scene: Scene) -> None:
    for name, soc in (("home-2", 900), ("home-3", 300)):
        tell(scene, name, soc=soc)
    _, lease = reserve(scene, -2_000)
    assert (lease.device, lease.power_w) == (device("home-3"), -2_000)


def test_who_opted_out_is_silent_or_elsewhere_is_not_asked(scene: Scene) -> None:
    all_talk(scene)
    scene.apply(OptOut("north", device("home-2"), True))
    assert {f.device for f in of(reserve(scene, 50_000), LeaseIssued)} == {
        device(name) for name in HOMES[1:]
    }
    asked = of(reserve(scene, 50_000, ORCHARD_1, "r-2"), LeaseIssued)
    assert {f.device for f in asked} == {device("home-4"), device("home-5")}
    scene.at_ns += 3_600 * SECOND_NS
    facts = reserve(scene, 50_000, order_id="r-3")
    assert [fact.activated_w for fact in of(facts, ReserveActivated)] == [0]
    assert of(facts, LeaseIssued) == []
    scene.apply(OptOut("north", device("home-2"), False))


def test_an_empty_battery_and_a_full_envelope_give_nothing(scene: Scene) -> None:
    tell(scene, "home-2", soc=100)
    assert reserve(scene, 5_000)[0].activated_w == 0
    all_talk(scene, soc=800)
    most = sum(
        h.export_limit_w for h in scene.zone.grid._envelopes_of(SLOT, _gateways(scene)).homes
    )
    assert reserve(scene, 1 << 20, order_id="r-2")[0].activated_w <= min(most, 20_000)


def _gateways(scene):
    return list(scene.zone.gateways)


def test_an_order_that_comes_twice_is_done_once_and_a_changed_one_is_refused(scene: Scene) -> None:
    all_talk(scene)
    assert reserve(scene, 5_000)
    assert reserve(scene, 5_000) == []
    assert reserve(scene, 6_000)[0].reason == Refusal.CHANGED_REPLAY


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"element": 99}, Refusal.UNKNOWN_ELEMENT),
        ({"minutes": 0}, Refusal.BAD_INTERVAL),
        ({"minutes": 25 * 60}, Refusal.BAD_INTERVAL),
        ({"power_w": 0}, Refusal.RISK_LIMIT),
        ({"power_w": -(1 << 50)}, Refusal.RISK_LIMIT),
    ],
)
def test_a_call_that_cannot_be_meant_is_refused(scene: Scene, change, reason) -> None:
    assert reserve(scene, **({"power_w": 1_000} | change))[0].reason == reason


def signal(scene, power_w, after_s=4):
    scene.at_ns += after_s * SECOND_NS
    return scene.apply(FollowSignal("north", TRANSFORMER, power_w, "EGAT"))


def test_a_signal_every_four_seconds_brings_the_fleet_where_it_is_wanted(scene: Scene) -> None:
    all_talk(scene)
    reached = [of(signal(scene, 6_000), SignalFollowed)[0].set_w for _ in range(4)]
    assert reached[-1] == 6_000
    assert reached == sorted(reached)
    (back,) = of(signal(scene, -2_000), SignalFollowed)
    assert back.set_w < 6_000
    assert scene.replayed() == scene.zone.state()


def test_signals_of_two_feeders_do_not_disturb_each_other_and_floods_are_refused(scene) -> None:
    all_talk(scene)
    scene.at_ns += SECOND_NS
    for element in (GARDEN_1, ORCHARD_1):
        facts = scene.apply(FollowSignal("north", element, 1_500, "EGAT"))
        assert of(facts, SignalFollowed)[0].set_w == 1_500
    (refused,) = of(scene.apply(FollowSignal("north", GARDEN_1, 0, "EGAT")), ZoneRefused)
    assert refused.reason == Refusal.TOO_OFTEN
    (unknown,) = of(scene.apply(FollowSignal("north", 99, 0, "EGAT")), ZoneRefused)
    assert unknown.reason == Refusal.UNKNOWN_ELEMENT


def test_a_setpoint_that_stands_is_not_sent_again_until_half_its_time(scene: Scene) -> None:
    all_talk(scene)
    signal(scene, 6_000)
    counts = [len(of(signal(scene, 6_000), LeaseIssued)) for _ in range(8)]
    assert counts == [0, 0, 0, 4, 0, 0, 0, 4]
    (lease, *_) = [lease for _ in range(4) for lease in of(signal(scene, 6_000), LeaseIssued)]
    assert lease.expires_ns - lease.not_before_ns == 30 * SECOND_NS


# ---- demand response --------------------------------------------------------------------------


def respond(scene, reduction_w, order_id="d-1", minutes=10):
    ends_ns = scene.at_ns + minutes * MINUTE_NS
    return scene.apply(
        OrderDemandResponse(
            "north", order_id, GARDEN_1, reduction_w, scene.at_ns, ends_ns, "PEA", "OVERLOAD"
        )
    )


def test_a_response_lowers_draws_against_baselines_and_is_settled_by_meter(scene: Scene) -> None:
    tell(scene, "home-2", grid_w=3_000)
    tell(scene, "home-3", grid_w=1_000)
    called, *leases = respond(scene, 3_500)
    assert isinstance(called, ResponseCalled)
    assert {(h.device, h.baseline_w, h.reduction_w) for h in called.homes} in (
        {(device("home-2"), 3_000, 3_000), (device("home-3"), 1_000, 500)},
        {(device("home-2"), 3_000, 2_500), (device("home-3"), 1_000, 1_000)},
    )
    assert {lease.device for lease in leases} == {home.device for home in called.homes}
    for _ in range(4):
        scene.at_ns += SECOND_NS
        tell(scene, "home-2", grid_w=500)
        tell(scene, "home-3", grid_w=1_000)
        survey(scene, 60)
    (ended,) = of(survey(scene, 400), ResponseEnded)
    assert (ended.asked_w, ended.reduced_w) == (3_500, 2_500)
    assert {h.device: h.reduction_w for h in ended.homes} == {
        device("home-2"): 2_500,
        device("home-3"): 0,
    }
    assert scene.replayed() == scene.zone.state()


def test_those_who_were_asked_least_are_asked_next(scene: Scene) -> None:
    tell(scene, "home-2", grid_w=2_000)
    tell(scene, "home-3", grid_w=2_000)
    (first,) = of(respond(scene, 1_000, "d-1"), LeaseIssued)
    (second,) = of(respond(scene, 1_000, "d-2"), LeaseIssued)
    assert {first.device, second.device} == {device("home-2"), device("home-3")}


def test_a_response_asks_nobody_to_feed_in(scene: Scene) -> None:
    tell(scene, "home-2", grid_w=-500)
    called, *leases = respond(scene, 1_000)
    assert (called.homes, leases) == ((), [])
    assert respond(scene, -1_000, "d-2")[0].reason == Refusal.RISK_LIMIT
