"""Faults as people have them, seeded one at a time into a gateway that is otherwise well: the doctor
must find the part, name the cause and say the next step.
"""

import asyncio
import os
import re
import socket
import ssl
import tty
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edge.devices.catalog import load_profiles
from edge.devices.device import DeviceSpec
from edge.doctor import Probes, Situation, diagnose
from edge.simulator.home import Home, traits_of
from edge.simulator.images import MeterImage
from edge.simulator.profiles import shipped
from edge.simulator.server import SerialBus, Station, TcpDevice
from edge.simulator.sunspec import SolarImage
from protos.clock import SECOND_NS, SystemClock
from protos.messages import Role
from tests.devices.test_doctor import certificate

PROFILES = load_profiles()


@dataclass
class Gateway:
    """A gateway in good health on real sockets, a real terminal and real files."""

    directory: Path
    situation: Situation = None
    probes: Probes = field(default_factory=lambda: Probes(synchronised=lambda: True))
    closers: list = field(default_factory=list)

    async def open(self):
        now_ns = SystemClock().now_ns
        home = Home(traits_of(1, 7), shipped(), now_ns())
        self.meter = MeterImage(PROFILES["abb/b23"], home)
        self.tcp = TcpDevice(Station({1: self.meter}, now_ns))
        self.solar = TcpDevice(Station({1: SolarImage(home, SECOND_NS)}, now_ns))
        self.bus = SerialBus(
            Station({1: MeterImage(PROFILES["eastron/sdm630"], home)}, now_ns), 115_200
        )
        path = self.bus.start(self.directory / "meter.tty")
        address, solar = await self.tcp.start(), await self.solar.start()
        chain = certificate(self.directory / "server.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, chain.with_suffix(".key"))
        self.cloud = await asyncio.start_server(
            lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
        )
        own = certificate(self.directory / "tls.pem", "gateway")
        key = self.directory / "device.key"
        key.write_text("x")
        key.chmod(0o600)
        own.with_suffix(".key").chmod(0o600)
        self.situation = Situation(
            self.directory,
            (key, own.with_suffix(".key")),
            own,
            f"127.0.0.1:{self.cloud.sockets[0].getsockname()[1]}",
            chain,
            (
                DeviceSpec("grid", Role.GRID, "abb/b23", "tcp", address),
                DeviceSpec("pv", Role.PV, "sunspec", "tcp", solar),
                DeviceSpec("heat", Role.LOAD, "eastron/sdm630", "rtu", path, baud=115_200),
            ),
            "localhost",
            own.with_suffix(".key"),
        )

    async def close(self):
        self.cloud.close()
        for device in (self.tcp, self.solar, self.bus):
            await device.close()
        for closer in self.closers:
            closer()

    def change(self, **fields):
        self.situation = replace(self.situation, **fields)

    def device(self, name, **fields):
        specs = [
            replace(spec, **fields) if spec.name == name else spec
            for spec in self.situation.devices
        ]
        self.change(devices=tuple(specs))

    def look(self, **fields):
        self.probes = replace(self.probes, **fields)

    async def failures(self):
        return {
            check.name: f"{check.detail} -> {check.next_action}"
            for check in await diagnose(self.situation, self.probes)
            if not check.ok
        }


@pytest.fixture
async def gateway(tmp_path):
    gateway = Gateway(tmp_path)
    await gateway.open()
    yield gateway
    await gateway.close()


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def plain_listener(gateway):
    """Accepts and says nothing that is TLS."""
    listener = socket.create_server(("127.0.0.1", 0))
    gateway.closers.append(listener.close)

    async def talk():
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            peer, _ = await loop.sock_accept(listener)
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            peer.close()

    task = asyncio.get_running_loop().create_task(talk())
    gateway.closers.append(task.cancel)
    return f"127.0.0.1:{listener.getsockname()[1]}"


def occupied(gateway):
    """The terminal as another program has it: opened for itself alone."""
    import serial

    port = serial.Serial(gateway.situation.devices[2].address, exclusive=True)
    gateway.closers.append(port.close)


def silent_terminal(gateway):
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    gateway.closers += [lambda: os.close(ours), lambda: os.close(theirs)]
    gateway.device("heat", address=os.ttyname(theirs), options={"turnaround_ms": 30})


def noise_terminal(gateway):
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    loop = asyncio.get_running_loop()

    def babble():
        os.read(ours, 4096)
        os.write(ours, b"\xfe\x07\x91\x00\x13" * 4)

    loop.add_reader(ours, babble)
    gateway.closers += [
        lambda: loop.remove_reader(ours),
        lambda: os.close(ours),
        lambda: os.close(theirs),
    ]
    gateway.device("heat", address=os.ttyname(theirs))


def zeroed(gateway):
    """A billed counter that the meter says it has not."""
    counter = next(p for p in PROFILES["abb/b23"].points if p.id == "energy_import")
    read = gateway.meter.read

    def without(function, address, count, at_ns):
        words = list(read(function, address, count, at_ns))
        for at in range(counter.value.addr, counter.value.end):
            if address <= at < address + count:
                words[at - address] = 0xFFFF
        return words

    gateway.meter.read = without


def single_client(gateway):
    """Another master holds the only connection that the device serves."""
    mischief = gateway.tcp.station.mischief
    mischief.faults = replace(mischief.faults, single_client=1)
    host, port = gateway.situation.devices[0].address.split(":")
    holder = socket.create_connection((host, int(port)))
    gateway.closers.append(holder.close)


def busy(gateway):
    mischief = gateway.tcp.station.mischief
    mischief.faults = replace(mischief.faults, busy_every=1)


def wrong_key(gateway):
    path = gateway.directory / "meter.key"
    path.write_text("no key")
    gateway.device(
        "grid",
        profile="dlms",
        options={"key_file": str(path)},
    )


def full(gateway, used):
    gateway.look(
        status=lambda _: {
            "devices": {spec.name: {"problem": ""} for spec in gateway.situation.devices},
            "outbox": {"waiting": 5_000, "used_per_mille": used},
        }
    )


FAULTS = {
    "clock never set": (lambda g: g.look(now_ns=lambda: 0), "clock", "never set.*NTP"),
    "clock runs free": (lambda g: g.look(synchronised=lambda: False), "clock", "NTP.*123"),
    "disk full": (lambda g: g.look(free_bytes=lambda _: 5 << 20), "disk", "5 MiB free.*free some"),
    "no state directory": (
        lambda g: g.change(state_dir=Path("/nonexistent")),
        "disk",
        "create /nonexistent",
    ),
    "key for all to read": (
        lambda g: g.situation.key_files[0].chmod(0o644),
        "key device.key",
        "mode 644.*chmod 600",
    ),
    "no key": (lambda g: g.situation.key_files[0].unlink(), "key device.key", "No such.*enrol"),
    "certificate expired": (
        lambda g: certificate(g.situation.certificate, "gateway", (-9, -1)),
        "certificate",
        "expired.*new token",
    ),
    "certificate from the future": (
        lambda g: certificate(g.situation.certificate, "gateway", (1, 9)),
        "certificate",
        "not valid yet.*clock",
    ),
    "certificate not renewed": (
        lambda g: certificate(g.situation.certificate, "gateway", (-9, 1)),
        "certificate",
        "days left.*connection to the cloud",
    ),
    "certificate spoilt": (
        lambda g: g.situation.certificate.write_text("x"),
        "certificate",
        "enrol",
    ),
    "not enrolled": (lambda g: g.change(cloud=""), "cloud", "no address.*enrol"),
    "cloud's port closed": (lambda g: g.change(cloud=closed_port()), "cloud tcp", "allow TCP out"),
    "cloud's name wrong": (
        lambda g: g.change(cloud="no-such-host.invalid:8444"),
        "cloud tcp",
        "check name and port",
    ),
    "another authority": (
        lambda g: g.change(ca=certificate(g.directory / "other.pem")),
        "cloud tls",
        "self.signed.*check .*other.pem",
    ),
    "authority's file gone": (
        lambda g: g.change(ca=g.directory / "none.pem"),
        "cloud tls",
        "No such file.*check the files of ca",
    ),
    "server has another name": (
        lambda g: g.change(server_name="other.example"),
        "cloud tls",
        "other.example.*server_name",
    ),
    "cloud speaks no TLS": (
        lambda g: g.change(cloud=plain_listener(g)),
        "cloud tls",
        "proxy",
    ),
    "device switched off": (
        lambda g: g.device("grid", address=closed_port()),
        "device grid",
        "cannot open.*check address, cable",
    ),
    "address without a port": (
        lambda g: g.device("grid", address="192.168.1.7"),
        "device grid",
        "host:port",
    ),
    "unknown profile": (
        lambda g: g.device("grid", profile="abb/b32"),
        "device grid",
        "unknown profile.*abb/b23",
    ),
    "wrong profile": (
        lambda g: g.device("grid", profile="schneider/iem3155"),
        "device grid",
        "check",
    ),
    "wrong unit": (lambda g: g.device("grid", unit=9), "device grid", "unit 9.*unit number"),
    "no SunSpec there": (
        lambda g: g.device("grid", profile="sunspec"),
        "device grid",
        "no SunSpec marker.*name its profile",
    ),
    "role it cannot have": (
        lambda g: g.device("pv", role=Role.BATTERY, profile="huawei/luna2000"),
        "device pv",
        "check",
    ),
    "another master has it": (single_client, "device grid", "one client|other|closed"),
    "device busy": (busy, "device grid", "busy"),
    "billed counter missing": (zeroed, "device grid", "ENERGY_IMPORT_WH.*profile"),
    "serial port unplugged": (
        lambda g: g.device("heat", address="/dev/ttyUSB77"),
        "device heat",
        "ttyUSB77.*check|by-id",
    ),
    "serial port taken": (occupied, "device heat", "another|lock|exclusive|in use"),
    "nobody on the line": (silent_terminal, "device heat", "wiring|baud"),
    "noise on the line": (noise_terminal, "device heat", "unfittingly.*parity, termination"),
    "two speeds on one line": (
        lambda g: g.change(
            devices=(
                *g.situation.devices,
                replace(g.situation.devices[2], name="other", unit=2, baud=19200),
            )
        ),
        "device other",
        "same baud",
    ),
    "meter's key file spoilt": (wrong_key, "device grid", "32 hexadecimal"),
    "outbox fills": (lambda g: full(g, 950), "outbox", "950 per mille.*connection to the cloud"),
}


async def test_a_gateway_that_is_well_has_nothing_to_complain_about(gateway):
    assert await gateway.failures() == {}


@pytest.mark.parametrize("fault", sorted(FAULTS))
async def test_every_seeded_fault_is_found_named_and_comes_with_a_next_step(gateway, fault):
    seed, part, says = FAULTS[fault]
    seed(gateway)
    if not part.startswith("device"):
        gateway.change(devices=())
    failures = await gateway.failures()
    assert part in failures, failures
    assert re.search(says, failures[part], re.IGNORECASE | re.DOTALL), failures[part]
    detail, _, action = failures[part].partition(" -> ")
    assert detail
    assert len(action) > 10, "what to do must be said"


def test_forty_seeded_faults_less_six_are_covered():
    assert len(FAULTS) >= 34
