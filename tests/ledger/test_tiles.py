"""The log as files: what anyone can rebuild and check with nothing but static fetches."""

from hashlib import sha256

import pytest

from cloud.ledger.log import TransparencyLog
from cloud.ledger.tiles import index_path, new_files, split_entries, tile_file, tile_path

LEAVES = [b"leaf %d" % number for number in range(70_000)]


@pytest.fixture(scope="module")
def log():
    log = TransparencyLog()
    for leaf in LEAVES:
        log.append(leaf)
    return log


def leaf_of(position):
    return LEAVES[position] if position < len(LEAVES) else None


def read(log, path, size=70_000):
    return tile_file(path, log, leaf_of, size)


def test_a_tile_holds_the_hashes_of_its_leaves(log):
    tile = read(log, "tile/0/003")
    assert len(tile) == 256 * 32
    assert tile[:32] == sha256(b"\x00" + LEAVES[768]).digest()


def test_a_tile_of_level_one_holds_the_roots_of_whole_tiles(log):
    hashes = [sha256(b"\x00" + leaf).digest() for leaf in LEAVES[256:512]]
    while len(hashes) > 1:
        hashes = [
            sha256(b"\x01" + hashes[at] + hashes[at + 1]).digest()
            for at in range(0, len(hashes), 2)
        ]
    assert read(log, "tile/1/000")[32:64] == hashes[0]


def test_a_tree_of_70000_is_the_files_that_the_format_says(log):
    paths = set(new_files(0, 70_000))
    assert len([path for path in paths if path.startswith("tile/0/")]) == 274
    assert {
        "tile/0/273.p/112",
        "tile/1/000",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
        "tile/entries/273.p/112",
    } <= paths
    assert not [path for path in paths if path.startswith(("tile/3/", "tile/2/001"))]
    for path in paths:
        assert read(log, path)


@pytest.mark.parametrize("old", [0, 1, 255, 256, 257, 511, 65_535, 65_536, 69_999])
def test_new_files_are_those_that_a_longer_log_adds(log, old):
    before, after = set(new_files(0, old)), set(new_files(0, 70_000))
    added = set(new_files(old, 70_000))
    assert before | added >= after
    assert not [path for path in added & before if ".p/" not in path]


def test_nothing_is_given_out_beyond_the_signed_size(log):
    assert read(log, "tile/0/000", 256) is not None
    assert read(log, "tile/0/000", 255) is None
    assert read(log, "tile/0/000.p/255", 255) is not None
    assert read(log, "tile/entries/000.p/10", 9) is None
    assert read(log, "tile/1/000.p/1", 255) is None
    assert read(log, "tile/1/000.p/1", 256) is not None


def test_an_entry_bundle_gives_the_leaves_back(log):
    assert split_entries(read(log, "tile/entries/001")) == LEAVES[256:512]
    assert split_entries(read(log, "tile/entries/273.p/112")) == LEAVES[69_888:]
    with pytest.raises(ValueError, match="cut"):
        split_entries(read(log, "tile/entries/001")[:-1])


def test_a_leaf_too_long_for_the_format_has_no_bundle_but_a_hash():
    log = TransparencyLog()
    leaf = bytes(70_000)
    log.append(leaf)
    assert tile_file("tile/entries/000.p/1", log, lambda _: leaf, 1) is None
    assert tile_file("tile/0/000.p/1", log, lambda _: leaf, 1) == log.root()


def test_a_tree_rebuilt_from_its_tiles_has_the_same_root(log):
    size = 70_000
    rebuilt = TransparencyLog()
    for path in new_files(0, size):
        if path.startswith("tile/entries/"):
            for leaf in split_entries(read(log, path)):
                rebuilt.append(leaf)
    assert rebuilt.root() == log.root(size)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/00/000",
        "tile/0/000/000",
        "tile/0/x000/000",
        "tile/64/000",
        "tile/9/000.p/1",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/../000",
        "tile/data/000",
        "tile/0/000 ",
        "tile/0/" + "x999/" * 7 + "999",
    ],
)
def test_a_path_that_is_no_tile_is_nothing(log, path):
    assert read(log, path) is None


def test_a_number_is_written_in_threes():
    assert index_path(1_234_067) == "x001/x234/067"
    assert index_path(5) == "005"
    assert tile_path("0", 1_000, 256) == "tile/0/x001/000"
