"""An aggregator starts again from the snapshot that a process beside it took."""

import pytest

from cloud.app import App
from cloud.config import CloudConfig, ZoneConfig
from cloud.core import Core
from cloud.replay import verify
from cloud.snapshot import SNAPSHOT_FILE
from cloud.start import SnapshotPump
from cloud.store.journal import JOURNAL_FILE, SqliteJournal
from protos.clock import SystemClock
from tests.gate.conftest import MAP, Cloud


@pytest.fixture
def config(tmp_path):
    ports = dict.fromkeys(("http_port", "gateway_port", "enrolment_port", "utility_port"), 0)
    return CloudConfig(
        state_dir=tmp_path / "state", zones=(ZoneConfig(name="tiny", network="tiny"),), **ports
    )


async def live(app, readings):
    """One life of an aggregator: a home sends so many batches."""
    cloud = Cloud(app, await app.start())
    gateway = await cloud.gateway(site=f"home-{readings}", seed=readings)
    await gateway.connect()
    await gateway.send(gateway.seal(MAP))
    for number in range(1, readings + 1):
        await gateway.send(gateway.seal(gateway.readings(import_wh=1_000 + number)))
        await gateway.receipted(number + 1)
    await gateway.close()


async def test_a_start_replays_only_what_came_after_the_snapshot(config):
    first = App(config, SystemClock())
    await live(first, 2)
    pump = SnapshotPump(config, first.writer, 0)
    await pump.take()
    taken = first.writer.commands
    await first.stop()
    assert (config.state_dir / SNAPSHOT_FILE).stat().st_mode & 0o777 == 0o600

    second = App(config, SystemClock())
    known = second.snapshots.taken
    assert taken - 10 <= known <= taken
    assert second.views.totals.readings == first.views.totals.readings
    await live(second, 3)
    await second.stop()
    assert second.views.gateways.keys() > first.views.gateways.keys()

    journal = SqliteJournal(config.state_dir / JOURNAL_FILE, read_only=True)
    proof = verify(journal, Core(second.networks))
    journal.close()
    assert not proof.problems
    assert proof.commands == second.writer.commands
    assert proof.state_hash == second.core.state_hash()


async def test_a_snapshot_that_fails_is_said_and_stops_nothing(config, caplog):
    app = App(config, SystemClock())
    await app.start()
    (config.state_dir / SNAPSHOT_FILE).mkdir()
    await SnapshotPump(config, app.writer, 0).take()
    await app.stop()
    assert "no snapshot was taken" in caplog.text
