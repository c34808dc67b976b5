"""The agent's weight: memory, processor, start, and what it writes to flash in a day.

Ten Modbus TCP meters with a hundred values together are read every second by a real agent process
that seals, stores and sends them over mutual TLS to a gate in this process. ThingsBoard gateway
reads the same meters at the same time.
"""

import asyncio
import contextlib
import json
import struct
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.bench import thingsboard
from tests.bench.parts import as_installed, part

ROOT = Path(__file__).parents[2]
METERS = 10
SECONDS = 20
STARTS = 9
PROFILES = ("sdm120",) * 8 + ("sdm530", "sdm72d")
"""Ten meters of a hundred values together: eight of 9, one of 25, one of 3."""

PAGES_MB = 1 << 20
SECONDS_A_DAY = 86_400
FLOATS = {0: 230.1, 6: 4.31, 12: 991.5, 18: 992.0, 24: 31.0, 30: 0.99, 70: 50.01, 74: 12.5}

Row = dict[str, Any]


def rows() -> list[Row]:
    """One row a figure; a figure that could not be measured has the value None and a note."""
    # Not in /tmp: a file system in memory would write nothing.
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-agent-") as name:
        return asyncio.run(_measure(Path(name)))


def _row(name: str, value: float | None, unit: str, target: float, **more: Any) -> Row:
    ok = None if value is None else value <= target
    return {
        "name": name,
        "value": None if value is None else round(value, 3),
        "unit": unit,
        "target": target,
        "direction": "min",
        "ok": ok,
        "baseline": more.get("baseline"),
        "note": more.get("note", ""),
    }


async def _measure(directory: Path) -> list[Row]:
    peers = _peers()
    authority = peers.Authority(directory)
    gate = peers.Gate(authority)
    await gate.start()
    gate.now_ns = time.time_ns
    servers = [await asyncio.start_server(_meter, "127.0.0.1", 0) for _ in range(METERS)]
    try:
        config = _config(directory, gate, servers)
        await _start_once(config, gate)
        starts = sorted([await _start_once(config, gate) for _ in range(STARTS)])
        floors = sorted([await _imports_alone(directory) for _ in range(STARTS)])
        steady = await _steady(config, directory, servers)
        store = await _store(directory)
    finally:
        for server in servers:
            server.close()
        await gate.stop()
    return [*_weight(steady), *_start(starts, floors[len(floors) // 2]), *_flash(store)]


def _weight(steady: dict[str, Any]) -> list[Row]:
    other = steady["other_percent"]
    share = None if other is None else steady["cpu_percent"] / other
    return [
        _row(
            "resident memory, 10 meters of 100 values at 1 Hz",
            steady["rss_mib"],
            "MiB",
            45,
            baseline=steady["other_mib"],
            note=f"of it {steady['file_mib']:.0f} MiB unchanged pages of library files; before the"
            f" start's leftovers are given back {steady['early_mib']:.1f}, proportional set"
            f" {steady['pss_mib']:.1f}; over mutual TLS, signed; baseline ThingsBoard gateway",
        ),
        _row(
            "processor, 10 meters of 100 values at 1 Hz",
            steady["cpu_percent"],
            "% of a core",
            0.5,
            baseline=other,
            note=f"user and system time over {SECONDS} s; baseline ThingsBoard gateway beside it",
        ),
        _row(
            "processor, share of ThingsBoard gateway in the same run",
            share,
            "ratio",
            0.1,
            note=steady["other_note"],
        ),
    ]


def _start(starts: list[tuple[float, float, float]], floor: float) -> list[Row]:
    durable, receipt, processor = starts[len(starts) // 2]
    note = f"new process, warm page cache, median of {len(starts)}; {processor:.0f} ms of it"
    note += " processor time of the agent; baseline: Python with the libraries that this needs"
    note += " imported and nothing done, same run"
    return [
        _row("cold start to durable signed reading", durable, "ms", 150, baseline=floor, note=note),
        _row("cold start to receipt", receipt, "ms", 300, note="the transport's library is in it"),
    ]


def _flash(store: dict[str, float]) -> list[Row]:
    return [
        _row(
            "flash writes a day, batches of 60 s",
            store["mb_60"],
            "MB",
            25,
            baseline=1820,
            note="counted by the kernel for the outbox alone; the file system's journal is not in it",
        ),
        _row(
            "flash writes a day, 10 s at risk",
            store["mb_10"],
            "MB",
            50,
            baseline=1820,
            note="35 of it are the one page the kernel writes at each of 8,640 commits",
        ),
    ]


def _peers() -> ModuleType:
    """The gate and the authority of the tests."""
    return part("edge/conftest.py")


async def _meter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A Modbus TCP meter: every register of the map, a counter that runs, a little noise."""
    try:
        while True:
            head = await reader.readexactly(12)
            tid, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", head)
            data = b"".join(_float(at) for at in range(address, address + count, 2))[: 2 * count]
            body = struct.pack(">BBB", unit, function, len(data)) + data
            writer.write(struct.pack(">HHH", tid, 0, len(body)) + body)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


def _float(address: int) -> bytes:
    now = time.time()
    if address == 72:
        return struct.pack(">f", 1000 + now % 100_000 / 3600)
    return struct.pack(">f", FLOATS.get(address, 0.0) * (1 + (now * 1000 % 7) / 1000))


def _config(directory: Path, gate: Any, servers: list[asyncio.Server]) -> Path:
    (directory / "token").write_text("seven-lemons")
    lines = [
        '[agent]\nstate_dir = "state"\n[cloud]\nca = "ca.pem"\nserver_name = "localhost"',
        f'enrolment = "{gate.enrolment_address}"\ntoken_file = "token"',
        "[sampling]\nsweeps_per_batch = 10",
    ]
    for number, (server, profile) in enumerate(zip(servers, PROFILES, strict=True)):
        role = "grid" if number == 0 else "load"
        lines.append(
            f'[[devices]]\nname = "m{number}"\nrole = "{role}"\nprofile = "eastron/{profile}"\n'
            f'transport = "tcp"\naddress = "127.0.0.1:{_port(server)}"'
        )
    path = directory / "agent.toml"
    path.write_text("\n".join(lines))
    return path


async def _spawn(config: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "edge",
        "run",
        str(config),
        cwd=ROOT,
        env=as_installed(config.parent),
        stderr=asyncio.subprocess.PIPE,
    )


async def _start_once(config: Path, gate: Any) -> tuple[float, float, float]:
    """Milliseconds from exec to the first durable reading, to its receipt by the gate, and the
    processor time spent until the former.
    """
    before = sum(chain.seq for chain in gate.chains.values())
    started = time.monotonic()
    agent = await _spawn(config)
    durable: float | None = None
    receipted: float | None = None
    assert agent.stderr is not None
    async with asyncio.timeout(20):
        while durable is None:
            line = await agent.stderr.readline()
            if json.loads(line)["message"] == "first reading is durable":
                durable = time.monotonic() - started
                busy = _busy_s(agent.pid)
        while receipted is None:
            # The map and the first sweep.
            if sum(chain.seq for chain in gate.chains.values()) >= before + 2:
                receipted = time.monotonic() - started
            await asyncio.sleep(0.001)
    await _stop(agent)
    return durable * 1000, receipted * 1000, busy * 1000


async def _imports_alone(directory: Path) -> float:
    """Milliseconds of a Python that imports what a signed, stored reading cannot do without."""
    code = "import asyncio, sqlite3, tomllib, google.protobuf.message, dataclasses;"
    code += "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey"
    started = time.monotonic()
    python = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=as_installed(directory)
    )
    await python.wait()
    return round(1000 * (time.monotonic() - started), 1)


async def _stop(agent: asyncio.subprocess.Process) -> None:
    agent.terminate()
    await agent.communicate()


async def _steady(config: Path, directory: Path, servers: list[asyncio.Server]) -> dict[str, Any]:
    """The agent and the other gateway beside each other, after both have settled."""
    async with contextlib.AsyncExitStack() as stack:
        other_pid, heard, note = None, [], "100 single reads a second, plain MQTT, unsigned, SQLite"
        try:
            ports = [_port(server) for server in servers]
            peer = thingsboard.running(directory / "thingsboard", ports)
            other_pid, heard = await stack.enter_async_context(peer)
        except thingsboard.Missing as missing:
            note = str(missing)
        agent = await _spawn(config)
        stack.push_async_callback(_stop, agent)
        await asyncio.sleep(6)
        early_mib = _memory(agent.pid)["rss_mib"]
        await asyncio.sleep(6)
        pids = [agent.pid] if other_pid is None else [agent.pid, other_pid]
        messages = len(heard)
        busy, started = [_busy_s(pid) for pid in pids], time.monotonic()
        await asyncio.sleep(SECONDS)
        spent_s = time.monotonic() - started
        percents = [
            100 * (_busy_s(pid) - before) / spent_s for pid, before in zip(pids, busy, strict=True)
        ]
        if other_pid is not None and len(heard) - messages < SECONDS * METERS // 2:
            note, percents = f"it sent {len(heard) - messages} messages only", percents[:1]
        return {
            **_memory(agent.pid),
            "cpu_percent": percents[0],
            "other_percent": percents[1] if len(percents) > 1 else None,
            "other_mib": None if other_pid is None else round(_memory(other_pid)["rss_mib"], 1),
            "other_note": note,
            "early_mib": early_mib,
        }


def _memory(pid: int) -> dict[str, float]:
    """Resident, private and proportional set, and the resident pages of files, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    sizes = {
        line.split(":")[0]: int(line.split()[1]) / 1024
        for line in (*status, *rollup)
        if line.endswith("kB")
    }
    return {
        "rss_mib": sizes["VmRSS"],
        "file_mib": sizes["RssFile"],
        "pss_mib": sizes["Pss"],
    }


def _busy_s(pid: int) -> float:
    """Processor time of all threads, by the scheduler's own count in ns."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9


async def _store(directory: Path) -> dict[str, float]:
    """The outbox alone, with payloads as the agent makes them, receipted one batch later."""
    return {
        "mb_10": await _written(directory / "ten", 10, 200),
        "mb_60": await _written(directory / "sixty", 60, 100),
    }


async def _written(directory: Path, sweeps: int, batches: int) -> float:
    """MB a day written in normal operation."""
    from edge.keys import load_or_create_signer
    from edge.outbox import Outbox

    payloads = encoded_batches(sweeps)
    outbox = await Outbox.open(
        directory.with_suffix(".db"), load_or_create_signer(directory), 512 * PAGES_MB
    )
    await outbox.append([payloads[0]])
    before = _write_bytes()
    for number in range(batches):
        last = await outbox.append([payloads[number % len(payloads)]])
        outbox.trim(last)
    written = _write_bytes() - before
    await outbox.close()
    return written / batches * SECONDS_A_DAY / sweeps / 1e6


def _write_bytes() -> int:
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("write_bytes"):
            return int(line.split()[1])
    raise LookupError("this kernel does not count writes")


def encoded_batches(sweeps: int) -> list[bytes]:
    """Ten meters of ten values, seven of them with noise, encoded by the treaty."""
    from random import Random

    from protos.codec import encode_payload
    from protos.messages import ClockQuality, SweepBatch

    noise = Random(1)
    result = []
    for number in range(8):
        start = 1_800_000_000_000 + number * sweeps * 1000
        times = tuple(
            tuple(start + t * 1000 + noise.randrange(20) for t in range(sweeps))
            for _ in range(METERS)
        )
        values = []
        for _ in range(METERS):
            for size in (230_100, 4_310, 991, 992, 31, 990, 50_010):
                step = size // 200
                values += [tuple(size + noise.randint(-step, step) for _ in range(sweeps))]
            for step_every in (4, 9):
                values += [tuple(1_000_000 + t // step_every for t in range(sweeps))]
            values += [(12_500,) * sweeps]
        batch = SweepBatch(1, 7, start, ClockQuality.SYNCHRONISED, times, tuple(values))
        result.append(encode_payload(batch))
    return result


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row))
