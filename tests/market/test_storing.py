"""Batteries make room on a transformer before a slot that would be beyond its limit."""

import pytest

from cloud.commands import GridRules, OptOut, OverrideLimit, SetGridRules, ZoneRules
from cloud.facts import LeaseIssued
from protos.clock import MINUTE_NS, SECOND_NS, SLOT_NS, slot_end_ns, slot_start_ns
from tests.market.scene import SLOT, START_NS, TRANSFORMER, Scene, device, of
from tests.market.test_gridside import HOMES, survey, tell

PEAK = SLOT + 2
BASE_W = 20_000
LIMIT_W = 12_000


@pytest.fixture
def scene() -> Scene:
    """A transformer that may carry less than the street draws, in two slots to come."""
    scene = Scene(ZoneRules())
    scene.at_ns = START_NS - MINUTE_NS
    scene.open()
    for name in HOMES:
        scene.admit(name, int(name[-1]))
    scene.apply(SetGridRules("north", GridRules(storage=True)))
    until_ns = slot_end_ns(PEAK + 1) - SECOND_NS
    starts_ns = slot_start_ns(PEAK)
    scene.apply(
        OverrideLimit("north", TRANSFORMER, LIMIT_W, "PEA", "works", until_ns, starts_ns=starts_ns)
    )
    return scene


def leases_of(scene: Scene, slot: int, soc: int, names=HOMES) -> dict[str, int]:
    """What is ordered for a slot when its gate has closed."""
    scene.advance(slot * SLOT_NS - 4 * MINUTE_NS)
    for name in names:
        tell(scene, name, soc=soc)
    leases = of(survey(scene), LeaseIssued)
    for lease in leases:
        assert (lease.not_before_ns, lease.expires_ns) == (slot * SLOT_NS, (slot + 1) * SLOT_NS)
    return {lease.device: lease.power_w for lease in leases}


def test_before_the_peak_empty_batteries_charge_what_it_will_need(scene: Scene) -> None:
    powers = leases_of(scene, PEAK - 1, soc=50)
    assert set(powers) == set(map(device, HOMES))
    # Two slots of 8 kW are 4 kWh, two are stored; the losses of both ways on top.
    stored_wh = -sum(powers.values()) // 4 * 950 // 1_000
    assert 2_000 < stored_wh < 2_600
    assert scene.replayed() == scene.zone.state()


def test_full_batteries_are_left_alone_until_the_peak_and_then_give_what_is_too_much(
    scene: Scene,
) -> None:
    assert leases_of(scene, PEAK - 1, soc=900) == {}
    powers = leases_of(scene, PEAK, soc=900)
    assert sum(powers.values()) == BASE_W - LIMIT_W
    assert min(powers.values()) > 0
    assert survey(scene, 1) == []
    assert scene.replayed() == scene.zone.state()


def test_who_opted_out_or_is_not_heard_is_left_alone(scene: Scene) -> None:
    for name in HOMES:
        tell(scene, name, soc=900)
    scene.apply(OptOut("north", device("home-2"), True))
    powers = leases_of(scene, PEAK, 900, names=HOMES[:3])
    assert set(powers) <= {device("home-3"), device("home-4")}
    assert powers


def test_without_the_rule_nobody_is_told(scene: Scene) -> None:
    scene.apply(SetGridRules("north", GridRules()))
    assert leases_of(scene, PEAK, soc=900) == {}
