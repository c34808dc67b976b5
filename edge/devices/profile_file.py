"""Reads a profile file of firmware-configs: TOML to checked records.

It accepts only what it understands: an unknown key, a wrong type or an id that is not the file's
path is refused with the place and what to do.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

from edge.devices.modbus.frames import READ_HOLDING, READ_INPUT
from edge.devices.profile import (
    Amps,
    Marks,
    Place,
    PointMap,
    Profile,
    RegisterValue,
    SelfTest,
    Signature,
    Source,
    Step,
    Transport,
    WriteMap,
)
from edge.devices.profile_checks import check_profile
from edge.devices.profile_table import BadProfile, Table
from edge.devices.registers import KINDS, ORDERS, Kind, Order, words_of
from protos.messages import Quantity, Role

SCHEMA = 1
_ADDRESS = re.compile(r"^0x[0-9A-Fa-f]{1,4}$")
TABLES = {"holding": READ_HOLDING, "input": READ_INPUT}
SETPOINTS = ("power_w", "export_limit_w", "charge_limit_w")
ROLES = tuple(role.name.lower() for role in Role)
FAILSAFES = ("device_timer", "device_watchdog", "agent")


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
        roles=tuple(Role[role.upper()] for role in top.choices("roles", ROLES)),
        transport=_transport(top.table("transport")),
        points=tuple(_point(row, defaults) for row in top.rows("points")),
        writes=tuple(_write(row, defaults) for row in top.rows("writes")),
        serial=_place(top.table("serial"), defaults),
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
    value, minus = _value(row, defaults), row.table("minus")
    marks, counter = row.table("negative_when"), row.table("counter")
    function = _function(row, defaults)
    point = PointMap(
        id=row.text("id"),
        function=function,
        value=value,
        quantity=Quantity[row.choice("quantity", quantities).upper()],
        phase=row.integer("phase", 0),
        billing=row.boolean("billing"),
        minimum=row.maybe_integer("min"),
        maximum=row.maybe_integer("max"),
        minus=_like(minus, value) if minus.given else None,
        marks=_marks(marks, defaults) if marks.given else None,
        rollover_wh=counter.integer("rollover_wh", 0),
        max_rate_w=counter.integer("max_rate_w", 0),
    )
    for part in (minus, marks, counter, row):
        part.done()
    return point


def _like(row: Table, value: RegisterValue) -> RegisterValue:
    """Another register of the same make."""
    return replace(value, addr=row.integer("addr"))


def _marks(row: Table, defaults: Table) -> Marks:
    return Marks(_function(row, defaults), row.integer("addr"), row.integer("mask"))


def _write(row: Table, defaults: Table) -> WriteMap:
    """A setpoint, with all its steps, or in short where it is one register with a default."""
    timer, amps = row.table("timer"), row.table("amps")
    function = row.integer("function", 16)
    nonvolatile = row.boolean("nonvolatile")
    steps = [_step(step, defaults, function) for step in row.rows("steps")]
    restore = [_step(step, defaults, function) for step in row.rows("restore")]
    if not steps:
        value, default = _value(row, defaults), row.integer("default")
        steps = [Step(value, function, "value", nonvolatile=nonvolatile)]
        restore = [Step(value, function, "constant", default, nonvolatile=nonvolatile)]
    if timer.given:
        steps.insert(0, Step(_value(timer, defaults), function, "ttl"))
    write = WriteMap(
        id=row.text("id"),
        setpoint=row.choice("setpoint", SETPOINTS),
        minimum=row.integer("min"),
        maximum=row.integer("max"),
        steps=tuple(steps),
        restore=tuple(restore),
        failsafe=row.choice("failsafe", FAILSAFES),
        max_writes_per_day=row.integer("max_writes_per_day", 0),
        rating=_place(row.table("rating"), defaults),
        consent=row.text("consent", ""),
        holds_s=row.integer("holds_s", 0),
        amps=_amps(amps) if amps.given else None,
    )
    for part in (timer, amps, row):
        part.done()
    return write


def _amps(row: Table) -> Amps:
    return Amps(row.integer("phases"), row.integer("volt"), row.integer("least_ma"))


def _step(row: Table, defaults: Table, function: int) -> Step:
    source: Source = row.choice("from", get_args(Source), "constant")  # type: ignore[assignment]
    codes = row.integers("codes", (0, 0, 0))
    if len(codes) != 3:
        raise row.bad("codes", "has not three numbers: for charging, standing by, discharging")
    step = Step(
        value=_value(row, defaults),
        function=row.integer("function", function),
        source=source,
        constant=row.integer("constant", 0),
        codes=(codes[0], codes[1], codes[2]),
        nonvolatile=row.boolean("nonvolatile"),
        at_least=row.integer("at_least", 0),
        readback=_place(row.table("readback"), defaults),
        own=_place(row.table("own"), defaults),
        early=row.boolean("early"),
    )
    row.done()
    return step


def _place(row: Table, defaults: Table) -> Place | None:
    if not row.given:
        return None
    place = (_function(row, defaults), _value(row, defaults))
    row.done()
    return place


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
        table = table or defaults.text("table", "holding")
        if table not in TABLES or not _ADDRESS.match(address):
            raise images.bad(key, "is no place: write 0x1234, or input:0x1234")
        raw[TABLES[table], int(address, 16)] = images.words(key)
    test = SelfTest(raw, row.table("expect").numbers())
    row.done()
    return test
