"""Reads a profile file of firmware-configs: TOML to checked records.

It accepts only what it understands: an unknown key, a wrong type or an id that is not the file's
path is refused with the place and what to do.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from edge.devices.modbus.frames import READ_HOLDING, READ_INPUT
from edge.devices.profile import (
    PointMap,
    Profile,
    RegisterValue,
    SelfTest,
    Signature,
    Transport,
    WriteMap,
)
from edge.devices.profile_checks import check_profile
from edge.devices.profile_table import BadProfile, Table
from edge.devices.registers import KINDS, ORDERS, Kind, Order, words_of
from protos.messages import Quantity, Role

SCHEMA = 1
TABLES = {"holding": READ_HOLDING, "input": READ_INPUT}
SETPOINTS = ("power_w", "export_limit_w")


def load_profile(path: Path) -> Profile:
    """The profile in a TOML file `<vendor>/<model>.toml`. Raises BadProfile."""
    name = f"{path.parent.name}/{path.stem}"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadProfile(name, str(error), "check that the file is readable TOML") from error
    profile = parse_profile(name, content)
    check_profile(profile)
    return profile


def parse_profile(name: str, content: Mapping[str, object]) -> Profile:
    """The profile in a parsed file; `name` is what its id must be. Raises BadProfile."""
    top = Table(name, "", content)
    if top.integer("schema") != SCHEMA:
        raise BadProfile(name, "unknown schema", f"this agent reads schema {SCHEMA}")
    identity = top.text("id")
    if identity != name:
        raise BadProfile(name, f"its id is {identity!r}", "id and file path must agree")
    source = top.table("source")
    source.text("document")
    source.texts("confirmed_by", ())
    source.done()
    defaults = top.table("defaults")
    profile = Profile(
        id=identity,
        revision=top.integer("revision"),
        products=tuple(_product(row) for row in top.rows("products")),
        roles=tuple(Role[role.upper()] for role in top.texts("roles")),
        transport=_transport(top.table("transport")),
        points=tuple(_point(row, defaults) for row in top.rows("points")),
        writes=tuple(_write(row, defaults) for row in top.rows("writes")),
        serial=_serial(top.table("serial"), defaults),
        signature=_signature(top.table("identify"), defaults),
        selftests=tuple(_selftest(row, defaults) for row in top.rows("selftest")),
    )
    top.done()
    return profile


def _product(row: Table) -> tuple[str, str]:
    product = (row.text("vendor"), row.text("model"))
    row.done()
    return product


def _transport(row: Table) -> Transport:
    transport = Transport(
        kinds=row.texts("kinds"),
        baud=row.integers("baud", (9600,)),
        parity=row.texts("parity", ("N",)),
        stop=row.integer("stop", 1),
        max_words=row.integer("max_words", 125),
        step=row.integer("step", 1),
        spare=row.integer("spare", 0),
        forbidden=row.ranges("forbidden"),
        gap_ms=row.integer("gap_ms", 0),
        connect_delay_ms=row.integer("connect_delay_ms", 0),
        turnaround_ms=row.integer("turnaround_ms", 20),
        exclusive_tcp=row.boolean("exclusive_tcp"),
        idle_close_s=row.integer("idle_close_s", 0),
    )
    row.done()
    return transport


def _function(row: Table, defaults: Table) -> int:
    return TABLES[row.choice("table", tuple(TABLES), defaults.text("table", "holding"))]


def _value(row: Table, defaults: Table) -> RegisterValue:
    kind: Kind = row.choice("type", KINDS, defaults.text("type", "u16"))  # type: ignore[assignment]
    order: Order = row.choice("order", ORDERS, defaults.text("order", "ABCD"))  # type: ignore[assignment]
    width = row.integer("width") if kind == "str" else words_of(kind)
    return RegisterValue(
        addr=row.integer("addr"),
        kind=kind,
        order=order,
        width=width,
        multiply=row.integer("multiply", 1),
        divide=row.integer("divide", 1),
        negate=row.boolean("negate"),
        nan=frozenset(row.integers("nan", ())),
    )


def _point(row: Table, defaults: Table) -> PointMap:
    quantities = tuple(quantity.name.lower() for quantity in Quantity)
    point = PointMap(
        id=row.text("id"),
        function=_function(row, defaults),
        value=_value(row, defaults),
        quantity=Quantity[row.choice("quantity", quantities).upper()],
        phase=row.integer("phase", 0),
        billing=row.boolean("billing"),
        minimum=row.maybe_integer("min"),
        maximum=row.maybe_integer("max"),
    )
    row.done()
    return point


def _write(row: Table, defaults: Table) -> WriteMap:
    timer = row.table("timer")
    write = WriteMap(
        id=row.text("id"),
        setpoint=row.choice("setpoint", SETPOINTS),
        function=row.integer("function", 16),
        value=_value(row, defaults),
        minimum=row.integer("min"),
        maximum=row.integer("max"),
        default=row.integer("default"),
        timer=_value(timer, defaults) if timer.given else None,
        nonvolatile=row.boolean("nonvolatile"),
        max_writes_per_day=row.integer("max_writes_per_day", 0),
    )
    timer.done()
    row.done()
    return write


def _serial(row: Table, defaults: Table) -> tuple[int, RegisterValue] | None:
    if not row.given:
        return None
    serial = (_function(row, defaults), _value(row, defaults))
    row.done()
    return serial


def _signature(row: Table, defaults: Table) -> Signature | None:
    if not row.given:
        return None
    signature = Signature(_function(row, defaults), _value(row, defaults), row.scalars("expect"))
    row.done()
    return signature


def _selftest(row: Table, defaults: Table) -> SelfTest:
    raw: dict[tuple[int, int], tuple[int, ...]] = {}
    images = row.table("raw")
    for key in images.names:
        table, _, address = key.rpartition(":")
        function = TABLES[table or defaults.text("table", "holding")]
        raw[function, int(address, 0)] = images.integers(key)
    test = SelfTest(raw, row.table("expect").numbers())
    row.done()
    return test
