"""What an installer writes: one TOML file a gateway, and the environment over it.

Every unknown key is refused with the nearest known one, every wrong type with its line where it
can be found. Must never supply a secret, guess an address or fall back silently.

An environment variable GRIDTOKENX_EDGE_<SECTION>_<KEY> overrides one key of one section.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from edge.devices.device import DeviceSpec
from edge.droop import NOMINALS_MHZ, Droop
from protos.limits import DEVICES_PER_MAP_MAX, SWEEPS_PER_BATCH_MAX
from protos.messages import Role

ENVIRONMENT_PREFIX = "GRIDTOKENX_EDGE_"
TRANSPORTS = ("tcp", "rtu", "rtu_over_tcp", "serial", "mqtt", "udp")
MEGABYTE = 1 << 20


class ConfigError(Exception):
    """The configuration cannot be used. The message names the place and what to write instead."""


@dataclass(frozen=True, slots=True)
class AgentSection:
    """Where the agent keeps its keys, certificate and outbox, and what it is called in logs."""

    state_dir: Path
    name: str = "gateway"


@dataclass(frozen=True, slots=True)
class CloudSection:
    """host:port of both services and the authority that signed their certificates.

    `gateway` may stay empty: enrolment then says where it is. `server_name` is the name in the
    server's certificate where it differs from the host. With `token_file` an agent that is not
    enrolled yet enrols itself at its first start. `log_key` (name+hash+base64) is whose signature
    a checkpoint must bear.
    """

    ca: Path
    gateway: str = ""
    enrolment: str = ""
    server_name: str = ""
    token_file: Path | None = None
    log_key: str = ""


@dataclass(frozen=True, slots=True)
class SamplingSection:
    """How often all devices are read, in seconds of the agent's clock, and sealed together."""

    period_s: float = 1.0
    sweeps_per_batch: int = 60
    read_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class OutboxSection:
    """Bounds on disk, in MiB. The ballast is given up first when the disk is full."""

    size_mb: int = 512
    ballast_mb: int = 4


@dataclass(frozen=True, slots=True)
class OffersSection:
    """The owner's wishes. Prices in micro-units per kWh; 0 leaves the limit to the zone's band."""

    enabled: bool = False
    sell_min_micro_per_kwh: int = 0
    buy_max_micro_per_kwh: int = 0
    slots_ahead: int = 4
    share_per_mille: int = 900
    renewable: bool = True


@dataclass(frozen=True, slots=True)
class BatterySection:
    """What the owner keeps for himself, and whether the battery serves the home by itself."""

    reserve_per_mille: int = 200
    self_consumption: bool = False


@dataclass(frozen=True, slots=True)
class LocalSection:
    """The status page and the metrics, on this machine's own address only. 0: nothing listens."""

    port: int = 0


@dataclass(frozen=True, slots=True)
class KeySection:
    """Where the device key lies: `kind` is "file", "tpm2" or "pkcs11".

    `tcti` and `pcrs` are tpm2-tools' words for which TPM and which boot state ("sha256:0,2,7");
    `module` and `token` a PKCS#11 library and the label of its token; `pin_file` holds the token's
    PIN or the password of the TPM's owner.
    """

    kind: str = "file"
    tcti: str = ""
    pcrs: str = ""
    module: Path | None = None
    token: str = ""
    pin_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """One gateway."""

    agent: AgentSection
    cloud: CloudSection
    sampling: SamplingSection = field(default_factory=SamplingSection)
    outbox: OutboxSection = field(default_factory=OutboxSection)
    offers: OffersSection = field(default_factory=OffersSection)
    battery: BatterySection = field(default_factory=BatterySection)
    local: LocalSection = field(default_factory=LocalSection)
    droop: Droop = field(default_factory=Droop)
    key: KeySection = field(default_factory=KeySection)
    devices: tuple[DeviceSpec, ...] = ()


_SECTIONS: dict[str, type[Any]] = {
    "agent": AgentSection,
    "cloud": CloudSection,
    "sampling": SamplingSection,
    "outbox": OutboxSection,
    "offers": OffersSection,
    "battery": BatterySection,
    "local": LocalSection,
    "droop": Droop,
    "key": KeySection,
}
_CHOICES: dict[str, tuple[object, ...]] = {
    "key.kind": ("file", "tpm2", "pkcs11"),
    "droop.nominal_mhz": NOMINALS_MHZ,
}
_BOUNDS: dict[str, tuple[float, float]] = {
    "sampling.period_s": (0.1, 900),
    "sampling.sweeps_per_batch": (1, SWEEPS_PER_BATCH_MAX),
    "sampling.read_timeout_s": (0.1, 300),
    "outbox.size_mb": (1, 1 << 20),
    "outbox.ballast_mb": (0, 1 << 16),
    "offers.slots_ahead": (1, 96),
    "offers.share_per_mille": (1, 1000),
    "offers.sell_min_micro_per_kwh": (0, 1_000_000_000),
    "offers.buy_max_micro_per_kwh": (0, 1_000_000_000),
    "battery.reserve_per_mille": (0, 1000),
    "local.port": (0, 65_535),
    "droop.deadband_mhz": (10, 5_000),
    "droop.droop_per_mille": (20, 120),
    "droop.share_max_per_mille": (0, 1_000),
}


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """The gateway described by this file. Relative paths are taken from the file's directory.

    Raises ConfigError.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; copy edge/agent.example.toml there and fill it in"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}; correct the TOML there") from error
    _override(tree, environment)
    return _Reader(path, text).config(tree)


def _override(tree: dict[str, Any], environment: Mapping[str, str]) -> None:
    known = {
        f"{ENVIRONMENT_PREFIX}{section}_{item.name}".upper(): (section, item)
        for section, kind in _SECTIONS.items()
        for item in fields(kind)
    }
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        if name not in known:
            raise ConfigError(f"environment: unknown variable {name}{_nearest(name, known)}")
        section, item = known[name]
        part = tree.setdefault(section, {})
        if isinstance(part, dict):
            part[item.name] = _from_text(name, environment[name], item.type)


def _from_text(name: str, text: str, kind: Any) -> object:
    if kind is bool:
        if text.lower() in {"true", "false"}:
            return text.lower() == "true"
        raise ConfigError(f"environment: {name}={text!r}; write true or false")
    if kind in {int, float}:
        try:
            return kind(text)
        except ValueError as error:
            raise ConfigError(f"environment: {name}={text!r} is no number") from error
    return text


def _nearest(word: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"


class _Reader:
    """One file's tree to records, with the place in every complaint."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()

    def config(self, tree: dict[str, Any]) -> Config:
        known = {**_SECTIONS, "devices": DeviceSpec}
        for name in tree:
            if name not in known:
                raise self._error(name, f"unknown section [{name}]{_nearest(name, known)}")
        sections = {
            name: self._record(name, kind, self._table(name, tree.get(name, {})))
            for name, kind in _SECTIONS.items()
        }
        return Config(**sections, devices=self._devices(tree.get("devices", [])))

    def _error(self, key: str, problem: str) -> ConfigError:
        """The complaint, with the line on which the key is first written."""
        for number, line in enumerate(self._lines, 1):
            stripped = line.strip().lstrip("[").strip()
            if stripped.startswith(key) and not stripped[len(key) : len(key) + 1].isalnum():
                return ConfigError(f"{self._path}:{number}: {problem}")
        return ConfigError(f"{self._path}: {problem}")

    def _table(self, name: str, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._error(name, f"{name} is a section; write [{name}]")
        return value

    def _record(self, section: str, kind: type[Any], table: dict[str, Any]) -> Any:
        known = {item.name: item for item in fields(kind)}
        for key in table:
            if key not in known:
                raise self._error(key, f"unknown key {section}.{key}{_nearest(key, known)}")
        for item in known.values():
            required = item.default is MISSING and item.default_factory is MISSING
            if required and item.name not in table:
                raise self._error(section, f"[{section}] needs {item.name}")
        return kind(
            **{
                key: self._value(section, key, known[key].type, value)
                for key, value in table.items()
            }
        )

    def _value(self, section: str, key: str, kind: Any, value: object) -> object:
        place = f"{section}.{key}"
        if kind in {Path, Path | None}:
            if not isinstance(value, str) or not value:
                raise self._error(key, f"{place} is a path in quotes")
            return self._path.parent.joinpath(Path(value).expanduser()).resolve()
        if kind is float and type(value) is int:
            value = float(value)
        if kind in {int, float, str, bool} and type(value) is not kind:
            raise self._error(key, f"{place} is of type {kind.__name__}, not {value!r}")
        if place in _BOUNDS and isinstance(value, int | float):
            low, high = _BOUNDS[place]
            if not low <= value <= high:
                raise self._error(key, f"{place} = {value} is outside {low} to {high}")
        if place in _CHOICES and value not in _CHOICES[place]:
            known = ", ".join(str(choice) for choice in _CHOICES[place])
            raise self._error(key, f"{place} = {value!r}; write one of {known}")
        return value

    def _devices(self, tables: object) -> tuple[DeviceSpec, ...]:
        if not isinstance(tables, list) or not all(isinstance(item, dict) for item in tables):
            raise self._error("devices", "write each device under [[devices]]")
        if len(tables) > DEVICES_PER_MAP_MAX:
            raise self._error("devices", f"at most {DEVICES_PER_MAP_MAX} devices a gateway")
        specs = tuple(self._device(table) for table in tables)
        names = [spec.name for spec in specs]
        for name in names:
            if names.count(name) > 1:
                raise self._error("devices", f"two devices are named {name!r}; rename one")
        return specs

    def _device(self, table: dict[str, Any]) -> DeviceSpec:
        role = table.get("role")
        roles = {item.name.lower(): item for item in Role}
        if not isinstance(role, str) or role.lower() not in roles:
            raise self._error("role", f"devices.role = {role!r}{_nearest(str(role), roles)}")
        if table.get("transport") not in TRANSPORTS:
            raise self._error("transport", f"devices.transport is one of {', '.join(TRANSPORTS)}")
        options = table.get("options", {})
        if not isinstance(options, dict):
            raise self._error("options", "devices.options is a table: { key = value }")
        spec = self._record("devices", DeviceSpec, {**table, "role": roles[role.lower()]})
        assert isinstance(spec, DeviceSpec)
        if not spec.name or len(spec.name) > 64:
            raise self._error("name", "devices.name has 1 to 64 characters")
        return spec
