"""Setpoints that outlive their agent: how long until every kind of device that can be steered is back
at its default after kill -9 of the agent's process, in the middle of a setpoint.

One of each stands behind a real socket or terminal and behaves as its maker says (edge.simulator):
with its own timer or watchdog, or with none. Two agents steer two such yards. One is never started
again, so only the devices' own timers can help; the other is, as systemd would do it, after the
RestartSec of the shipped unit, and restores every default first of all.
"""

import asyncio
import json
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.devices.catalog import load_profiles
from edge.simulator.chargers import CHARGERS
from edge.simulator.der import BeatingBatteryImage, BeatlessDerImage, DerImage
from edge.simulator.home import MW_NS_PER_WH, Home, traits_of
from edge.simulator.makers import STORAGE, HuaweiInverter, MakerImage
from edge.simulator.profiles import shipped
from edge.simulator.server import SerialBus, Station, TcpDevice
from edge.simulator.sunspec import BatteryImage, SolarImage, SunSpecImage
from edge.steering import TTL_S_MAX
from protos import gateway_pb2
from protos.clock import SECOND_NS
from protos.messages import Role

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "firmware-configs" / "boards" / "gridtokenx-edge.service"
BAUD = 19_200
LOOK_S = 0.02
ORDER = {"power_w": -8_000, "export_limit_w": 9_000, "charge_limit_w": 30_000}
"""Something for every device: charge, cap the roofs, throttle the cars (each above its 6 A)."""

SUNSPEC: tuple[tuple[str, Role, type[SunSpecImage]], ...] = (
    ("sunspec 123", Role.PV, SolarImage),
    ("sunspec 124", Role.BATTERY, BatteryImage),
    ("sunspec 124 and 802", Role.BATTERY, BeatingBatteryImage),
    ("sunspec 704", Role.BATTERY, BeatlessDerImage),
    ("sunspec 704 and 715", Role.BATTERY, DerImage),
)


@dataclass(slots=True)
class Place:
    """One device in a yard. `waits` says whether it ends an order by itself."""

    name: str
    profile: str
    image: Any
    waits: bool
    spec: dict[str, Any]
    server: TcpDevice | SerialBus
    back_s: float | None = None


@dataclass(slots=True)
class Yard:
    """One of every device that can be steered. `speed` makes a device's seconds shorter."""

    directory: Path
    speed: int = 1
    places: list[Place] = field(default_factory=list)

    async def open(self) -> None:
        profiles = load_profiles()
        for kind in (*STORAGE, *CHARGERS):
            # What is fixed at a minute is hurried so much more that it ends with the others.
            fixed = profiles[kind.profile].writes[0].failsafe == "device_watchdog"
            speed = (
                3 * self.speed
                if self.speed > 1 and (fixed or "huawei" in kind.profile)
                else self.speed
            )
            image = kind(SECOND_NS // speed)
            waits = profiles[kind.profile].writes[0].failsafe != "agent"
            await self._add(kind.profile, kind.profile, image, waits, kind)
        for number, (name, role, sunspec) in enumerate(SUNSPEC, 1):
            home = Home(traits_of(number, 7), shipped(), time.time_ns())
            home.stored = home.traits.capacity_wh * MW_NS_PER_WH // 2
            await self._add(name, "sunspec", sunspec(home, SECOND_NS // self.speed), True, role)

    async def _add(
        self, name: str, profile: str, image: Any, waits: bool, kind: type[MakerImage] | Role
    ) -> None:
        is_serial = not isinstance(kind, Role) and kind.transport == "rtu"
        unit = 1 if isinstance(kind, Role) else kind.unit
        role = kind if isinstance(kind, Role) else kind.role
        station = Station({unit: image}, time.time_ns)
        server: TcpDevice | SerialBus
        if is_serial:
            server = SerialBus(station, BAUD)
            address = server.start(self.directory / "charger.tty")
        else:
            server = TcpDevice(station)
            address = await server.start()
        spec = {
            "name": re.sub(r"\W+", "-", name),
            "role": role.name.lower(),
            "profile": profile,
            "transport": "rtu" if is_serial else "tcp",
            "address": address,
            "unit": unit,
        }
        if is_serial:
            spec["baud"] = BAUD
        if kind is HuaweiInverter:
            spec["options"] = {"may_set_feed_in": True, "max_export_w": 10_000}
        self.places.append(Place(name, profile, image, waits, spec, server))

    async def close(self) -> None:
        for place in self.places:
            await place.server.close()

    def steered(self) -> list[str]:
        """Who obeys an order now."""
        now_ns = time.time_ns()
        return [place.name for place in self.places if place.image.is_steered(now_ns)]

    async def all_steered(self, limit_s: float) -> None:
        async with asyncio.timeout(limit_s):
            while len(self.steered()) < len(self.places):
                await asyncio.sleep(LOOK_S)

    async def watch(self, killed_at: float, until: list[Place], limit_s: float) -> None:
        """Notes when each device is back at its default, until these are or the time is over."""
        while time.monotonic() - killed_at < limit_s and any(p.back_s is None for p in until):
            now_ns, passed_s = time.time_ns(), time.monotonic() - killed_at
            for place in self.places:
                if place.image.is_steered(now_ns):
                    place.back_s = None
                elif place.back_s is None:
                    place.back_s = passed_s
            await asyncio.sleep(LOOK_S)


def restart_s() -> float:
    """How long systemd waits before it starts the agent again, by the shipped unit."""
    found = re.search(r"^RestartSec=(\d+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, "the unit does not say when it restarts"
    return float(found[1])


class Supervised:
    """The agent as systemd would run it, for one yard and against one gate."""

    def __init__(self, directory: Path, gate: Any, yard: Yard) -> None:
        self._gate = gate
        self._config = directory / "agent.toml"
        self._process: asyncio.subprocess.Process | None = None
        (directory / "token").write_text("seven-lemons", encoding="ascii")
        lines = [
            '[agent]\nstate_dir = "state"',
            f'[cloud]\nca = "{gate.authority.path}"\nserver_name = "localhost"',
            f'enrolment = "{gate.enrolment_address}"\ntoken_file = "token"',
            "[sampling]\nperiod_s = 0.5",
        ]
        for place in yard.places:
            lines.append("[[devices]]")
            for key, value in place.spec.items():
                text = (
                    "{ " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items()) + " }"
                    if isinstance(value, dict)
                    else json.dumps(value)
                )
                lines.append(f"{key} = {text}")
        self._config.write_text("\n".join(lines), encoding="utf-8")

    async def start(self) -> None:
        log = self._config.with_suffix(".log").open("ab")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "edge", "run", str(self._config)),
                cwd=ROOT,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                stderr=log,
            )

    async def order(self, lease_id: str, for_s: int) -> None:
        now_ns = time.time_ns()
        order = gateway_pb2.LeaseOrder(
            lease_id=lease_id, not_before_ns=now_ns, expires_ns=now_ns + for_s * SECOND_NS, **ORDER
        )
        await self._gate.down.put(gateway_pb2.ConnectResponse(lease=order))

    async def obeyed(self, yard: Yard, for_s: int) -> None:
        """Orders until every device obeys: one that was not opened yet hears of no lease."""
        async with asyncio.timeout(40):
            number = 0
            while True:
                number += 1
                await self.order(f"L{number}", for_s)
                try:
                    await yard.all_steered(3)
                except TimeoutError:
                    continue
                return

    async def kill(self) -> float:
        """kill -9, and when it was."""
        assert self._process is not None
        self._process.kill()
        killed_at = time.monotonic()
        await self._process.communicate()
        return killed_at

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.communicate()


async def orphaned(directory: Path, gate: Any, speed: int, for_s: int, limit_s: float) -> Yard:
    """Kills the agent and starts it never again. What its devices did by themselves."""
    yard = Yard(directory, speed)
    await yard.open()
    agent = Supervised(directory, gate, yard)
    try:
        await agent.start()
        await agent.obeyed(yard, for_s)
        killed_at = await agent.kill()
        waiting = [place for place in yard.places if place.waits]
        await yard.watch(killed_at, waiting, limit_s)
    finally:
        await agent.stop()
        await yard.close()
    return yard


async def restarted(directory: Path, gate: Any, pause_s: float, for_s: int, limit_s: float) -> Yard:
    """Kills the agent and starts it again after a pause. What became of its devices."""
    yard = Yard(directory)
    await yard.open()
    agent = Supervised(directory, gate, yard)
    try:
        await agent.start()
        await agent.obeyed(yard, for_s)
        killed_at = await agent.kill()
        watch = asyncio.create_task(yard.watch(killed_at, yard.places, limit_s))
        await asyncio.sleep(pause_s)
        await agent.start()
        await watch
    finally:
        await agent.stop()
        await yard.close()
    return yard


def peers() -> Any:
    """The gate of the agent's own tests, which follows the treaty with code of its own."""
    from tests.bench.agent import _peers

    return _peers()


async def _measure(directory: Path) -> tuple[Yard, Yard]:
    made, gates, yards = peers(), [], []
    try:
        for name in ("orphaned", "restarted"):
            (directory / name).mkdir()
            gate = made.Gate(made.Authority(directory / name))
            await gate.start()
            gate.now_ns = time.time_ns
            gates.append(gate)
        yards = await asyncio.gather(
            orphaned(directory / "orphaned", gates[0], 1, 900, 2.0 * TTL_S_MAX),
            restarted(directory / "restarted", gates[1], restart_s(), 900, 2.0 * TTL_S_MAX),
        )
    finally:
        for gate in gates:
            await gate.stop()
    return yards[0], yards[1]


def rows() -> list[dict[str, Any]]:
    """The row of the edge room: the worst device in parts of its TTL, all of them in the note."""
    with tempfile.TemporaryDirectory(prefix="gridtokenx-failsafe-") as name:
        alone, again = asyncio.run(_measure(Path(name)))
    said: list[str] = []
    worst: float | None = 0.0
    for own, other in zip(alone.places, again.places, strict=True):
        back_s = own.back_s if own.waits else other.back_s
        who = "own timer" if own.waits else "the restarted agent"
        worst = None if back_s is None or worst is None else max(worst, back_s / TTL_S_MAX)
        said.append(f"{own.name} {'never' if back_s is None else f'{back_s:.0f} s'} ({who})")
    slowest = [place.back_s for place in again.places]
    late = None if None in slowest else max(s for s in slowest if s is not None)
    return [
        {
            "name": f"setpoint back to default after kill -9 of the agent, worst of {len(said)} kinds",
            "value": None if worst is None else round(worst, 2),
            "unit": "TTL",
            "target": 2,
            "direction": "min",
            "ok": worst is not None and worst <= 2,
            "baseline": None,
            "note": f"TTL {TTL_S_MAX} s; {', '.join(said)}; with the agent restarted after"
            f" RestartSec={restart_s():.0f} all are back in {'more' if late is None else f'{late:.0f}'}"
            " s; simulated devices on real sockets, a real agent process",
        }
    ]


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row))
