"""What an operator may set, read from TOML and the environment into frozen records.

An unknown key is refused with the nearest known one. Every field has a good value for the embedded
form; no secret has a default.
"""

import difflib
import os
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from cloud.commands import GridRules

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ENVIRONMENT_PREFIX = "GRIDTOKENX_"
T = TypeVar("T", bound="DataclassInstance | msgspec.Struct")


class ConfigError(Exception):
    """The configuration cannot be used. The message names the key and what to write instead."""


@dataclass(frozen=True, slots=True)
class ZoneConfig:
    """One market area. `network` "rural" is the shipped SimBench grid; else a path to PGM JSON."""

    name: str = "rural"
    network: str = "rural"
    currency: str = "THB"
    tick_micro_per_kwh: int = 1_000
    fallback_export_micro_per_kwh: int = 2_200_000
    fallback_import_micro_per_kwh: int = 5_800_000
    gate_closure_s: int = 300
    metering_deadline_s: int = 900
    grid_fee_bps: int = 500
    trading_fee_bps: int = 10
    grid_fee_micro_per_kwh: int = 0
    """What the grid operator gets a kWh beside its share of the value; physical cost has no price."""
    vat_bps: int = 0
    auction_s: int = 0
    """In the last seconds before a gate offers gather and are cleared together; 0 turns it off."""
    power_flow: bool = True
    """Whether an AC power flow of the slot has the last word on every fill; else rooms alone."""
    orders_free: int = 500
    """Offers an account may place for a slot before it is asked how many traded; 0: no limit."""
    orders_per_trade_max: int = 100
    """How many offers each trade allows an account in a slot beyond that; 0: no limit."""
    opening_s: int = 0
    """In the first seconds of a slot's market offers gather, too, and are cleared; 0: off."""
    three_phase: bool = False
    """Whether each phase is checked where the network file says which one a home hangs from."""
    auction_rounds: int = 16
    """How often an auction is cleared again within what the power flow refuses of it, at most."""
    latitude_mdeg: int = 0
    longitude_mdeg: int = 0
    """Where the zone lies, in thousandths of a degree, for forecasts of its sun; 0, 0: unknown."""


@dataclass(frozen=True, slots=True)
class DeskConfig:
    """Risk limits of the virtual power plant. Money in micro-units of the venue's currency."""

    power_max_w: int = 500_000
    exposure_max_micro: int = 10_000_000_000
    power_min_w: int = 100_000
    oasis_files: tuple[str, ...] = ()
    """Recorded OASIS price files whose days the paper exchange repeats instead of a made day."""
    homes_first: bool = False
    """Whether the batteries serve their homes before a market: their forecast use is then kept."""


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """An embedded aggregator: one process, one SQLite journal, nothing else to install."""

    state_dir: Path = Path("gridtokenx-state")
    host: str = "127.0.0.1"
    http_port: int = 8080
    gateway_port: int = 8443
    enrolment_port: int = 8444
    utility_port: int = 8445
    origin: str = "gridtokenx.example/log"
    opening_deposit_micro: int = 0
    pseudonym_days: int = 0
    """How long accounts and devices keep one name in the public log; 0 is plain names."""
    zones: tuple[ZoneConfig, ...] = (ZoneConfig(),)
    desk: DeskConfig = field(default_factory=DeskConfig)
    grid: GridRules = field(default_factory=GridRules)


def load_config(path: Path | None) -> CloudConfig:
    """Defaults, then the file, then GRIDTOKENX_<KEY> for the plain top-level keys."""
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path} does not exist; name the configuration file") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not TOML: {error}") from error
    config = config_from(table)
    return _from_environment(config)


def config_from(table: dict[str, Any]) -> CloudConfig:
    """A configuration from plain tables. Raises ConfigError."""
    values = dict(table)
    zones = values.pop("zones", None)
    desk = values.pop("desk", None)
    grid = values.pop("grid", None)
    config = _record(CloudConfig, values, "")
    if zones is not None:
        if not isinstance(zones, list) or not zones:
            raise ConfigError("zones: write at least one [[zones]] table")
        config = replace(config, zones=tuple(_record(ZoneConfig, zone, "zones.") for zone in zones))
    if desk is not None:
        config = replace(config, desk=_record(DeskConfig, desk, "desk."))
    if grid is not None:
        config = replace(config, grid=_record(GridRules, grid, "grid."))
    _check(config)
    return config


def _record(kind: type[T], values: dict[str, Any], where: str) -> T:
    known = _kinds(kind)
    checked = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {where}{near[0]}?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"{where}{key} is not a known key; {hint}")
        checked[key] = _typed(where + key, known[key], value)
    return kind(**checked)


def _kinds(kind: type[Any]) -> dict[str, Any]:
    """The plain keys of a record and their types."""
    if issubclass(kind, msgspec.Struct):
        return {f.name: f.type for f in msgspec.structs.fields(kind)}
    return {f.name: f.type for f in fields(kind) if f.name not in {"zones", "desk", "grid"}}


def _typed(key: str, kind: Any, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind == tuple[str, ...] and isinstance(value, list):
        if not all(isinstance(one, str) for one in value):
            raise ConfigError(f"{key} = {value!r}: write a list of texts")
        return tuple(value)
    wanted = {int: int, str: str, bool: bool}.get(kind)
    if wanted is None or type(value) is not wanted:
        name = "a whole number" if kind is int else "a text"
        raise ConfigError(f"{key} = {value!r}: write {name}")
    return value


def _check(config: CloudConfig) -> None:
    for name in ("http_port", "gateway_port", "enrolment_port", "utility_port"):
        port = getattr(config, name)
        if not 0 <= port < 65_536:
            raise ConfigError(f"{name} = {port}: a port is 0 (any free one) to 65535")
    if not 0 <= config.pseudonym_days <= 366:
        raise ConfigError(f"pseudonym_days = {config.pseudonym_days}: write 0 (off) to 366")
    for zone in config.zones:
        if zone.tick_micro_per_kwh <= 0:
            raise ConfigError(f"zones.tick_micro_per_kwh = {zone.tick_micro_per_kwh}: must be > 0")
        for name, most in (("latitude_mdeg", 90_000), ("longitude_mdeg", 180_000)):
            if abs(getattr(zone, name)) > most:
                raise ConfigError(f"zones.{name} = {getattr(zone, name)}: write -{most} to {most}")
        for name, highest in (("grid_fee_bps", 10_000), ("trading_fee_bps", 1_000),
                              ("vat_bps", 10_000), ("grid_fee_micro_per_kwh", 10**9)):  # fmt: skip
            if not 0 <= getattr(zone, name) <= highest:
                raise ConfigError(f"zones.{name} = {getattr(zone, name)}: write 0 to {highest}")
        if zone.fallback_export_micro_per_kwh >= zone.fallback_import_micro_per_kwh:
            raise ConfigError(
                "zones.fallback_export_micro_per_kwh must lie below fallback_import: "
                "the band between them is where homes trade"
            )
    if len({zone.name for zone in config.zones}) != len(config.zones):
        raise ConfigError("zones.name: each zone needs a name of its own")


def _from_environment(config: CloudConfig) -> CloudConfig:
    changes: dict[str, Any] = {}
    for f in fields(CloudConfig):
        text = os.environ.get(ENVIRONMENT_PREFIX + f.name.upper())
        if text is None or f.name in {"zones", "desk", "grid"}:
            continue
        if f.type is int and not text.lstrip("-").isdigit():
            raise ConfigError(
                f"{ENVIRONMENT_PREFIX}{f.name.upper()}={text!r}: write a whole number"
            )
        changes[f.name] = int(text) if f.type is int else Path(text) if f.type is Path else text
    config = replace(config, **changes)
    _check(config)
    return config
