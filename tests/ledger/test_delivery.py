"""Delivered Wh: never more than agreed or metered, always the maximum, always the same."""

import random

import pytest

from cloud.commands import TradeTerms
from cloud.ledger import delivery
from tests.oracle.bank import optimum_wh


def market(seed, parties=8, trades=40):
    """Columns of a stressed random market: meters from nothing to well above what was traded."""
    draw = random.Random(seed)
    sellers_count, buyers_count = draw.randint(1, parties), draw.randint(1, parties)
    count = draw.randint(0, trades)
    sellers = [draw.randrange(sellers_count) for _ in range(count)]
    buyers = [draw.randrange(buyers_count) for _ in range(count)]
    energy = [draw.randint(1, 2_000) for _ in range(count)]
    most = 1 + 2 * sum(energy) // max(1, sellers_count)
    exported = [draw.choice((0, draw.randint(0, most))) for _ in range(sellers_count)]
    imported = [draw.choice((0, draw.randint(0, most))) for _ in range(buyers_count)]
    return sellers, buyers, energy, exported, imported


@pytest.mark.parametrize("seed", range(150))
def test_the_delivered_volume_is_the_optimum(seed):
    sellers, buyers, energy, exported, imported = market(seed)
    delivered = delivery.deliver(
        sellers, buyers, energy, exported, imported, delivery.augment_in_python
    )
    trades = [
        TradeTerms(i, str(b), str(s), q, 1)
        for i, (s, b, q) in enumerate(zip(sellers, buyers, energy, strict=True))
    ]
    optimum = optimum_wh(
        trades,
        {str(i): wh for i, wh in enumerate(exported)},
        {str(i): wh for i, wh in enumerate(imported)},
    )
    assert sum(delivered) == optimum
    assert all(0 <= d <= q for d, q in zip(delivered, energy, strict=True))
    for party, metered in enumerate(exported):
        assert sum(d for d, s in zip(delivered, sellers, strict=True) if s == party) <= metered
    for party, metered in enumerate(imported):
        assert sum(d for d, b in zip(delivered, buyers, strict=True) if b == party) <= metered


def test_stranded_energy_finds_its_way_over_another_trade():
    # Pro rata gives each trade of the first seller 50 Wh, but buyer 0 can also take from seller 1.
    sellers, buyers, energy = [0, 0, 1], [0, 1, 0], [100, 100, 100]
    delivered = delivery.deliver(
        sellers, buyers, energy, [100, 100], [100, 100], delivery.augment_in_python
    )
    assert sum(delivered) == 200


def test_pro_rata_parts_sum_to_the_meter_and_ties_go_to_the_earlier_trade():
    assert delivery.pro_rata([0, 0, 0], [10, 10, 10], [20]) == [7, 7, 6]
    assert delivery.pro_rata([0, 0], [10, 30], [100]) == [10, 30]
    assert delivery.pro_rata([0, 1], [10, 30], [0, 5]) == [0, 5]


def test_the_compiled_flow_equals_the_readable_one_in_every_wh():
    compiled = pytest.importorskip("ext.allocate", reason="ext/allocate is not built")
    for seed in range(400):
        columns = market(seed, parties=12, trades=80)
        fast = delivery.deliver(*columns, compiled.augment)
        assert fast == delivery.deliver(*columns, delivery.augment_in_python), f"seed {seed}"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0], [0, 0], [1], [0], [1], [1]), "differ in length"),
        (([1], [0], [1], [0], [1], [1]), "seller"),
        (([0], [1], [1], [0], [1], [1]), "buyer"),
        (([0], [-1], [1], [0], [1], [1]), "buyer"),
        (([0], [0], [1], [2], [1], [1]), "more than was agreed"),
        (([0], [0], [1], [0], [-1], [1]), "out of range"),
        (([0], [0], [1 << 70], [0], [1], [1]), "out of range"),
    ],
)
def test_the_compiled_flow_refuses_columns_that_make_no_market(columns, message):
    compiled = pytest.importorskip("ext.allocate", reason="ext/allocate is not built")
    with pytest.raises(ValueError, match=message):
        compiled.augment(*columns)
