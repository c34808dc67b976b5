"""The fee for the way between two areas of a zone's grid, from the configuration to the statement."""

import pytest

from cloud.commands import GridArea, MeterSlot, SettleSlot, VoidTrades, ZoneRules
from cloud.config import ConfigError, config_from
from cloud.facts import Posted, Statement, TradesReserved
from cloud.market.wheeling import Wheeling, areas_are_sound
from protos.clock import slot_end_ns
from protos.messages import Refusal
from tests.ledger.village import NODES, SLOT, Village

#      0
#      1
#    2   5
#   3 4  6
PARENT = [0, 0, 1, 2, 2, 1, 5]
AREAS = (GridArea("north", 2), GridArea("south", 5))
MATRIX = ((0, 100, 200), (110, 10, 900), (220, 800, 20))
RULES = ZoneRules(areas=AREAS, wheeling_micro_per_kwh=MATRIX)


def test_an_area_is_a_node_and_all_below_it():
    wheeling = Wheeling(PARENT, RULES)
    assert [wheeling.area(node) for node in range(7)] == [0, 0, 1, 1, 1, 2, 2]


def test_an_area_inside_another_begins_anew():
    rules = ZoneRules(areas=(*AREAS, GridArea("lane", 4)))
    assert Wheeling(PARENT, rules).area(4) == 3
    assert Wheeling(PARENT, rules).area(3) == 1


def test_the_row_is_the_sellers_area_and_the_column_the_buyers():
    wheeling = Wheeling(PARENT, RULES)
    assert (wheeling.fee(3, 6), wheeling.fee(6, 3)) == (900, 800)
    assert (wheeling.fee(3, 4), wheeling.fee(1, 1)) == (10, 0)
    assert (wheeling.dearest(6), wheeling.dearest(4), wheeling.dearest(1)) == (900, 800, 220)


def test_without_a_matrix_no_way_costs_anything():
    wheeling = Wheeling(PARENT, ZoneRules(areas=AREAS))
    assert (wheeling.fee(3, 6), wheeling.dearest(6)) == (0, 0)


@pytest.mark.parametrize(
    "rules",
    [
        ZoneRules(areas=AREAS, wheeling_micro_per_kwh=MATRIX[:2]),
        ZoneRules(areas=AREAS, wheeling_micro_per_kwh=(*MATRIX[:2], (1, 2))),
        ZoneRules(areas=AREAS, wheeling_micro_per_kwh=(*MATRIX[:2], (0, 0, -1))),
        ZoneRules(wheeling_micro_per_kwh=MATRIX),
        ZoneRules(areas=(GridArea("x", 7),)),
        ZoneRules(areas=(GridArea("x", 0),)),
        ZoneRules(areas=(GridArea("x", 2), GridArea("y", 2))),
    ],
    ids=["a row short", "ragged", "negative", "no areas", "no such node", "the root", "twice"],
)
def test_rules_that_do_not_fit_the_network_open_no_zone(rules):
    assert areas_are_sound(RULES, len(PARENT))
    assert not areas_are_sound(rules, len(PARENT))


ZONE = {
    "areas": [{"name": "north", "node": 2}, {"name": "south", "node": 5}],
    "wheeling": [
        {"seller": "north", "buyer": "south", "micro_per_kwh": 900},
        {"buyer": "north", "micro_per_kwh": 100},
    ],
}


def test_the_configuration_names_areas_and_the_ways_between_them():
    (zone,) = config_from({"zones": [ZONE]}).zones
    assert zone.grid_areas() == AREAS
    assert zone.wheeling_matrix() == ((0, 100, 0), (0, 0, 900), (0, 0, 0))
    (plain,) = config_from({"zones": [{}]}).zones
    assert (plain.grid_areas(), plain.wheeling_matrix()) == ((), ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"wheeling": [{"seller": "west"}]}, "no area 'west'; known: north, south, rest"),
        ({"wheeling": ZONE["wheeling"][:1] * 2}, "one table for each pair"),
        ({"wheeling": [{"micro_per_kwh": -1}]}, "micro_per_kwh = -1"),
        ({"wheeling": [{"price": 1}]}, "zones.wheeling.price is not a known key"),
        ({"wheeling": 5}, r"write \[\[zones.wheeling\]\] tables"),
        ({"areas": [{"name": "rest", "node": 2}]}, "each needs a name"),
        ({"areas": [{"node": 2}]}, "each needs a name"),
        ({"areas": [{"name": "a", "node": 2}, {"name": "b", "node": 2}]}, "a node of its own"),
        ({"areas": [{"name": "a", "node": 0}]}, "at a node from 1 on"),
        ({"areas": [{"name": "a", "node": "2"}]}, "write a whole number"),
    ],
)
def test_a_matrix_that_cannot_be_meant_says_what_to_write(change, words):
    with pytest.raises(ConfigError, match=words):
        config_from({"zones": [ZONE | change]})


# ---- through all machines: home 0 sells at node 2, home 1 buys at node 4 -------------------------

WAY = 1_150_000
FEES = ZoneRules(
    areas=(GridArea("theirs", NODES[0]), GridArea("ours", NODES[1])),
    wheeling_micro_per_kwh=((0, 0, 0), (0, 0, WAY), (0, 0, 0)),
)


def test_a_trade_between_two_areas_pays_for_the_way_what_was_delivered():
    village, plain = Village(FEES), Village()
    found = []
    for one in (village, plain):
        traded = one.match(1_000, 4_000_000)
        facts = one.run_following()
        (held,) = [fact for fact in facts if isinstance(fact, TradesReserved)]
        found.append((traded, held, one.reserved()["acc-1"]))
    (traded, held, reserved), (_, held_plain, reserved_plain) = found
    assert traded.wheeling_micro_per_kwh == WAY
    assert held.escrow_micro - held_plain.escrow_micro == WAY
    assert reserved - reserved_plain == WAY
    meters = (MeterSlot("acc-0", 0, 700, False), MeterSlot("acc-1", 700, 0, False))
    fees = []
    for one in (village, plain):
        one.now_ns = slot_end_ns(SLOT)
        facts = one.step(SettleSlot("tiny", SLOT, 0, meters, True))
        said = {fact.account: fact for fact in facts if isinstance(fact, Statement)}
        paid = sum(f.amount for f in facts if isinstance(f, Posted) and f.code == "grid_fee")
        fees.append((paid, said["acc-1"].fees_micro, said["acc-1"].wheeling_micro))
        assert said["acc-0"].wheeling_micro == 0
        assert one.reserved()["acc-1"] == 0
        assert not any(one.core.bank.sums().values())
    assert fees[1][2] == 0
    assert fees[0] == (fees[1][0] + 805_000, fees[1][1] + 805_000, 805_000)


def test_what_an_open_offer_holds_covers_the_dearest_way_and_a_void_trade_gives_it_back():
    village = Village(FEES)
    before = village.reserved()
    village.match(1_000, 4_000_000)
    village.pending.clear()
    assert village.reserved()["acc-1"] == 4_000_000 + 200_000 + WAY
    village.step(VoidTrades("tiny", SLOT, (1,), (int(Refusal.INSUFFICIENT_FUNDS),)))
    assert {name: held for name, held in village.reserved().items() if held} == {
        name: held for name, held in before.items() if held
    }
