"""A street of simulated homes behind real Modbus wires: `gridtokenx-edge simulate`.

Builds the homes from a seed, opens a port or a terminal for each of their devices, writes down in
`fleet.json` how each is reached, and says so in one line on standard output. The homes live on when
they are read and once a second; nothing else costs time. This module never speaks Modbus itself.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from edge.devices.catalog import profile_directory
from edge.devices.device import DeviceSpec
from edge.devices.profile import Profile
from edge.devices.profile_file import load_profile
from edge.devices.profile_table import BadProfile
from edge.simulator.faults import HONEST, Faults, Mischief, faults_of
from edge.simulator.home import Home, traits_of
from edge.simulator.images import MeterImage
from edge.simulator.profiles import shipped
from edge.simulator.server import SerialBus, Station, TcpDevice
from edge.simulator.state import StateError, load, save, write_whole
from edge.simulator.sunspec import BatteryImage, SolarImage
from edge.simulator.wire import Image
from protos.clock import SECOND_NS, Clock, ScaledClock, clock_from_environment
from protos.messages import Role

METERS = (
    "eastron/sdm630",
    "eastron/sdm120",
    "carlo_gavazzi/em340",
    "carlo_gavazzi/em24",
    "abb/b23",
    "schneider/iem3155",
)
"""The grid meters of the street, in turn, on terminals and on sockets alike."""

SERIAL_EVERY = 3
BAUD = 9_600
SAVE_EVERY_S = 60


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for on the command line."""

    homes: int
    seed: int
    directory: Path
    base_port: int
    state: Path | None
    faults: Faults
    faulty: str
    turnaround_ms: int


@dataclass(slots=True)
class SimulatedDevice:
    """One device with its wire and with how it is reached once it listens."""

    spec: DeviceSpec
    station: Station
    server: TcpDevice | SerialBus


@dataclass(slots=True)
class SimulatedHome:
    name: str
    home: Home
    devices: list[SimulatedDevice]


class Fleet:
    """The homes, their devices and their wires. `now_ns` is the simulation's time."""

    def __init__(self, order: Order, clock: Clock) -> None:
        self.order = order
        self.clock = clock
        self.second_ns = (
            int(clock.speed * SECOND_NS) if isinstance(clock, ScaledClock) else SECOND_NS
        )
        self.homes: list[SimulatedHome] = []
        self._ports = iter(range(order.base_port, 65_536)) if order.base_port else None

    async def open(self) -> None:
        """Builds every home, restores its state, and listens. OSError where a port is taken."""
        saved = load(self.order.state, self.order.seed) if self.order.state else {}
        now_ns = self.clock.now_ns()
        for number in range(1, self.order.homes + 1):
            name = f"home-{number:02}"
            home = Home(traits_of(number, self.order.seed), shipped(), now_ns)
            if name in saved:
                home.restore(saved[name], now_ns)
            built = SimulatedHome(name, home, [])
            self.homes.append(built)
            for device, image in self._images(name, home):
                built.devices.append(await self._listen(device, image))

    async def close(self) -> None:
        for home in self.homes:
            for device in home.devices:
                await device.server.close()

    def step(self) -> None:
        now_ns = self.clock.now_ns()
        for home in self.homes:
            home.home.step(now_ns)

    def save(self) -> None:
        if self.order.state is not None:
            states = {entry.name: entry.home.state() for entry in self.homes}
            save(self.order.state, self.order.seed, states)

    def description(self) -> list[dict[str, object]]:
        """What `fleet.json` holds: one entry a home."""
        return [
            {
                "name": entry.name,
                "number": entry.home.traits.number,
                "pv_peak_w": entry.home.traits.pv_peak_w,
                "battery_capacity_wh": entry.home.traits.capacity_wh,
                "battery_power_w": entry.home.traits.battery_w,
                "devices": [spec_fields(device.spec) for device in entry.devices],
            }
            for entry in self.homes
        ]

    def _images(self, name: str, home: Home) -> Iterator[tuple[DeviceSpec, Image]]:
        number = home.traits.number
        serial = number % SERIAL_EVERY == 1
        before = (number + SERIAL_EVERY - 2) // SERIAL_EVERY
        turn = before if serial else number - 1 - before
        profile = METERS[turn % len(METERS)]
        device = f"{name}-grid"
        spec = DeviceSpec(device, Role.GRID, profile, "rtu" if serial else "tcp", "", 1, BAUD)
        yield spec, MeterImage(meter_profile(profile), home, holes=bool(self._faults(device).holes))
        yield (
            DeviceSpec(f"{name}-pv", Role.PV, "sunspec", "tcp", ""),
            SolarImage(home, self.second_ns),
        )
        if home.traits.has_battery:
            yield (
                DeviceSpec(f"{name}-battery", Role.BATTERY, "sunspec", "tcp", ""),
                BatteryImage(home, self.second_ns),
            )

    async def _listen(self, spec: DeviceSpec, image: Image) -> SimulatedDevice:
        mischief = Mischief(self._faults(spec.name))
        station = Station({spec.unit: image}, self.clock.now_ns, mischief)
        server: TcpDevice | SerialBus
        if spec.transport == "rtu":
            server = SerialBus(station, spec.baud, self.order.turnaround_ms)
            address = server.start(self.order.directory / f"{spec.name}.tty")
        else:
            server = TcpDevice(station)
            address = await server.start(port=next(self._ports) if self._ports else 0)
        return SimulatedDevice(replace(spec, address=address), station, server)

    def _faults(self, device: str) -> Faults:
        return self.order.faults if fnmatchcase(device, self.order.faulty) else HONEST


@cache
def meter_profile(name: str) -> Profile:
    """The shipped profile of a meter. Raises BadProfile."""
    return load_profile(profile_directory() / f"{name}.toml")


def spec_fields(spec: DeviceSpec) -> dict[str, object]:
    """A DeviceSpec as an installer would write it: the role by its name."""
    return asdict(spec) | {"role": spec.role.name.lower(), "options": dict(spec.options)}


async def serve(order: Order, clock: Clock, stop: asyncio.Event) -> None:
    """Runs a fleet until `stop` is set."""
    order.directory.mkdir(parents=True, exist_ok=True)
    fleet = Fleet(order, clock)
    try:
        await fleet.open()
        path = order.directory / "fleet.json"
        write_whole(path, json.dumps(fleet.description(), indent=1) + "\n")
        sys.stdout.write(json.dumps(ready(fleet, path)) + "\n")
        sys.stdout.flush()
        await _live(fleet, stop)
        fleet.save()
    finally:
        await fleet.close()


async def _live(fleet: Fleet, stop: asyncio.Event) -> None:
    elapsed_s = 0
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
        fleet.step()
        elapsed_s += 1
        if elapsed_s % SAVE_EVERY_S == 0:
            fleet.save()


def ready(fleet: Fleet, path: Path) -> dict[str, object]:
    """The one line that says that everything listens."""
    devices = [device for home in fleet.homes for device in home.devices]
    return {
        "ready": True,
        "fleet": str(path),
        "homes": len(fleet.homes),
        "tcp": sum(device.spec.transport == "tcp" for device in devices),
        "rtu": sum(device.spec.transport == "rtu" for device in devices),
        "battery_power_w": sum(home.home.traits.battery_w for home in fleet.homes),
        "pid": os.getpid(),
    }


def order_of(arguments: Sequence[str]) -> Order:
    """The command line. Exits with a message where it cannot be understood."""
    parser = argparse.ArgumentParser(
        prog="gridtokenx-edge simulate", description="Simulated homes on real Modbus wires."
    )
    add = parser.add_argument
    add("--homes", type=int, default=20, help="how many (default 20)")
    add("--seed", type=int, default=1, help="the same seed builds the same street")
    add("--directory", type=Path, required=True, help="where fleet.json and terminal links go")
    add("--base-port", type=int, default=0, help="first TCP port; 0 lets the system choose")
    add("--state", type=Path, help="keep the homes' counters in this file over restarts")
    add("--faults", default="", help="such as stall_every=25,stall_ms=3300")
    add("--faulty", default="*", help="which devices have the faults, such as 'home-03-*'")
    add("--turnaround-ms", type=int, default=0, help="how long a serial device thinks")
    given = parser.parse_args(list(arguments))
    if not 1 <= given.homes <= 1_000:
        parser.error("--homes is between 1 and 1000")
    if given.base_port and not 1 <= given.base_port <= 65_535 - 3 * given.homes:
        parser.error("--base-port leaves too few ports; choose a lower one")
    try:
        faults = faults_of(given.faults)
    except ValueError as error:
        parser.error(f"--faults: {error}")
    return Order(
        homes=given.homes,
        seed=given.seed,
        directory=given.directory.resolve(),
        base_port=given.base_port,
        state=given.state,
        faults=faults,
        faulty=given.faulty,
        turnaround_ms=given.turnaround_ms,
    )


async def _run(order: Order) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await serve(order, clock_from_environment(), stop)


def main(arguments: Sequence[str]) -> int:
    """Runs until interrupted. Returns the process's exit code."""
    order = order_of(arguments)
    try:
        asyncio.run(_run(order))
    except (OSError, StateError, BadProfile) as error:
        sys.stderr.write(f"gridtokenx-edge simulate: {error}\n")
        return 1
    return 0
