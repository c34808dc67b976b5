"""A network file comes from an operator's hands: what is wrong in it is refused with a reason."""

import json
import random

import pytest

from cloud.grid.data import read_shipped
from cloud.grid.network import load_network
from cloud.grid.tables import NetworkError

ROUNDS = 2_000
ODD = [
    None, True, -1, 0, 1, 7, 10**6, 10**30, -(10**30), 0.0, -0.5, 1e-300, 1e300,
    float("nan"), float("inf"), "", "3", [], [1], [[1]], {}, {"id": 1}, [None] * 3,
]  # fmt: skip


def places(value, path=()):
    """Every place in a document, containers included."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, below in items:
        if isinstance(below, (dict, list)):
            yield from places(below, (*path, key))
        else:
            yield (*path, key)


def damaged(document, draw):
    for _ in range(draw.choice((1, 1, 2, 4))):
        *above, last = draw.choice(list(places(document)))
        holder = document
        for key in above:
            holder = holder[key]
        if draw.random() < 0.25:
            del holder[last]
        else:
            holder[last] = draw.choice(ODD)
    return document


def read_or_refused(data, profiles=None):
    """The refusal's text, or None where the file was read and gives a whole headroom."""
    try:
        network = load_network(data, profiles)
    except NetworkError as error:
        return str(error)
    down, up = network.headroom_wh(7, {})
    assert len(down) == len(up) == network.size
    return None


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_refused_or_read_and_never_breaks_the_reader(seed):
    draw, text = random.Random(seed), read_shipped("tiny")[0]
    answers = [
        read_or_refused(json.dumps(damaged(json.loads(text), draw)).encode())
        for _ in range(ROUNDS // 4)
    ]
    refusals = [answer for answer in answers if answer is not None]
    assert ROUNDS // 16 < len(refusals) < ROUNDS // 4
    assert all(refusal.startswith("network: ") for refusal in refusals)


def test_a_damaged_sidecar_with_profiles_is_refused_or_read():
    text, (_, profiles) = read_shipped("tiny")[0], read_shipped("rural")
    for rows in [*ODD, [[2, 1]], [[9, 0, 0]], [[2, 95, 1]], [[2, 1 << 70, 7]]]:
        document = json.loads(text)
        document["gridtokenx"] |= {"profile_per_peak": 10_000, "base_w": [[2, 0, 5], [3, 1, -5]]}
        document["gridtokenx"]["base_var"] = rows
        refusal = read_or_refused(json.dumps(document).encode(), profiles)
        assert rows == [] or refusal.startswith("network: ")
