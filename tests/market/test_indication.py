"""Indicative prices of the slot whose gate closes next."""

from cloud.commands import OverrideLimit
from cloud.facts import PricesIndicated
from protos.clock import SECOND_NS
from tests.market.scene import (
    BAHT,
    GARDEN_1,
    GARDEN_2,
    NETWORK,
    RULES,
    SLOT,
    Scene,
    of,
)

NEXT = SLOT + 1
SPREAD = RULES.fallback_import_micro_per_kwh - RULES.fallback_export_micro_per_kwh


def fill(scene: Scene, energy_wh: int) -> None:
    """Home 3, below GARDEN_2, sells so much to home 2 right above it."""
    scene.sell("home-3", energy_wh, 3 * BAHT, slot=NEXT)
    scene.buy("home-2", energy_wh, 3 * BAHT, slot=NEXT)


def loaded(scene: Scene) -> int:
    """The whole room of GARDEN_2 towards the grid under a limit of 4 kW."""
    until_ns = scene.at_ns + 86_400 * SECOND_NS
    scene.apply(OverrideLimit("north", GARDEN_2, 4_000, "DSO", "works", until_ns))
    scene.advance()
    return NETWORK.headroom_wh(NEXT, {GARDEN_2: 4_000})[1][GARDEN_2]


def test_an_element_that_fills_makes_energy_below_it_cheaper(scene: Scene) -> None:
    room_wh = loaded(scene)
    fill(scene, room_wh)
    (fact,) = of(scene.advance(), PricesIndicated)
    (step,) = [s for s in fact.steps if s.element == GARDEN_2]
    assert fact.slot == NEXT
    assert not fact.is_final
    assert -SPREAD <= step.step_micro_per_kwh < -SPREAD * 9 // 10
    indication = scene.zone.indication
    assert indication.slot == NEXT
    below, above = (indication.node_price(node) for node in (GARDEN_2, GARDEN_1))
    assert below - above == step.step_micro_per_kwh


def test_nothing_is_said_again_while_nothing_moves(scene: Scene) -> None:
    fill(scene, loaded(scene))
    assert of(scene.advance(), PricesIndicated)
    assert not of(scene.advance(), PricesIndicated)
    scene.sell("home-4", 10, 3 * BAHT, slot=NEXT)
    scene.buy("home-5", 10, 3 * BAHT, slot=NEXT)
    assert not of(scene.advance(), PricesIndicated)


def test_an_open_grid_costs_nothing_and_nothing_is_said(scene: Scene) -> None:
    fill(scene, 10)
    assert not of(scene.advance(), PricesIndicated)
    assert scene.zone.indication.node_price(GARDEN_2) == 0


def test_when_the_gate_closes_the_next_slot_is_priced(scene: Scene) -> None:
    fill(scene, loaded(scene))
    scene.advance()
    facts = of(scene.advance(scene.at_ns + 900 * SECOND_NS), PricesIndicated)
    assert [(fact.slot, GARDEN_2 in {s.element for s in fact.steps}) for fact in facts] == [
        (NEXT + 1, False)
    ]
    assert scene.replayed() == scene.zone.state()
