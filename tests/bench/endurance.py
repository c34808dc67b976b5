"""What the gateway survives: a month without a cloud, power cuts, failing disks, dead devices.

The outbox is the agent's own, on a real disk; power cuts are cut points in its recorded writes, disk
errors are put into its system calls, as in tests/faults. Bounded by default, in full with
GRIDTOKENX_OFFLINE_DAYS=30 and GRIDTOKENX_POWER_CUTS=100000.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from edge.devices.modbus.errors import BusError, Resting
from edge.devices.modbus.frames import READ_HOLDING
from edge.devices.modbus.rtu import RtuBus
from edge.devices.modbus.timing import Manner
from edge.keys import load_or_create_signer
from edge.outbox import Outbox
from protos.seal import GENESIS, link
from tests.bench import hostile
from tests.bench.agent import encoded_batches
from tests.bench.modbus import row
from tests.bench.parts import part
from tests.sim.loop import VirtualLoop

ROOT = Path(__file__).parents[2]
DAYS = int(os.environ.get("GRIDTOKENX_OFFLINE_DAYS", "2"))
CUTS = int(os.environ.get("GRIDTOKENX_POWER_CUTS", "3000"))
SWEEPS = 10
BATCHES_A_DAY = 86_400 // SWEEPS
BOUND_BYTES = 512_000_000
UNITS = 10
LINE_S = 600.0
Row = dict[str, Any]


def rows() -> list[Row]:
    """Every row of what may go wrong round the outbox and on the line."""
    # Not in /tmp: a file system in memory is no flash.
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-endurance-") as name:
        directory = Path(name)
        return [
            *asyncio.run(_offline(directory)),
            *_power_cuts(directory),
            *_disks(directory),
            dead_device(),
        ]


def _row(
    name: str, value: float | None, unit: str, target: float, note: str, direction: str = "min"
) -> Row:
    return row(name, value, unit, target, direction, None, note)


# ---- a month without a cloud ----------------------------------------------------------------


async def _offline(directory: Path) -> list[Row]:
    payloads = encoded_batches(SWEEPS)
    signer = load_or_create_signer(directory)
    path = directory / "outbox.db"
    began = time.monotonic()
    box = await Outbox.open(path, signer, BOUND_BYTES)
    made = 0
    while made < DAYS * BATCHES_A_DAY:
        made = await box.append([payloads[(made + n) % len(payloads)] for n in range(60)])
    coarsest, kept = box.stride, sum(item.stat().st_size for item in directory.glob("outbox.db*"))
    drained = await _drained(box, signer.device, made)
    await box.close()
    month_mb = kept / 1e6 * 30 / DAYS
    note = f"{DAYS} days of batches of {SWEEPS} sweeps, sealed into the real outbox"
    if DAYS != 30:
        note += ", times 30 (linear: a row is a page); in full with GRIDTOKENX_OFFLINE_DAYS=30"
    note += f"; {time.monotonic() - began:.0f} s"
    if coarsest > 1:
        note += f"; the sampling would have become {coarsest} times coarser"
    lost = f"of {made} envelopes, read in order, each naming the one before, receipted as they went"
    return [
        _row("30 days offline, size of the outbox", month_mb, "MB", 512, note),
        _row("30 days offline, lost or out of order", made - drained, "envelopes", 0, lost),
    ]


async def _drained(box: Outbox, device: Any, made: int) -> int:
    """How many came out in order with an unbroken chain, while live ones went on coming in."""
    seen, previous = 0, GENESIS
    while seen < made:
        for sealed in await box.read(seen, 16):
            if sealed.seq != seen + 1 or sealed.previous != previous:
                return seen
            seen, previous = sealed.seq, link(device, sealed)
        box.trim(seen)
        if seen % 3200 == 0:
            await box.append([b"live"])
    return made


# ---- power cuts and failing disks -----------------------------------------------------------


def _power_cuts(directory: Path) -> list[Row]:
    names = (
        "power cuts, acknowledged envelopes lost",
        "power cuts, files that do not open",
        "power cuts tried",
    )
    units, targets, ways = ("cuts", "cuts", "cuts"), (0, 0, 100_000), ("min", "min", "max")
    faults = part("faults/test_power_cuts.py")
    where = directory / "powered"
    where.mkdir()
    operations = faults.powered(where) if shutil.which("strace") else None
    if operations is None:
        note = "strace is not installed here, or may not trace"
        return [
            _row(name, None, unit, target, note, way)
            for name, unit, target, way in zip(names, units, targets, ways, strict=True)
        ]
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory, prefix="gridtokenx-cuts-") as work:
        made, lost, closed = faults.cut_everywhere(where, operations, CUTS, Path(work))
    note = f"of {made} cuts in {len(operations)} recorded writes, torn at 512 bytes"
    full = "in full with GRIDTOKENX_POWER_CUTS=100000"
    values = (lost, closed, made)
    return [
        _row(name, value, unit, target, full if way == "max" else note, way)
        for name, value, unit, target, way in zip(names, values, units, targets, ways, strict=True)
    ]


def _disks(directory: Path) -> list[Row]:
    name = "disk full, EIO, read-only: crashes or losses"
    faults = part("faults/test_outbox_disks.py")
    bad, tried, kinds = 0, 0, []
    for number, (call, error) in enumerate(faults.FAULTS):
        where = directory / f"disk-{number}"
        where.mkdir()
        try:
            done = faults.under_fault(where, call, error) if shutil.which("strace") else None
            if done is None:
                return [_row(name, None, "faults", 0, "strace is not installed here")]
            bad += not _came_back(faults, where, done.stdout.splitlines())
        except AssertionError:
            bad += 1
        tried += 1
        kinds.append(f"{error} at {call}")
    full = _full_memory_disk(directory)
    if full is not None:
        tried, bad = tried + 1, bad + (not full)
        kinds.append("tmpfs filled by others")
    return [_row(name, bad, "faults", 0, f"of {tried}: {', '.join(kinds)}; oldest kept, came back")]


def _came_back(faults: ModuleType, where: Path, lines: list[str]) -> bool:
    """The fault was met, everything acknowledged is there in one chain, the last append worked."""
    told = [int(line.split()[1]) for line in lines if line.startswith("A")]
    met = any(line.startswith("E") for line in lines)
    return met and lines[-2].startswith("A") and faults.whole_chain(where) == told[-1]


def _full_memory_disk(directory: Path) -> bool | None:
    """The test of a disk that others filled, in its own words; None where it cannot mount."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp",
         str(directory / "pytest"), "tests/edge/test_outbox.py", "-k", "filled_by_others"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return None if "1 skipped" in done.stdout else done.returncode == 0


# ---- a dead device --------------------------------------------------------------------------


def dead_device() -> Row:
    """Ten meters on one line of 9600 baud that is never idle; one of them does not answer."""
    alive, dead = _answers(silent=()), _answers(silent=(UNITS,))
    note = f"answers of the other nine in {LINE_S:.0f} s of a saturated line, computed time:"
    note += f" {dead} against {alive} with all ten alive"
    share = 100 * dead / alive
    return _row("one of ten devices dead, rate of the others", share, "%", 95, note, "max")


def _answers(silent: tuple[int, ...]) -> int:
    with hostile.without_kernel_timers(), asyncio.Runner(loop_factory=VirtualLoop) as run:
        return run.run(_asked_in_turn(silent))


async def _asked_in_turn(silent: tuple[int, ...]) -> int:
    """How often units 1 to 9 answered while all ten were asked as fast as the line carries."""
    wire = hostile.Wire(9600)
    slave = hostile.slaves().SerialSlave(wire.answer, silent_units=silent)
    wire.hear = slave.octets
    bus = RtuBus(wire, "line", 9600)
    loop = asyncio.get_running_loop()
    end, answers = loop.time() + LINE_S, 0

    async def poll(unit: int) -> None:
        nonlocal answers
        bus.introduce(unit, Manner(turnaround_s=0.02))
        while loop.time() < end:
            try:
                await bus.read(unit, READ_HOLDING, 0, 20, 1)
            except Resting as resting:
                await asyncio.sleep(resting.retry_in_s)
            except BusError:
                continue
            else:
                answers += unit != UNITS

    await asyncio.gather(*(poll(unit) for unit in range(1, UNITS + 1)))
    await bus.close()
    slave.task.cancel()
    return answers


if __name__ == "__main__":
    for line in rows():
        print(line["name"], line["value"], line["unit"], line["ok"], line["note"])
