"""From an installer's line to an open device: finds the profile, picks the driver, shares the bus.

It decides which driver a spec gets. It must never open a device with a profile that did not pass
its golden registers.
"""

import re
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from edge.devices.device import Device, DeviceError, DeviceSpec
from edge.devices.metered import MeteredDevice
from edge.devices.modbus.bus import BusPool
from edge.devices.profile import Profile
from edge.devices.profile_file import load_profile
from edge.devices.profile_table import BadProfile
from protos.clock import Clock

_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
SUNSPEC = "sunspec"
P1, OPTICAL, MQTT, DLMS, SPEEDWIRE = "p1", "iec62056-21", "mqtt", "dlms", "sma-speedwire"
SPEAKERS = (P1, OPTICAL, MQTT, DLMS, SPEEDWIRE)
"""Ways to talk that need no register map. Loaded only when a device uses them."""


def profile_directory() -> Path:
    """Where the profile files are: beside this module when installed, firmware-configs in a
    checkout.
    """
    installed = Path(__file__).parent / "profiles"
    if installed.is_dir():
        return installed
    return Path(__file__).parents[2] / "firmware-configs"


def profile_files() -> list[Path]:
    """Every shipped profile file, sorted. The folder of board images holds none."""
    files = profile_directory().glob("*/*.toml")
    return sorted(path for path in files if path.parent.name != "boards")


def load_profiles() -> dict[str, Profile]:
    """Every shipped profile by id. Raises BadProfile."""
    return {profile.id: profile for profile in map(load_profile, profile_files())}


def find_profile(spec: DeviceSpec) -> Profile:
    """The profile a spec names. Raises DeviceError with the nearest names."""
    vendor, _, model = spec.profile.partition("/")
    path = profile_directory() / vendor / f"{model}.toml"
    is_name = _NAME.fullmatch(vendor) and _NAME.fullmatch(model) and vendor != "boards"
    if not is_name or not path.is_file():
        known = [f"{path.parent.name}/{path.stem}" for path in profile_files()]
        names = ", ".join([SUNSPEC, *SPEAKERS, *known])
        raise DeviceError(spec.name, f"unknown profile {spec.profile!r}", f"use one of {names}")
    try:
        return _checked(path, path.stat().st_mtime_ns)
    except BadProfile as error:
        raise DeviceError(spec.name, error.problem, error.advice) from error


@lru_cache(maxsize=64)
def _checked(path: Path, _changed_ns: int) -> Profile:
    """Ten meters of one model read and check its file once. Raises BadProfile."""
    return load_profile(path)


async def open_device(spec: DeviceSpec, clock: Clock, buses: BusPool) -> Device:
    """The device behind a spec. Raises DeviceError.

    A profiled device is not asked anything yet, so a dead one opens too; a SunSpec device is
    discovered, so it must answer.
    """
    if not 0 <= spec.unit <= 255:
        raise DeviceError(spec.name, f"unit {spec.unit}", "units are 1 to 247 (0 and 255 on TCP)")
    if spec.profile == SUNSPEC:
        from edge.devices.sunspec import SunspecDevice

        return await SunspecDevice.discover(spec, clock, buses.bus(spec))
    if spec.profile in SPEAKERS:
        return await _open_speaker(spec, clock)
    profile = find_profile(spec)
    if spec.transport not in profile.transport.kinds:
        raise DeviceError(
            spec.name,
            f"{profile.id} is not spoken to over {spec.transport}",
            f"use {' or '.join(profile.transport.kinds)}",
        )
    spec = with_manners(spec, profile)
    return MeteredDevice(spec, profile, buses.bus(spec), clock)


async def _open_speaker(spec: DeviceSpec, clock: Clock) -> Device:
    if spec.profile == P1:
        from edge.devices.p1 import P1Device

        return await P1Device.listen(spec, clock)
    if spec.profile == OPTICAL:
        from edge.devices.optical import OpticalDevice

        return await OpticalDevice.listen(spec, clock)
    if spec.profile == DLMS:
        from edge.devices.dlms import DlmsDevice

        return await DlmsDevice.listen(spec, clock)
    if spec.profile == SPEEDWIRE:
        from edge.devices.speedwire import SpeedwireDevice

        return await SpeedwireDevice.listen(spec, clock)
    if spec.transport != MQTT:
        raise DeviceError(spec.name, f"MQTT over {spec.transport}", 'write transport = "mqtt"')
    if find_spec("aiomqtt") is None:
        raise DeviceError(spec.name, "the mqtt extra is missing", "install gridtokenx-edge[mqtt]")
    from edge.devices.mqtt import MqttDevice

    return MqttDevice(spec, clock)


def with_manners(spec: DeviceSpec, profile: Profile) -> DeviceSpec:
    """The spec with what the model needs of its link, where the installer says nothing else."""
    transport = profile.transport
    needs: dict[str, str | int | bool] = {
        "stop": transport.stop,
        "connect_delay_ms": transport.connect_delay_ms,
        "idle_close_s": transport.idle_close_s,
    }
    options = needs | dict(spec.options)
    if transport.exclusive_tcp:
        options["in_flight"] = 1
    return replace(spec, options=options)
