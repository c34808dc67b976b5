"""The command line as a person or systemd meets it: real processes, simulated homes on real wires."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge.__main__ import main
from protos import gateway_pb2
from protos.clock import SECOND_NS, SystemClock
from protos.codec import decode_payload
from protos.messages import LeaseReports, RegisterMap, SweepBatch

ROOT = Path(__file__).parents[2]


async def spawn(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "edge",
        *arguments,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def write_config(directory: Path, gate, devices: list[dict]) -> Path:
    lines = [
        '[agent]\nstate_dir = "state"\nname = "home"',
        f'[cloud]\nca = "{gate.authority.path}"\nserver_name = "localhost"',
        f'enrolment = "{gate.enrolment_address}"\ntoken_file = "token"',
        "[sampling]\nperiod_s = 0.2\nsweeps_per_batch = 2",
    ]
    for device in devices:
        lines.append("[[devices]]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in device.items() if value != {}]
    (directory / "token").write_text("seven-lemons")
    path = directory / "agent.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
async def street(tmp_path):
    """One simulated home, as the list of its devices."""
    simulator = await spawn("simulate", "--homes", "1", "--directory", str(tmp_path / "street"))
    ready = json.loads(await asyncio.wait_for(simulator.stdout.readline(), 20))
    yield json.loads(Path(ready["fleet"]).read_text())[0]["devices"]
    simulator.terminate()
    await simulator.communicate()


def reports(gate) -> list[tuple[str, str]]:
    payloads = [payload for chain in gate.chains.values() for payload in chain.payloads]
    records = [decode_payload(payload) for payload in payloads]
    return [
        (report.lease_id, report.state.name)
        for record in records
        if isinstance(record, LeaseReports)
        for report in record.reports
    ]


def boots(gate) -> set[int]:
    payloads = [payload for chain in gate.chains.values() for payload in chain.payloads]
    batches = [item for item in map(decode_payload, payloads) if isinstance(item, SweepBatch)]
    return {batch.boot_id for batch in batches}


async def test_a_killed_agent_undoes_its_setpoint_at_the_next_start_and_loses_nothing(
    tmp_path, gate, street, peers
):
    gate.now_ns = SystemClock().now_ns
    config = write_config(tmp_path, gate, street)
    agent = await spawn("run", str(config))
    await peers.eventually(lambda: sum(c.seq for c in gate.chains.values()) >= 3, 15)
    now = gate.now_ns()
    order = gateway_pb2.LeaseOrder(
        lease_id="L1", not_before_ns=now, expires_ns=now + 900 * SECOND_NS, power_w=-500
    )
    await gate.down.put(gateway_pb2.ConnectResponse(lease=order))
    await peers.eventually(lambda: ("L1", "ACTIVE") in reports(gate), 10)
    agent.send_signal(signal.SIGKILL)
    await agent.communicate()
    note = json.loads((tmp_path / "state" / "reversion.json").read_text())
    assert note["leases"] == ["L1"]

    agent = await spawn("run", str(config))
    await peers.eventually(lambda: ("L1", "REVERTED") in reports(gate), 15)
    await peers.eventually(lambda: len(boots(gate)) == 2, 15)
    status = await spawn("status", "--state-dir", str(tmp_path / "state"), "--metrics")
    metrics = (await status.communicate())[0].decode()
    assert "gridtokenx_edge_uplink_connected 1" in metrics
    agent.send_signal(signal.SIGTERM)
    _, log = await asyncio.wait_for(agent.communicate(), 15)
    assert agent.returncode == 0
    last = json.loads(log.splitlines()[-1])
    assert (last["message"], last["unreceipted"], last["gateway"]) == ("agent ends", 0, "home")
    chain = next(iter(gate.chains.values()))
    assert chain.seq == len(chain.payloads), "the gate checked every link on the way"


async def test_systemd_is_told_when_the_agent_is_ready_and_fed_while_it_lives(tmp_path, gate):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(15)
        config = write_config(tmp_path, gate, [])
        agent = await spawn("run", str(config), NOTIFY_SOCKET=str(path), WATCHDOG_USEC="400000")
        told = [await asyncio.to_thread(listener.recv, 99) for _ in range(3)]
        agent.terminate()
        await agent.communicate()
    assert told == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]


async def test_what_a_scan_writes_is_run_as_it_is(tmp_path, gate, street, peers):
    gate.now_ns = SystemClock().now_ns
    ports = [d["address"].split(":")[1] for d in street if d["transport"] == "tcp"]
    lines = [f"--serial={d['address']}" for d in street if d["transport"] == "rtu"]
    state, config = tmp_path / "state", tmp_path / "agent.toml"
    scan = await spawn(
        *("scan", "127.0.0.1", *lines, "--bauds", "9600", "--units", "1", "--ports", *ports),
        *("--output", str(config), "--state-dir", str(state)),
        *("--ca", str(gate.authority.path), "--cloud", gate.enrolment_address),
    )
    _, progress = await scan.communicate()
    assert scan.returncode == 0
    assert progress.decode().splitlines()[-1].split() == ["3/3", "found", "3"]
    token = ["--token", "seven-lemons", "--cloud", gate.enrolment_address, "--ca"]
    enrol = await spawn(
        *("enrol", "--json", *token, str(gate.authority.path)),
        *("--state-dir", str(state), "--server-name", "localhost"),
    )
    answer, _ = await enrol.communicate()
    assert json.loads(answer)["site"] == "home-1"
    check = await spawn("run", "--check", str(config))
    assert await check.wait() == 0

    agent = await spawn("run", str(config), GRIDTOKENX_EDGE_CLOUD_SERVER_NAME="localhost")
    await peers.eventually(lambda: registers(gate) == {"grid-1", "pv-1", "battery-1"}, 20)
    agent.send_signal(signal.SIGTERM)
    await asyncio.wait_for(agent.communicate(), 15)
    assert agent.returncode == 0


def registers(gate) -> set[str]:
    """The devices of the newest map that the gate has."""
    payloads = [payload for chain in gate.chains.values() for payload in chain.payloads]
    maps = [item for item in map(decode_payload, payloads) if isinstance(item, RegisterMap)]
    return {device.name for device in maps[-1].devices} if maps else set()


def run(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "edge", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_gateway_that_is_not_enrolled_says_how(tmp_path):
    config = tmp_path / "agent.toml"
    config.write_text('[agent]\nstate_dir = "s"\n[cloud]\nca = "ca.pem"\n')
    code, _, log = run("run", str(config))
    assert code == 3
    assert "gridtokenx-edge enrol --token" in json.loads(log.splitlines()[-1])["message"]


def test_a_wrong_configuration_is_one_line_and_code_two(tmp_path, capsys):
    config = tmp_path / "agent.toml"
    config.write_text("[agnet]\n")
    assert main(["run", str(config)]) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert "did you mean agent?" in complaint


def test_a_good_configuration_can_be_checked_without_running_it(tmp_path, capsys):
    config = tmp_path / "agent.toml"
    config.write_text('[agent]\nstate_dir = "s"\n[cloud]\nca = "ca.pem"\n')
    assert main(["run", "--check", str(config), str(config)]) == 0
    assert capsys.readouterr().out.startswith("2 configuration")
    assert main(["run", "--check", "--json", str(config)]) == 0
    assert json.loads(capsys.readouterr().out) == {"configurations": 1, "devices": 0}


def test_usage_errors_have_code_two_and_the_version_code_zero(capsys):
    for arguments, code in ((["nonsense"], 2), ([], 2), (["enrol"], 2), (["--version"], 0)):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == code
    assert "gridtokenx-edge 0." in capsys.readouterr().out


def test_a_status_without_an_agent_and_a_false_receipt_have_code_five(tmp_path, capsys):
    assert main(["status", "--state-dir", str(tmp_path)]) == 5
    (tmp_path / "receipt").write_text("no receipt")
    (tmp_path / "key").write_text("log+00000000+AAAA")
    assert main(["verify", str(tmp_path / "receipt"), "--key", str(tmp_path / "key")]) == 5
    assert main(["verify", str(tmp_path / "none"), "--key", str(tmp_path / "key")]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_enrolling_at_a_dead_address_says_so_and_leaves_no_enrolment(tmp_path, gate, capsys):
    arguments = ["enrol", "--token", "x", "--cloud", "127.0.0.1:9", "--ca"]
    code = main([*arguments, str(gate.authority.path), "--state-dir", str(tmp_path / "s")])
    assert code == 3
    assert "not reachable" in capsys.readouterr().err
    assert not (tmp_path / "s" / "enrolment.json").exists()


def test_the_light_agent_does_not_import_the_clouds_libraries():
    heavy = "fastapi", "msgspec", "numpy", "pydantic", "cloud", "ext", "pymodbus", "yaml"
    code = (
        "import sys, edge.process, edge.devices.catalog, edge.devices.sunspec, edge.enrol;"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_running_agent_has_one_tls_library_less_and_what_needs_it_later_still_gets_it():
    code = (
        "import sys; from edge.lean import load_without_tls; load_without_tls();"
        "import edge.process, edge.devices.catalog, edge.enrol, grpc.aio, hashlib;"
        "print('ssl' in sys.modules, hashlib.sha256(b'').hexdigest()[:8]);"
        "import ssl; print(ssl.create_default_context().verify_mode.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "e3b0c442", "CERT_REQUIRED"]
