"""Finds meters, inverters and batteries on the network and on serial ports, for an installer.

It knocks at one address after the other, reads only, and tells as it goes. It must never write to
a device, never hold more than one connection, and never search a network larger than a /24.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge.devices.catalog import load_profiles
from edge.devices.device import DeviceError, DeviceSpec
from edge.devices.modbus.bus import Bus, BusPool
from edge.devices.modbus.errors import BusError, Declined, LinkLost, Silent, Unreachable
from edge.devices.modbus.frames import READ_HOLDING, READ_INPUT
from edge.devices.modbus.timing import Manner
from edge.devices.profile import PointMap, Profile
from edge.devices.sunspec import SunspecDevice
from edge.devices.sunspec_map import BATTERIES, INVERTERS, METERS
from edge.neighbours import expand_hosts, knock, present
from protos.clock import SystemClock
from protos.messages import Quantity, Role

PORTS = (502, 1502)
BAUDS = (9600, 19200)
UNITS = (1, 2, 3, 126, 200, 240)
"""Units that makers ship with; 126 is Fronius', 200 and 240 its meters', 3 SMA's."""

QUICK = Manner(turnaround_s=0.015)
UNKNOWN = "unknown"
SIGNED = 1000
"""The score of a model that named itself: above any count of plausible values."""

NO_DEVICE, USAGE, DONE = 5, 2, 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the search is: places done of all, the one at hand, devices found so far."""

    done: int
    total: int
    place: str
    found: int


@dataclass(frozen=True, slots=True)
class Finding:
    """A device that answered. `sure` is False where the model was inferred from its values."""

    spec: DeviceSpec
    label: str
    sure: bool


@dataclass(frozen=True, slots=True)
class Place:
    """One thing to knock at."""

    transport: str
    address: str
    baud: int = 9600


OnProgress = Callable[[Progress], None]


async def scan(
    hosts: Sequence[str],
    ports: Sequence[int],
    serial_paths: Sequence[str],
    units: Sequence[int],
    progress: OnProgress,
    bauds: Sequence[int] = BAUDS,
) -> list[Finding]:
    """Everything that answers at these places, one connection at a time. Raises ValueError."""
    there = await present(expand_hosts(hosts))
    places = [Place("tcp", f"{host}:{port}") for host in there for port in ports] + [
        Place("rtu", path, baud) for path in serial_paths for baud in bauds
    ]
    found: list[Finding] = []
    for path in serial_paths:
        if not os.path.exists(path):  # noqa: ASYNC240, PTH110
            raise ValueError(f"{path} does not exist; list the ports with ls -l /dev/serial/by-id")
    profiles = load_profiles()
    for done, place in enumerate(places):
        progress(Progress(done, len(places), place.address, len(found)))
        if place.transport == "rtu" and any(f.spec.address == place.address for f in found):
            # One line has one speed.
            continue

        def at(unit: int, done: int = done, address: str = place.address) -> None:
            progress(Progress(done, len(places), f"{address} unit {unit}", len(found)))

        async for finding in _search(place, units, profiles, at):
            found.append(finding)
            progress(Progress(done, len(places), place.address, len(found)))
    progress(Progress(len(places), len(places), "", len(found)))
    return _named(found)


async def _search(
    place: Place,
    units: Sequence[int],
    profiles: dict[str, Profile],
    at: Callable[[int], None],
) -> AsyncIterator[Finding]:
    if place.transport == "tcp" and not await knock(place.address):
        return
    pool = BusPool()
    try:
        for unit in units:
            at(unit)
            spec = DeviceSpec(
                "found", Role.GRID, "", place.transport, place.address, unit, place.baud
            )
            try:
                findings = await _identify(spec, pool.bus(spec), profiles)
            except Unreachable:
                return
            for finding in findings:
                yield finding
    finally:
        await pool.close()


async def _identify(spec: DeviceSpec, bus: Bus, profiles: dict[str, Profile]) -> list[Finding]:
    """What is behind one unit: nothing, a SunSpec device in each of its roles, or a profile."""
    bus.introduce(spec.unit, QUICK)
    if not await _answers(bus, spec.unit):
        return []
    sunspec = await _sunspec(spec, bus)
    if sunspec:
        return sunspec
    heard = _Heard(bus)
    scores = [(await _score(heard, spec.unit, profile), name) for name, profile in profiles.items()]
    best = max(scores)
    if best[0] >= SIGNED:
        signed = sorted(name for score, name in scores if score == best[0])
        return [
            Finding(replace(spec, profile=name, role=profiles[name].roles[0]), label, sure=True)
            for name in signed
            if (label := await _is_there(heard, spec.unit, profiles[name]))
        ]
    if best[0] == 0:
        return [Finding(replace(spec, profile=UNKNOWN), "speaks Modbus, model unknown", sure=False)]
    # Of models with one map the name decides nothing: the fullest is offered first.
    equal = sorted(
        (name for score, name in scores if score == best[0]),
        key=lambda name: (-len(profiles[name].points), name),
    )
    label = f"plausible as {' or '.join(equal)}; check the type plate"
    return [Finding(replace(spec, profile=equal[0]), label, sure=False)]


async def _answers(bus: Bus, unit: int) -> bool:
    """Whether anything comes back from a unit; an exception is an answer too."""
    for function in (READ_HOLDING, READ_INPUT):
        try:
            await _ask(bus, unit, function, 0, 2)
        except Declined:
            return True
        except Silent:
            return False
        except BusError:
            continue
        else:
            return True
    return False


class _Heard:
    """What a unit said during one identification: many models ask for the same registers."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._said: dict[tuple[int, int, int, int], tuple[int, ...] | BusError] = {}

    async def read(self, unit: int, function: int, address: int, count: int) -> tuple[int, ...]:
        """Raises BusError, the same one again for the same question."""
        key = (unit, function, address, count)
        if key not in self._said:
            try:
                self._said[key] = await _ask(self._bus, unit, function, address, count)
            except BusError as error:
                self._said[key] = error
        said = self._said[key]
        if isinstance(said, BusError):
            raise said
        return said


async def _ask(bus: Bus, unit: int, function: int, address: int, count: int) -> tuple[int, ...]:
    """One question; waits once for a connection that was dropped to be opened again."""
    try:
        return await bus.read(unit, function, address, count)
    except (Unreachable, LinkLost) as error:
        await asyncio.sleep(error.retry_in_s if isinstance(error, Unreachable) else 0.6)
    return await bus.read(unit, function, address, count)


async def _sunspec(spec: DeviceSpec, bus: Bus) -> list[Finding]:
    found: list[Finding] = []
    for role, models in (
        (Role.GRID, METERS),
        (Role.PV, INVERTERS),
        (Role.BATTERY, (*BATTERIES, 124)),
    ):
        candidate = replace(spec, role=role, profile="sunspec")
        try:
            device = await SunspecDevice.discover(candidate, SystemClock(), bus)
        except DeviceError:
            if not found:
                return []
            continue
        if any(model in device.models for model in models):
            label = f"{device.label}, serial {device.entry.serial}".strip(", ")
            found.append(Finding(candidate, label, sure=True))
    battery = [finding for finding in found if finding.spec.role is Role.BATTERY]
    return battery or found


async def _score(heard: _Heard, unit: int, profile: Profile) -> int:
    """How many of a profile's voltages and its frequency look like a grid's; 0 when one does not.

    A profile that knows how its model calls itself is believed by that alone.
    """
    if profile.signature is not None:
        sign = profile.signature
        try:
            words = await heard.read(unit, sign.function, sign.value.addr, sign.value.width)
        except BusError:
            return 0
        return SIGNED if sign.matches(words) else 0
    score = 0
    for point in profile.points:
        if point.quantity in {Quantity.FREQUENCY_MHZ, Quantity.VOLTAGE_MV}:
            if not await _plausible(heard, unit, point):
                return 0
            score += 1
    return score


async def _is_there(heard: _Heard, unit: int, profile: Profile) -> str:
    """What a part of a device is called, "" where it says that it has no such part: an inverter
    answers for a meter and a battery behind it also where there is none.
    """
    powers = {Quantity.POWER_W, Quantity.DC_POWER_W}
    for point in profile.points:
        if point.quantity in powers and point.phase == 0:
            try:
                words = await heard.read(unit, point.function, point.value.addr, point.value.width)
            except BusError:
                return ""
            if point.value.canonical(words) is None:
                return ""
    return " ".join(profile.products[0]) if profile.products else profile.id


async def _plausible(heard: _Heard, unit: int, point: PointMap) -> bool:
    try:
        words = await heard.read(unit, point.function, point.value.addr, point.value.width)
    except BusError:
        return False
    value = point.value.canonical(words)
    if value is None:
        return False
    if point.quantity is Quantity.FREQUENCY_MHZ:
        return 45_000 <= value <= 65_000
    return 80_000 <= value <= 300_000


def _named(found: Sequence[Finding]) -> list[Finding]:
    """Names that say the role and tell devices of one role apart."""
    counts: dict[Role, int] = {}
    named: list[Finding] = []
    for finding in found:
        role = finding.spec.role
        if role is Role.GRID and counts.get(role) and finding.spec.profile != UNKNOWN:
            # Only one meter is billed. Which of them is at the connection, a person must say.
            role = Role.LOAD
            note = f"{finding.label}; a second meter: if it is at the connection, change the roles"
            finding = replace(finding, spec=replace(finding.spec, role=role), label=note)  # noqa: PLW2901
        counts[role] = counts.get(role, 0) + 1
        name = f"{role.name.lower()}-{counts[role]}"
        named.append(replace(finding, spec=replace(finding.spec, name=name)))
    return named


def as_toml(findings: Sequence[Finding]) -> str:
    """The devices section of an agent's configuration, what cannot be read as a comment. Pure."""
    lines: list[str] = []
    for finding in findings:
        spec = finding.spec
        lines.append(f"# {_plain(finding.label)}")
        if spec.profile == UNKNOWN:
            lines.append(f"# it answers at {_plain(spec.address)} as unit {spec.unit}\n")
            continue
        lines.append("[[devices]]")
        for key, value in (
            ("name", spec.name),
            ("role", spec.role.name.lower()),
            ("profile", spec.profile),
            ("transport", spec.transport),
            ("address", spec.address),
        ):
            lines.append(f'{key} = "{_escaped(value)}"')
        lines.append(f"unit = {spec.unit}")
        if spec.transport == "rtu":
            lines.append(f"baud = {spec.baud}")
            lines.append(f'parity = "{spec.parity}"')
        lines.append("")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Home:
    """What a whole configuration needs beside its devices."""

    state_dir: Path
    ca: Path
    cloud: str


def as_config(home: Home, findings: Sequence[Finding]) -> str:
    """A whole configuration that the agent runs as it is. Pure."""
    head = [
        "# Found by gridtokenx-edge scan. Compare each device with its type plate before you trust it.",
        "[agent]",
        f'state_dir = "{_escaped(str(home.state_dir))}"',
        "",
        "[cloud]",
        f'ca = "{_escaped(str(home.ca))}"',
        f'enrolment = "{_escaped(home.cloud)}"',
        "",
        "",
    ]
    return "\n".join(head) + as_toml(findings)


def as_json(findings: Sequence[Finding]) -> str:
    """The findings as a list of objects, keys as in the agent's configuration. Pure."""
    rows = [
        {
            "name": finding.spec.name,
            "role": finding.spec.role.name.lower(),
            "profile": finding.spec.profile,
            "transport": finding.spec.transport,
            "address": finding.spec.address,
            "unit": finding.spec.unit,
            "baud": finding.spec.baud,
            "parity": finding.spec.parity,
            "label": finding.label,
            "sure": finding.sure,
        }
        for finding in findings
    ]
    return json.dumps(rows, indent=1) + "\n"


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _escaped(text: str) -> str:
    return _plain(text).replace("\\", "\\\\").replace('"', '\\"')


# --- command line --------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    """`gridtokenx-edge scan`. 0 when something was found, 5 when not, 2 for wrong usage."""
    parser = argparse.ArgumentParser("gridtokenx-edge scan", description=__doc__)
    parser.add_argument("hosts", nargs="*", help="hosts or a network such as 192.168.1.0/24")
    parser.add_argument("--serial", action="append", default=[], metavar="PATH")
    parser.add_argument("--ports", type=int, nargs="+", default=list(PORTS))
    parser.add_argument("--units", type=int, nargs="+", default=list(UNITS))
    parser.add_argument("--bauds", type=int, nargs="+", default=list(BAUDS))
    parser.add_argument("--json", action="store_true", help="the findings as one JSON list")
    parser.add_argument("--output", type=Path, help="write to this file instead")
    whole = parser.add_argument_group(
        "a whole configuration", "with all three the agent runs what is written as it is"
    )
    whole.add_argument("--state-dir", type=Path, metavar="DIR")
    whole.add_argument("--ca", type=Path, metavar="FILE", help="the cloud's ca.pem")
    whole.add_argument("--cloud", metavar="HOST:PORT", help="the enrolment service")
    options = parser.parse_args(list(argv))
    if not options.hosts and not options.serial:
        parser.error("name hosts, a network, or --serial PATH")
    given = [options.state_dir, options.ca, options.cloud]
    if any(given) and not all(given):
        parser.error("--state-dir, --ca and --cloud belong together")
    try:
        found = asyncio.run(
            scan(
                options.hosts, options.ports, options.serial, options.units, Shown(), options.bauds
            )
        )
    except ValueError as error:
        sys.stderr.write(f"gridtokenx-edge scan: {error}\n")
        return USAGE
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    if options.json:
        text = as_json(found)
    elif all(given):
        home = Home(options.state_dir.resolve(), options.ca.resolve(), options.cloud)
        text = as_config(home, found)
    else:
        text = as_toml(found)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return DONE if found else NO_DEVICE


class Shown:
    """One line that is written over on a terminal, else a line for each tenth of the way."""

    def __init__(self) -> None:
        self._tenth = -1

    def __call__(self, progress: Progress) -> None:
        line = f"{progress.done}/{progress.total} {progress.place:<32} found {progress.found}"
        tenth = 10 * progress.done // max(1, progress.total)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{line}")
        elif tenth != self._tenth:
            sys.stderr.write(f"{line.rstrip()}\n")
        self._tenth = tenth
        sys.stderr.flush()
