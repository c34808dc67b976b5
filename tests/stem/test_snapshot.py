"""A start from a snapshot ends where a replay of everything ends; what may not be used is not."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud import snapshot as room
from cloud.commands import AdvanceZone, SealBlock, ZoneRules
from cloud.core import Core
from cloud.replay import apply_record, rebuild
from cloud.snapshot import Snapshot, UnusableSnapshotError, read_snapshot, write_snapshot
from cloud.start import Remembered
from cloud.store.journal import SqliteJournal
from cloud.writer import Writer
from tests.sim.world import NETWORK, ZONE, Faults, World
from tests.stem.conftest import Stem

KEY = Ed25519PrivateKey.generate()
NETWORKS = {ZONE: NETWORK}


class UpTo:
    """A journal as it was after some record."""

    def __init__(self, journal, last):
        self._journal = journal
        self._last = last

    def __getattr__(self, name):
        return getattr(self._journal, name)

    def read(self, after_seq=0):
        for record in self._journal.read(after_seq):
            if record.seq > self._last:
                return
            yield record


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    """A journal of two hours in which homes traded inside a power flow and slots were settled."""
    path = tmp_path_factory.mktemp("traded") / "journal.db"
    world = World(5, path, faults=Faults(line_up_s=900, line_down_s=20, utility_every_s=1_800))
    world.rules = ZoneRules(power_flow=True, opening_s=7_200)
    world.run(2)
    journal = SqliteJournal(path, read_only=True)
    yield journal
    journal.close()


def replayed(journal, core, found=None, remembered=None):
    remembered = remembered or Remembered()
    return rebuild(journal, core, remembered.update, found), remembered


def test_at_every_midpoint_the_snapshot_and_the_rest_give_the_whole(traded, tmp_path):
    whole = Core(NETWORKS)
    everything, seen = replayed(traded, whole)
    leaves = whole.take_leaves()
    assert everything.commands > 400
    assert seen.views.totals.trades > 0
    path = tmp_path / "machines.snapshot"
    for last in range(1, everything.seq, everything.seq // 12):
        core = Core(NETWORKS)
        found, remembered = replayed(UpTo(traded, last), core)
        write_snapshot(path, Snapshot(core, remembered, found), traded, KEY)
        got = read_snapshot(path, NETWORKS, traded, KEY)
        assert got is not None, last
        assert got.core.state_hash() == core.state_hash()
        rest, _ = replayed(traded, got.core, got.found, got.beside)
        assert rest.lost == everything.lost
        assert (rest.seq, rest.at_ns, rest.commands) == (
            everything.seq, everything.at_ns, everything.commands,
        )  # fmt: skip
        assert got.core.take_leaves() == leaves[rest.first_leaf :], last
        assert got.core.state_hash() == whole.state_hash(), last
        assert got.beside.views.totals == seen.views.totals
        assert got.beside.views.slots == seen.views.slots


def test_books_and_flows_behave_alike_after_a_snapshot(traded, tmp_path):
    """The state hash does not see into a book: every later fact must be the same one."""
    records = list(traded.read())
    middle = records[len(records) // 2].seq
    core = Core(NETWORKS)
    found, remembered = replayed(UpTo(traded, middle), core)
    waiting = core.zones[ZONE]._trading._books
    assert waiting.open_orders > 0
    path = tmp_path / "machines.snapshot"
    write_snapshot(path, Snapshot(core, remembered, found), traded, KEY)
    other = read_snapshot(path, NETWORKS, traded, KEY).core
    assert other.zones[ZONE]._trading._books.state_hash() == waiting.state_hash()
    for record in records[middle:]:
        assert apply_record(core, record) == apply_record(other, record), record.seq
    assert other.zones[ZONE]._trading._books.state_hash() == waiting.state_hash()


@pytest.fixture
def stored(traded, tmp_path):
    core = Core(NETWORKS)
    found, remembered = replayed(traded, core)
    path = tmp_path / "machines.snapshot"
    write_snapshot(path, Snapshot(core, remembered, found), traded, KEY)
    return path


def refusal(caplog):
    (record,) = caplog.records
    return record.getMessage()


@pytest.mark.parametrize("place", ["signature", "head", "payload", "end"])
def test_a_damaged_snapshot_is_not_opened(stored, traded, place, caplog):
    data = bytearray(stored.read_bytes())
    data[{"signature": 3, "head": 80, "payload": 400, "end": -1}[place]] ^= 1
    stored.write_bytes(data)
    assert read_snapshot(stored, NETWORKS, traded, KEY) is None
    assert ("signature" if place in {"signature", "head"} else "damaged") in refusal(caplog)


@pytest.mark.parametrize("kept", [0, 10, 70, 500])
def test_a_cut_snapshot_is_not_opened(stored, traded, kept, caplog):
    stored.write_bytes(stored.read_bytes()[:kept])
    assert read_snapshot(stored, NETWORKS, traded, KEY) is None
    assert refusal(caplog)


def test_somebody_elses_snapshot_is_not_opened(stored, traded, caplog):
    assert read_snapshot(stored, NETWORKS, traded, Ed25519PrivateKey.generate()) is None
    assert "signature" in refusal(caplog)


def test_another_version_does_not_use_it(stored, traded, monkeypatch, caplog):
    monkeypatch.setattr(room, "build_id", lambda: b"another")
    assert read_snapshot(stored, NETWORKS, traded, KEY) is None
    assert "another version" in refusal(caplog)


class Gone:
    """A class that the next start does not know."""


@pytest.mark.parametrize("beside", [Gone(), "nothing"])
def test_a_snapshot_that_cannot_be_opened_keeps_nobody_from_starting(
    traded, tmp_path, monkeypatch, caplog, beside
):
    core = Core(NETWORKS)
    found, _ = replayed(traded, core)
    path = tmp_path / "machines.snapshot"
    if beside == "nothing":
        monkeypatch.setattr(room, "_pack", lambda content, networks: b"no pickle")
    write_snapshot(path, Snapshot(core, beside, found), traded, KEY)
    monkeypatch.delattr("tests.stem.test_snapshot.Gone")
    assert read_snapshot(path, NETWORKS, traded, KEY) is None
    assert "cannot be opened" in refusal(caplog)


def test_a_snapshot_that_cannot_be_read_keeps_nobody_from_starting(traded, tmp_path, caplog):
    (tmp_path / "machines.snapshot").mkdir()
    assert read_snapshot(tmp_path / "machines.snapshot", NETWORKS, traded, KEY) is None
    assert "directory" in refusal(caplog)


def test_another_journal_does_not_take_it(stored, tmp_path, caplog):
    journal = SqliteJournal(tmp_path / "other.db")
    assert read_snapshot(stored, NETWORKS, journal, KEY) is None
    assert "another journal" in refusal(caplog)
    journal.close()


@pytest.mark.parametrize("networks", [{}, {ZONE: replace(NETWORK, sha256=b"x" * 32)}])
def test_another_network_does_not_take_it(stored, traded, networks, caplog):
    assert read_snapshot(stored, networks, traded, KEY) is None
    assert "another network" in refusal(caplog)


def test_without_a_snapshot_nothing_is_said(tmp_path, traded, caplog):
    assert read_snapshot(tmp_path / "none", NETWORKS, traded, KEY) is None
    assert not caplog.records


def test_a_snapshot_is_not_taken_ahead_of_the_stored_leaves(traded, tmp_path):
    """As while the aggregator is still storing them: nobody could make them again from there."""
    behind = UpTo(traded, 0)
    behind.leaf_count = lambda: 1
    core = Core(NETWORKS)
    found, remembered = replayed(traded, core)
    with pytest.raises(UnusableSnapshotError, match="try again"):
        write_snapshot(tmp_path / "s", Snapshot(core, remembered, found), behind, KEY)
    assert not (tmp_path / "s").exists()


async def test_a_writer_goes_on_from_a_snapshot_and_signs_what_was_left(stem, open_zone, tmp_path):
    await stem.writer.submit(open_zone)
    await stem.writer.submit(SealBlock())
    await stem.writer.settle()
    await stem.crash()
    path = tmp_path / "machines.snapshot"
    journal = SqliteJournal(stem.path, read_only=True)
    core = Core(NETWORKS)
    found, remembered = replayed(journal, core)
    write_snapshot(path, Snapshot(core, remembered, found), journal, KEY)
    await stem.start()
    stem.clock.ns += 1_000_000_000
    await stem.writer.submit(AdvanceZone(ZONE))
    await stem.writer.submit(SealBlock())
    await stem.writer.settle()
    whole = stem.writer.core.state_hash()
    await stem.crash()

    got = read_snapshot(path, NETWORKS, journal, KEY)
    writer = Writer(
        got.core, SqliteJournal(stem.path), stem.clock, Stem.sign, None, got.found
    )  # fmt: skip
    assert await writer.start() == 2
    assert writer.core.state_hash() == whole
    await writer.submit(SealBlock())
    await writer.stop()
    journal.close()
    fresh = SqliteJournal(stem.path, read_only=True)
    assert rebuild(fresh, Core(NETWORKS)).commands == writer.commands
    fresh.close()
