"""The doctor: every trouble is found, named, and comes with what to do."""

import datetime as dt
import json
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge.devices.device import DeviceSpec
from edge.doctor import (
    Check,
    Probes,
    Situation,
    as_json,
    as_text,
    check_certificate,
    check_clock,
    check_disk,
    check_key,
    check_outbox,
    diagnose,
    main,
)
from edge.simulator.makers import SmaStorage, SungrowStorage
from edge.simulator.server import Station, TcpDevice
from protos.clock import SECOND_NS
from protos.messages import Role

NOW = 1_790_000_000 * SECOND_NS
DAY = 86_400 * SECOND_NS


@pytest.fixture
def situation(tmp_path):
    key = tmp_path / "device.key"
    key.write_text("x")
    key.chmod(0o600)
    return Situation(tmp_path, (key,), tmp_path / "tls.pem", "", tmp_path / "ca.pem", ())


def certificate(path, name="localhost", days=(-1, 9)):
    """A self-signed certificate, valid from and until so many days from now, with its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def tls_server(tmp_path):
    """A TLS listener with a self-signed certificate; yields (address, certificate)."""
    chain = certificate(tmp_path / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, chain.with_suffix(".key"))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(plain, server_side=True).close()
            except OSError:
                plain.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"localhost:{listener.getsockname()[1]}", chain
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(2)


def test_a_clock_that_was_never_set_or_runs_free_is_named():
    assert check_clock(Probes(now_ns=lambda: 0)).next_action
    assert check_clock(Probes(now_ns=lambda: NOW, synchronised=lambda: False)).next_action
    assert check_clock(Probes(now_ns=lambda: NOW, synchronised=lambda: True)).ok
    assert check_clock(Probes(now_ns=lambda: NOW, synchronised=lambda: None)).ok


def test_a_full_disk_and_a_missing_directory_are_named(situation):
    assert check_disk(situation, Probes(free_bytes=lambda _: 1 << 40)).ok
    assert not check_disk(situation, Probes(free_bytes=lambda _: 1 << 20)).ok
    gone = Situation(Path("/nonexistent"), (), situation.certificate, "", situation.ca, ())
    assert "create" in check_disk(gone, Probes()).next_action


def test_a_key_that_others_can_read_is_named_with_the_command(situation):
    key = situation.key_files[0]
    assert check_key(key, Probes()).ok
    key.chmod(0o644)
    assert check_key(key, Probes()).next_action == f"chmod 600 {key}"
    key.unlink()
    assert "enrol" in check_key(key, Probes()).next_action


@pytest.mark.parametrize(
    ("begin", "end", "ok", "says"),
    [
        (-1, 9, True, "9.0 days left"),
        (-8, 1, False, "1.0 days left"),
        (-9, -1, False, "expired"),
        (1, 9, False, "not valid yet"),
    ],
)
def test_a_certificate_is_judged_by_its_dates(situation, begin, end, ok, says):
    look = Probes(now_ns=lambda: NOW, dates=lambda _: (NOW + begin * DAY, NOW + end * DAY))
    check = check_certificate(situation, look)
    assert (check.ok, check.detail) == (ok, says)
    assert bool(check.next_action) is not ok


def test_a_real_certificate_file_is_read_and_a_broken_one_named(situation):
    certificate(situation.certificate)
    assert check_certificate(situation, Probes()).ok
    situation.certificate.write_text("no PEM")
    assert "enrol" in check_certificate(situation, Probes()).next_action


def test_an_outbox_that_fills_is_named():
    assert check_outbox(None).ok
    assert check_outbox({"outbox": {"waiting": 3, "used_per_mille": 10}}).ok
    assert not check_outbox({"outbox": {"waiting": 9999, "used_per_mille": 900}}).ok


async def named(situation, probes=None):
    return {check.name: check for check in await diagnose(situation, probes)}


async def test_a_cloud_that_can_be_reached_passes_tcp_and_tls(situation, tls_server):
    address, chain = tls_server
    there = Situation(situation.state_dir, (), situation.certificate, address, chain, ())
    checks = await named(there)
    assert checks["cloud tcp"].ok
    assert checks["cloud tls"].ok, checks["cloud tls"]


async def test_a_certificate_of_another_authority_fails_tls_and_not_tcp(
    situation, tls_server, tmp_path
):
    address, _ = tls_server
    other = certificate(tmp_path / "other.pem")
    checks = await named(Situation(tmp_path, (), situation.certificate, address, other, ()))
    assert checks["cloud tcp"].ok
    assert not checks["cloud tls"].ok
    assert "server_name" in checks["cloud tls"].next_action


async def test_a_closed_port_and_a_missing_address_are_named(situation):
    closed = Situation(
        situation.state_dir, (), situation.certificate, "127.0.0.1:1", situation.ca, ()
    )
    assert "TCP out" in (await named(closed))["cloud tcp"].next_action
    assert "enrol" in (await named(situation))["cloud"].next_action


async def test_each_device_is_connected_read_and_timed(situation, yard):
    slave, spec = await yard.tcp()
    dead = DeviceSpec("dead", Role.PV, "sunspec", "tcp", "127.0.0.1:1")
    meter = DeviceSpec("meter", Role.GRID, "abb/b23", "tcp", spec.address)
    slave.written = dict.fromkeys(range(65536), 0)
    there = Situation(
        situation.state_dir, (), situation.certificate, "", situation.ca, (meter, dead)
    )
    checks = await named(there)
    assert checks["device meter"].ok
    assert "23 of 23 values, read in" in checks["device meter"].detail
    assert "check address" in checks["device dead"].next_action


@pytest.mark.parametrize(
    ("kind", "says"),
    [(SungrowStorage, "ends a setpoint by itself"), (SmaStorage, "only the agent ends a setpoint")],
)
async def test_it_is_said_who_ends_a_setpoint_when_the_agent_is_dead(situation, kind, says):
    server = TcpDevice(Station({kind.unit: kind(SECOND_NS)}, lambda: NOW))
    battery = DeviceSpec("b", Role.BATTERY, kind.profile, "tcp", await server.start(), kind.unit)
    there = Situation(situation.state_dir, (), situation.certificate, "", situation.ca, (battery,))
    assert says in (await named(there))["device b"].detail
    await server.close()


async def test_while_the_agent_runs_it_is_asked_and_the_ports_are_left_alone(situation, yard):
    slave, spec = await yard.tcp()
    meter = DeviceSpec("meter", Role.GRID, "abb/b23", "tcp", spec.address)
    there = Situation(situation.state_dir, (), situation.certificate, "", situation.ca, (meter,))
    status = {"devices": {"meter": {"problem": "unit 1 did not answer"}}, "outbox": {"waiting": 2}}
    checks = await named(there, Probes(status=lambda _: status))
    assert checks["device meter"].detail == "unit 1 did not answer"
    assert slave.connections == 0
    assert checks["outbox"].detail.startswith("2 batches wait")


def test_the_report_reads_for_people_and_for_programs():
    checks = [
        Check("a", ok=True, detail="fine"),
        Check("b", ok=False, detail="bad", next_action="do"),
    ]
    assert as_text(checks) == "ok   a: fine\nFAIL b: bad\n     -> do\n"
    assert [json.loads(line)["ok"] for line in as_json(checks).splitlines()] == [True, False]


def test_the_command_needs_a_configuration(tmp_path, capsys):
    assert main([str(tmp_path / "none.toml")]) == 2
    path = tmp_path / "agent.toml"
    path.write_text('[agent]\nstate_dir = "s"\n[cloud]\nca = "ca.pem"\n')
    assert main([str(path)]) == 5
    assert "enrol" in capsys.readouterr().out
