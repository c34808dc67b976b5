"""The compiled order books against the naive ones, command by command, and rule by rule."""

import os
import random
from dataclasses import dataclass

import pytest

from ext.book import BUY, SELL, Books
from ext.tree import Headroom, Tree
from tests.oracle import book as oracle
from tests.oracle import tree as oracle_tree

COMMANDS = int(os.environ.get("GRIDTOKENX_BOOK_COMMANDS", "100000"))
"""All differential runs together. The long campaign sets ten million."""


# ---- against the oracle ------------------------------------------------------------------------


@dataclass(frozen=True)
class Terrain:
    """How tight a differential run is."""

    name: str
    share: float  # of all commands
    nodes: int = 0  # 0: no network
    books: int = 1
    room: int = 50  # orders
    ticks: tuple[int, int] = (500, 512)
    owners: int = 8
    rooms: tuple[int, ...] = (0, -5, 3, 20, 60, 10**6)


TERRAINS = [
    Terrain("ladder", 0.40, books=3),
    Terrain("wide ladder", 0.10, ticks=(0, 1023), room=120),
    Terrain("full pool", 0.10, room=8, owners=3),
    Terrain("network", 0.19, nodes=12, books=2, room=60),
    Terrain("large network", 0.01, nodes=200, room=80),
    Terrain("open network", 0.05, nodes=70, rooms=(10**6,)),
    Terrain("one shut transformer", 0.05, nodes=40, rooms=(10**6, 10**6, 10**6, 0)),
    Terrain("trickle", 0.10, nodes=9, room=60, rooms=(0, 1, 2, 5), owners=40),
]


class Twins:
    """The same books twice: compiled and naive. Every call goes to both and must agree."""

    def __init__(self, terrain: Terrain, seed: int) -> None:
        self.terrain, self.draw = terrain, random.Random(seed)
        self.fast = Books(terrain.room, 1024, 8)
        self.slow = oracle.Books(terrain.room, 1024, 8)
        self.grids: dict[int, tuple[Headroom, oracle_tree.Headroom]] = {}
        self.next_id, self.seen, self.events = 1, set(), 0
        for number in range(terrain.books):
            self.open(number)

    def open(self, number: int) -> None:
        draw, nodes = self.draw, self.terrain.nodes
        if not nodes:
            self.fast.open(number)
            self.slow.open(number)
            return
        parent = [-1, *(draw.randint(max(0, i - 5), i - 1) for i in range(1, nodes))]
        down, up = ([draw.choice(self.terrain.rooms) for _ in range(nodes)] for _ in range(2))
        self.grids[number] = (
            Headroom(Tree(parent), down, up),
            oracle_tree.Headroom(oracle_tree.Tree(parent), down, up),
        )
        self.fast.open(number, self.grids[number][0])
        self.slow.open(number, self.grids[number][1])

    def both(self, name: str, *arguments: object) -> list[tuple[int, ...]]:
        answer = getattr(self.fast, name)(*arguments)
        assert answer == getattr(self.slow, name)(*arguments), (name, arguments)
        self.events += len(answer)
        self.seen.update((event[0], event[5]) for event in answer if len(event) == 6)
        return answer

    def terms(self, number: int) -> tuple[int, ...]:
        draw, terrain = self.draw, self.terrain
        order_id = self.next_id if draw.random() < 0.98 else draw.randint(0, self.next_id)
        self.next_id += 1
        node = draw.randrange(terrain.nodes or 5)
        terms = [
            *(number, order_id, draw.randint(0, 1), draw.randint(*terrain.ticks)),
            *(draw.randint(1, 30), draw.randint(1, terrain.owners), node, draw.randint(0, 3)),
            *(draw.choice([0, 0, 0, 0, 0, 1, 2]), draw.choice([0, 0, 1, 2, 3])),
        ]
        if draw.random() < 0.02:
            place = draw.choice([0, 2, 3, 4, 6, 7, 8, 9])
            terms[place] = draw.choice([-1, 4, 9, 1024, 1 << 16, 1 << 32, (1 << 63) - 1])
        return tuple(terms)

    def command(self) -> None:
        draw = self.draw
        number, dice = draw.randrange(self.terrain.books), draw.random()
        known = draw.randint(max(0, self.next_id - 2 * self.terrain.room), self.next_id)
        if dice < 0.70:
            self.both("submit", *self.terms(number))
        elif dice < 0.85:
            self.both("cancel", number, known)
        elif dice < 0.97:
            tick, quantity = draw.randint(*self.terrain.ticks), draw.randint(1, 30)
            self.both("replace", number, known, tick, quantity, draw.randint(0, 3))
        elif number in self.grids:
            edge = draw.randrange(1, self.terrain.nodes)
            rooms = [draw.choice(self.terrain.rooms) for _ in range(2)]
            for grid in self.grids[number]:
                grid.set_edge(edge, *rooms)
            self.both("resweep", number)
        elif dice > 0.998:
            self.both("close", number)
            self.open(number)
        for side in (BUY, SELL):
            assert self.fast.best(number, side) == self.slow.best(number, side)
        if number in self.grids:
            fast, slow = self.grids[number]
            assert fast.state() == slow.state()

    def compare(self) -> None:
        """All orders in their order, and what the compiled books remember of themselves."""
        assert self.fast.snapshot() == self.slow.snapshot()
        assert self.fast.state_hash() == self.slow.state_hash()
        for number in range(self.terrain.books):
            assert self.fast.depth(number, BUY, 4) == self.slow.depth(number, BUY, 4)
            assert self.fast.depth(number, SELL, 4) == self.slow.depth(number, SELL, 4)
        for fast, _ in self.grids.values():
            fast.check()
        self.fast.check()


def reload(twins: Twins) -> None:
    """Go on with books made anew from a snapshot."""
    data = twins.fast.snapshot()
    for number in twins.fast.books:
        twins.fast.close(number)
    fresh = Books(twins.terrain.room, 1024, 8)
    fresh.restore(data, {number: grids[0] for number, grids in twins.grids.items()})
    assert fresh.snapshot() == data
    twins.fast = fresh


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("terrain", TERRAINS, ids=lambda terrain: terrain.name)
def test_every_command_has_the_events_and_leaves_the_books_of_the_oracle(terrain, seed):
    twins = Twins(terrain, seed)
    for count in range(int(COMMANDS * terrain.share / 4)):
        twins.command()
        if count % 150 == 0:
            twins.compare()
        if count % 500 == 250:
            reload(twins)
    twins.compare()
    assert len(twins.seen) >= 8, "the run was too tame to mean anything"
