"""What an operator may set, read from TOML and the environment into frozen records.

An unknown key is refused with the nearest known one. Every field has a good value for the embedded
form; no secret has a default.
"""

import difflib
import os
import sys
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from cloud.commands import GridArea, GridRules

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ENVIRONMENT_PREFIX = "GRIDTOKENX_"
GATE_PROCESSES_MAX = 64
NESTED = frozenset({"zones", "desk", "grid", "areas", "wheeling"})
"""Keys that are tables of their own."""
T = TypeVar("T", bound="DataclassInstance | msgspec.Struct")


class ConfigError(Exception):
    """The configuration cannot be used. The message names the key and what to write instead."""


REST = "rest"
"""The grid outside all areas, in [[zones.wheeling]]."""
AREAS_MAX = 64


@dataclass(frozen=True, slots=True)
class AreaConfig:
    """A part of a zone's grid: the node and all below it, unless another area begins there."""

    name: str = ""
    node: int = 0


@dataclass(frozen=True, slots=True)
class WheelingConfig:
    """What a kWh sold from one area to another pays the grid operator besides."""

    seller: str = REST
    buyer: str = REST
    micro_per_kwh: int = 0


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
    bank_unsold: bool = False
    """Whether unsold export stays with the home as tokens, instead of being bought and burned."""
    areas: tuple[AreaConfig, ...] = ()
    """[[zones.areas]]: parts of the grid between which [[zones.wheeling]] sets fees."""
    wheeling: tuple[WheelingConfig, ...] = ()
    latitude_mdeg: int = 0
    longitude_mdeg: int = 0
    """Where the zone lies, in thousandths of a degree, for forecasts of its sun; 0, 0: unknown."""

    def grid_areas(self) -> tuple[GridArea, ...]:
        return tuple(GridArea(area.name, area.node) for area in self.areas)

    def wheeling_matrix(self) -> tuple[tuple[int, ...], ...]:
        """Fees by the seller's area and the buyer's, REST first; empty where none is set."""
        if not self.wheeling:
            return ()
        names = [REST, *(area.name for area in self.areas)]
        fees = {(one.seller, one.buyer): one.micro_per_kwh for one in self.wheeling}
        return tuple(tuple(fees.get((seller, buyer), 0) for buyer in names) for seller in names)


@dataclass(frozen=True, slots=True)
class DeskConfig:
    """Risk limits of the virtual power plant. Money in micro-units of the venue's currency."""

    power_max_w: int = 500_000
    exposure_max_micro: int = 10_000_000_000
    power_min_w: int = 100_000
    oasis_files: tuple[str, ...] = ()
    """Recorded OASIS price files whose days the paper exchange repeats instead of a made day."""
    currency: str = "USD"
    """What the venues pay in."""
    rate_micro: int = 0
    """One unit of it in the zones' currency, in millionths. Must be set where they differ: until
    then statements are kept and compared, and the homes wait for their part."""
    homes_first: bool = False
    """Whether the batteries serve their homes before a market: their forecast use is then kept."""
    learn_worth: bool = True
    """Whether what stored energy is worth is learned from the past of prices, where that is possible
    and where it earned more than the plain programme over the last weeks."""
    plan_reserves: bool = False
    """Whether tomorrow's reserves are planned and offered before each venue's day-ahead close."""


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """An embedded aggregator: one process, one SQLite journal, nothing else to install."""

    state_dir: Path = Path("gridtokenx-state")
    host: str = "127.0.0.1"
    http_port: int = 8080
    gateway_port: int = 8443
    enrolment_port: int = 8444
    utility_port: int = 8445
    gate_processes: int = 1
    """How many processes serve the gateways' port; with 1 the aggregator does so itself."""
    origin: str = "gridtokenx.example/log"
    opening_deposit_micro: int = 0
    pseudonym_days: int = 0
    """How long accounts and devices keep one name in the public log; 0 is plain names."""
    snapshot_commands: int = 500_000
    """After so many commands a snapshot is taken, so that a start replays few more; 0: never."""
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
        config = replace(config, zones=tuple(map(_zone, zones)))
    if desk is not None:
        config = replace(config, desk=_record(DeskConfig, desk, "desk."))
    if grid is not None:
        config = replace(config, grid=_record(GridRules, grid, "grid."))
    _check(config)
    return config


def _zone(values: dict[str, Any]) -> ZoneConfig:
    plain = dict(values)
    areas = _tables(AreaConfig, plain.pop("areas", []), "zones.areas")
    wheeling = _tables(WheelingConfig, plain.pop("wheeling", []), "zones.wheeling")
    return replace(_record(ZoneConfig, plain, "zones."), areas=areas, wheeling=wheeling)


def _tables(kind: type[T], given: Any, where: str) -> tuple[T, ...]:
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise ConfigError(f"{where}: write [[{where}]] tables")
    return tuple(_record(kind, one, f"{where}.") for one in given)


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
    return {f.name: f.type for f in fields(kind) if f.name not in NESTED}


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
    _check_numbers(config)
    for zone in config.zones:
        _check_zone(zone)
    if len({zone.name for zone in config.zones}) != len(config.zones):
        raise ConfigError("zones.name: each zone needs a name of its own")


def _check_numbers(config: CloudConfig) -> None:
    if not 1 <= config.gate_processes <= GATE_PROCESSES_MAX:
        raise ConfigError(
            f"gate_processes = {config.gate_processes}: write 1 to {GATE_PROCESSES_MAX}"
        )
    if config.gate_processes > 1 and sys.platform != "linux":
        raise ConfigError("gate_processes: gateways are dealt to several processes on Linux only")
    if not 0 <= config.pseudonym_days <= 366:
        raise ConfigError(f"pseudonym_days = {config.pseudonym_days}: write 0 (off) to 366")
    if config.snapshot_commands < 0:
        raise ConfigError(
            f"snapshot_commands = {config.snapshot_commands}: write 0 (never) or more"
        )
    if config.desk.rate_micro < 0:
        raise ConfigError(
            f"desk.rate_micro = {config.desk.rate_micro}: write a rate > 0, or leave it"
        )


def _check_zone(zone: ZoneConfig) -> None:
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
    _check_areas(zone)


def _check_areas(zone: ZoneConfig) -> None:
    names, nodes = [area.name for area in zone.areas], [area.node for area in zone.areas]
    if len({*names, "", REST}) != len(names) + 2 or len({*nodes}) != len(nodes):
        raise ConfigError(f'zones.areas: each needs a name (not "{REST}") and a node of its own')
    if len(names) > AREAS_MAX or any(node <= 0 for node in nodes):
        raise ConfigError(f"zones.areas: at most {AREAS_MAX}, each at a node from 1 on")
    ways = [(one.seller, one.buyer) for one in zone.wheeling]
    if len({*ways}) != len(ways):
        raise ConfigError("zones.wheeling: write one table for each pair of seller and buyer")
    for one in zone.wheeling:
        for name in (one.seller, one.buyer):
            if name not in {*names, REST}:
                known = ", ".join([*names, REST])
                raise ConfigError(f"zones.wheeling: no area {name!r}; known: {known}")
        if not 0 <= one.micro_per_kwh <= 10**9:
            raise ConfigError(f"zones.wheeling.micro_per_kwh = {one.micro_per_kwh}: 0 to {10**9}")


def _from_environment(config: CloudConfig) -> CloudConfig:
    changes: dict[str, Any] = {}
    for f in fields(CloudConfig):
        text = os.environ.get(ENVIRONMENT_PREFIX + f.name.upper())
        if text is None or f.name in NESTED:
            continue
        if f.type is int and not text.lstrip("-").isdigit():
            raise ConfigError(
                f"{ENVIRONMENT_PREFIX}{f.name.upper()}={text!r}: write a whole number"
            )
        changes[f.name] = int(text) if f.type is int else Path(text) if f.type is Path else text
    config = replace(config, **changes)
    _check(config)
    return config
