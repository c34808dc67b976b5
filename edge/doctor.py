"""Looks a gateway over, step by step, and says for each trouble what to do next.

The order is the order in which things break: clock, disk, keys, certificate, network, devices,
outbox. It only looks: it must never change a file, write to a device, or print a key or token.
"""

import argparse
import asyncio
import json
import os
import shutil
import ssl
import stat
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge.devices.catalog import open_device
from edge.devices.device import DeviceError, DeviceSpec
from edge.devices.metered import MeteredDevice
from edge.devices.modbus.bus import BusPool
from protos.clock import SECOND_NS, SystemClock

CHECK_FAILED, USAGE, HEALTHY = 5, 2, 0
CONNECT_S = 5.0
EARLIEST_NS = 1_735_689_600 * SECOND_NS
"""1 January 2025: a clock before it was never set."""

FREE_BYTES = 200 << 20
RENEWAL_SHARE = 4
"""With less than this part of its life left, a certificate should have been renewed long ago."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `next_action` is empty where nothing is to be done."""

    name: str
    ok: bool
    detail: str
    next_action: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is to be looked at: a gateway's files, the cloud's address, its devices."""

    state_dir: Path
    key_files: tuple[Path, ...]
    certificate: Path
    cloud: str
    ca: Path
    devices: tuple[DeviceSpec, ...]
    server_name: str = ""
    client_key: Path | None = None


# --- probes: every look at the machine, replaceable ----------------------------------------------


def clock_is_synchronised() -> bool | None:
    """What systemd-timesyncd knows; None where it is not used."""
    if not Path("/run/systemd/timesync").is_dir():
        return None
    return Path("/run/systemd/timesync/synchronized").exists()


def certificate_dates(path: Path) -> tuple[int, int]:
    """(not before, not after) of a PEM certificate in ns UTC. Raises OSError or ValueError."""
    from cryptography.x509 import load_pem_x509_certificate

    certificate = load_pem_x509_certificate(path.read_bytes())
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return int(begin.timestamp()) * SECOND_NS, int(end.timestamp()) * SECOND_NS


async def connect(address: str, context: ssl.SSLContext | None, server_name: str) -> float:
    """Seconds until a TCP connection, with TLS where a context is given. Raises OSError."""
    host, _, port = address.rpartition(":")
    name = (server_name or host.strip("[]")) if context else None
    began = time.monotonic()
    async with asyncio.timeout(CONNECT_S):
        _, writer = await asyncio.open_connection(
            host.strip("[]"), int(port), ssl=context, server_hostname=name
        )
    writer.close()
    return time.monotonic() - began


def agent_status(state_dir: Path) -> dict[str, object] | None:
    """The running agent's own status document, None where no agent runs."""
    import socket

    try:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(2)
            channel.connect(str(state_dir / "agent.sock"))
            document = json.loads(channel.makefile(encoding="utf-8").read())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


@dataclass(frozen=True, slots=True)
class Probes:
    """How to look. The defaults look at this machine."""

    now_ns: Callable[[], int] = time.time_ns
    synchronised: Callable[[], bool | None] = clock_is_synchronised
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
    mode: Callable[[Path], int] = lambda path: stat.S_IMODE(path.stat().st_mode)
    dates: Callable[[Path], tuple[int, int]] = certificate_dates
    connect: Callable[[str, ssl.SSLContext | None, str], Awaitable[float]] = connect
    status: Callable[[Path], dict[str, object] | None] = agent_status
    buses: Callable[[], BusPool] = field(default=BusPool)


# --- checks --------------------------------------------------------------------------------------


async def diagnose(situation: Situation, probes: Probes | None = None) -> list[Check]:
    """All checks in order. Never raises for what it finds."""
    look = probes or Probes()
    status = look.status(situation.state_dir)
    checks = [check_clock(look), check_disk(situation, look)]
    checks += [check_key(path, look) for path in situation.key_files]
    checks.append(check_certificate(situation, look))
    checks += await check_cloud(situation, look)
    checks += await check_devices(situation, look, status)
    checks.append(check_outbox(status))
    return checks


def check_clock(look: Probes) -> Check:
    if look.now_ns() < EARLIEST_NS:
        return Check(
            "clock",
            ok=False,
            detail="the clock was never set",
            next_action="start NTP: timedatectl",
        )
    synchronised = look.synchronised()
    if synchronised is False:
        return Check(
            "clock",
            ok=False,
            detail="the clock is not synchronised",
            next_action="allow NTP (UDP 123) out, or fit a clock module",
        )
    how = "synchronised" if synchronised else "plausible; who sets it is unknown"
    return Check("clock", ok=True, detail=how)


def check_disk(situation: Situation, look: Probes) -> Check:
    try:
        free = look.free_bytes(situation.state_dir)
    except OSError as error:
        return Check(
            "disk", ok=False, detail=str(error), next_action=f"create {situation.state_dir}"
        )
    action = "" if free >= FREE_BYTES else "free some space: the outbox needs room for an outage"
    return Check("disk", ok=not action, detail=f"{free >> 20} MiB free", next_action=action)


def check_key(path: Path, look: Probes) -> Check:
    name = f"key {path.name}"
    try:
        mode = look.mode(path)
    except OSError as error:
        return Check(
            name,
            ok=False,
            detail=error.strerror or str(error),
            next_action="enrol this gateway: gridtokenx-edge enrol",
        )
    action = f"chmod 600 {path}" if mode & 0o077 else ""
    return Check(name, ok=not action, detail=f"mode {mode:03o}", next_action=action)


def check_certificate(situation: Situation, look: Probes) -> Check:
    name = "certificate"
    try:
        begin, end = look.dates(situation.certificate)
    except (OSError, ValueError) as error:
        return Check(name, ok=False, detail=str(error), next_action="enrol: gridtokenx-edge enrol")
    now, days = look.now_ns(), 86_400 * SECOND_NS
    if now < begin:
        detail, action = "not valid yet", "set the clock; it is behind"
    elif now >= end:
        detail, action = "expired", "enrol again with a new token from the operator"
    elif (end - now) * RENEWAL_SHARE < end - begin:
        detail = f"{(end - now) / days:.1f} days left"
        action = "it should have been renewed: check the connection to the cloud"
    else:
        detail, action = f"{(end - now) / days:.1f} days left", ""
    return Check(name, ok=not action, detail=detail, next_action=action)


async def check_cloud(situation: Situation, look: Probes) -> list[Check]:
    """TCP and then TLS, apart, because firewalls and certificates fail apart."""
    if not situation.cloud:
        return [
            Check("cloud", ok=False, detail="no address is known", next_action="enrol this gateway")
        ]
    try:
        taken = await look.connect(situation.cloud, None, "")
    except (OSError, TimeoutError, ValueError) as error:
        detail = str(error) or f"no connection within {CONNECT_S:.0f} s"
        action = f"allow TCP out to {situation.cloud}; check name and port"
        return [Check("cloud tcp", ok=False, detail=detail, next_action=action)]
    reached = Check("cloud tcp", ok=True, detail=f"{taken * 1000:.0f} ms")
    return [reached, await _check_tls(situation, look)]


async def _check_tls(situation: Situation, look: Probes) -> Check:
    try:
        context = ssl.create_default_context(cafile=str(situation.ca))
        context.set_alpn_protocols(["h2"])
        if situation.client_key is not None and situation.client_key.exists():
            context.load_cert_chain(situation.certificate, situation.client_key)
        taken = await look.connect(situation.cloud, context, situation.server_name)
    except ssl.SSLCertVerificationError as error:
        action = f"check {situation.ca}, server_name and the clock"
        return Check("cloud tls", ok=False, detail=error.verify_message, next_action=action)
    except (OSError, TimeoutError) as error:
        action = "check the files of ca and certificate; a proxy that opens TLS must let h2 through"
        return Check("cloud tls", ok=False, detail=str(error) or "no answer", next_action=action)
    return Check("cloud tls", ok=True, detail=f"{taken * 1000:.0f} ms")


async def check_devices(
    situation: Situation, look: Probes, status: dict[str, object] | None
) -> list[Check]:
    """Connects, identifies and reads each device; where the agent runs, what it says of them."""
    running = status.get("devices") if status else None
    if isinstance(running, dict):
        return [_reported(spec.name, running.get(spec.name)) for spec in situation.devices]
    buses = look.buses()
    try:
        return [await check_device(spec, buses) for spec in situation.devices]
    finally:
        await buses.close()


def _reported(name: str, entry: object) -> Check:
    """A port has one owner: while the agent holds it, the agent is asked."""
    problem = entry.get("problem", "") if isinstance(entry, dict) else "the agent does not know it"
    detail = str(problem) or "read by the running agent"
    action = "follow the advice in the problem, then look again" if problem else ""
    return Check(f"device {name}", ok=not problem, detail=detail, next_action=action)


async def check_device(spec: DeviceSpec, buses: BusPool) -> Check:
    name = f"device {spec.name}"
    try:
        began = time.monotonic()
        device = await open_device(spec, SystemClock(), buses)
        opened = time.monotonic()
        try:
            sample = await device.read()
            taken = time.monotonic() - opened
            serial = device.entry.serial
            if not serial and isinstance(device, MeteredDevice):
                serial = await device.identify()
        finally:
            await device.close()
    except DeviceError as error:
        return Check(name, ok=False, detail=error.problem, next_action=error.advice)
    here = sum(value is not None for value in sample.values)
    entry = device.entry
    detail = (
        f"{entry.profile} revision {entry.profile_revision} {serial}".rstrip()
        + f", {here} of {len(sample.values)} values, read in {taken * 1000:.0f} ms"
        + f", opened in {(opened - began) * 1000:.0f} ms"
    )
    if isinstance(device, MeteredDevice) and device.failsafe:
        detail += f"; {device.failsafe}"
    billed = [
        point.quantity.name
        for point, value in zip(device.points, sample.values, strict=True)
        if point.billing and value is None
    ]
    action = f"no {', '.join(billed)}: check profile and model" if billed else ""
    return Check(name, ok=not action, detail=detail, next_action=action)


def check_outbox(status: dict[str, object] | None) -> Check:
    outbox = status.get("outbox") if status else None
    if not isinstance(outbox, dict):
        return Check("outbox", ok=True, detail="no agent is running, so nothing is being queued")
    waiting, used = outbox.get("waiting", 0), outbox.get("used_per_mille", 0)
    full = isinstance(used, int) and used > 800
    action = (
        "check the connection to the cloud; readings are kept ever more coarsely" if full else ""
    )
    return Check(
        "outbox",
        ok=not full,
        detail=f"{waiting} batches wait, {used} per mille full",
        next_action=action,
    )


# --- command line --------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    """`gridtokenx-edge doctor`. 0 when all is well, 5 when a check failed, 2 for a bad config."""
    parser = argparse.ArgumentParser("gridtokenx-edge doctor", description=__doc__)
    default = Path("/etc/gridtokenx/agent.toml")
    parser.add_argument("config", nargs="?", type=Path, default=default)
    parser.add_argument("--json", action="store_true", help="one JSON object a check")
    options = parser.parse_args(list(argv))
    from edge.config import ConfigError, load

    try:
        config = load(options.config, os.environ)
    except ConfigError as error:
        sys.stderr.write(f"gridtokenx-edge doctor: {error}\n")
        return USAGE
    from edge.keys import PLACES

    state_dir = config.agent.state_dir
    situation = Situation(
        state_dir=state_dir,
        key_files=(state_dir / PLACES[config.key.kind], state_dir / "tls.key"),
        certificate=state_dir / "tls.pem",
        cloud=config.cloud.gateway or _enrolled_gateway(state_dir),
        ca=config.cloud.ca,
        devices=config.devices,
        server_name=config.cloud.server_name,
        client_key=state_dir / "tls.key",
    )
    checks = asyncio.run(diagnose(situation))
    sys.stdout.write(as_json(checks) if options.json else as_text(checks))
    return HEALTHY if all(check.ok for check in checks) else CHECK_FAILED


def _enrolled_gateway(state_dir: Path) -> str:
    """Where enrolment said the gateway service is, "" before enrolment."""
    from edge.enrol import EnrolmentError, load_enrolment

    try:
        enrolment = load_enrolment(state_dir)
    except EnrolmentError:
        return ""
    return enrolment.gateway if enrolment else ""


def as_text(checks: Sequence[Check]) -> str:
    """For people: one line a check, and under a failed one what to do."""
    lines: list[str] = []
    for check in checks:
        lines.append(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}")
        if check.next_action:
            lines.append(f"     -> {check.next_action}")
    return "\n".join(lines) + "\n"


def as_json(checks: Sequence[Check]) -> str:
    """For programs: one JSON object a line."""
    rows = [
        {"name": c.name, "ok": c.ok, "detail": c.detail, "next_action": c.next_action}
        for c in checks
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)
