"""The log against RFC 6962's own recursive definitions and its published examples."""

import random
from hashlib import sha256

import pytest

from cloud.ledger.log import EMPTY_ROOT, TransparencyLog, is_consistent
from protos.receipt import root_from_path

# The inputs and roots of the certificate-transparency reference test, sizes 1 to 8.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def naive_root(leaves):
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def log_of(leaves):
    log = TransparencyLog()
    for leaf in leaves:
        log.append(leaf)
    return log


@pytest.mark.parametrize("size", sorted(ROOTS))
def test_the_roots_are_those_of_the_reference_implementation(size):
    assert log_of(LEAVES[:size]).root().hex() == ROOTS[size]


def test_an_empty_log_has_the_hash_of_nothing():
    assert TransparencyLog().root() == EMPTY_ROOT == sha256(b"").digest()


def test_any_earlier_root_can_still_be_read():
    leaves = [bytes([n]) * 5 for n in range(70)]
    log = log_of(leaves)
    for size in range(71):
        assert log.root(size) == naive_root(leaves[:size])


def test_every_leaf_is_proven_in_every_tree_that_has_it():
    leaves = [bytes([n]) for n in range(34)]
    log = log_of(leaves)
    for size in range(1, 35):
        for index in range(size):
            path = log.inclusion(index, size)
            assert root_from_path(leaves[index], index, size, path) == log.root(size)


def test_a_proof_does_not_prove_another_leaf_place_or_size():
    leaves = [bytes([n]) for n in range(13)]
    log = log_of(leaves)
    path, root = log.inclusion(5, 13), log.root(13)
    assert root_from_path(b"other", 5, 13, path) != root
    assert root_from_path(leaves[5], 4, 13, path) != root
    assert root_from_path(leaves[5], 5, 13, path[:-1]) is None
    assert root_from_path(leaves[5], 5, 13, [*path, path[0]]) is None
    assert root_from_path(leaves[5], 5, 13, path[::-1]) != root


def test_every_tree_is_consistent_with_every_later_one():
    log = log_of([bytes([n]) for n in range(34)])
    for second in range(1, 35):
        for first in range(1, second + 1):
            proof = log.consistency(first, second)
            assert is_consistent(first, log.root(first), second, log.root(second), proof)


def test_a_rewritten_history_is_not_consistent():
    honest = log_of([bytes([n]) for n in range(20)])
    forged = log_of([b"forged", *(bytes([n]) for n in range(1, 20))])
    for first in range(1, 20):
        proof = forged.consistency(first, 20)
        assert not is_consistent(first, honest.root(first), 20, forged.root(20), proof)


def test_a_damaged_consistency_proof_is_refused():
    log = log_of([bytes([n]) for n in range(20)])
    first, second, proof = log.root(7), log.root(20), log.consistency(7, 20)
    assert not is_consistent(7, first, 20, second, proof[:-1])
    assert not is_consistent(7, first, 20, second, [*proof, proof[0]])
    assert not is_consistent(7, first, 20, second, [])
    assert not is_consistent(0, first, 20, second, proof)
    assert not is_consistent(20, second, 7, first, proof)
    assert not is_consistent(7, first, 7, second, [])


def test_what_is_not_in_the_log_is_an_index_error():
    log = log_of([b"a", b"b"])
    for ask in (
        lambda: log.inclusion(2, 2),
        lambda: log.inclusion(0, 3),
        lambda: log.inclusion(-1, 2),
        lambda: log.consistency(0, 2),
        lambda: log.consistency(2, 3),
        lambda: log.root(3),
        lambda: log.leaf_hash(2),
    ):
        with pytest.raises(IndexError):
            ask()


def test_the_state_is_size_and_root():
    assert log_of([b"a"]).state() == [1, sha256(b"\x00a").digest()]


@pytest.mark.parametrize("seed", range(30))
def test_many_leaves_at_once_make_the_tree_that_one_by_one_makes(seed):
    draw = random.Random(seed)
    one_by_one, at_once, count = TransparencyLog(), TransparencyLog(), 0
    for _ in range(draw.randint(1, 12)):
        leaves = [
            b"%d" % (count + n) for n in range(draw.choice((0, 1, 2, 3, 8, draw.randint(0, 70))))
        ]
        count += len(leaves)
        for leaf in leaves:
            one_by_one.append(leaf)
        at_once.extend(leaves)
        assert at_once.state() == one_by_one.state()
    for height in range(8):
        width = count >> height
        assert (
            at_once.hashes(height, 0, width) == one_by_one.hashes(height, 0, width)
            if width
            else True
        )
    for index in range(0, count, 7):
        assert at_once.inclusion(index, count) == one_by_one.inclusion(index, count)
