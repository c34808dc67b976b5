"""Makes a network file out of a pandapower JSON file. Offline; needs no pandapower.

pandapower writes its tables as JSON inside JSON; they are read here as what they are, so nothing of
a foreign file is ever executed. Only what a zone can trade on is taken: lines, two-winding
transformers, one external grid, constant loads, static generators and storages. Buses joined by
closed switches become one node, lines with an open end are left out, taps are active. What is not
understood is refused by name: leaving a component out in silence would make wires look empty.
"""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from math import isfinite, isnan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cloud.grid.data.make_network import (
    ATTRIBUTES,
    SOURCE_SHORT_CIRCUIT_VA,
    line_rows,
    preorder,
    tidy,
    transformer_rows,
)
from cloud.grid.network import load_network
from cloud.grid.tables import BYTES_MAX, NetworkError

SUFFIX = ".pgm.json.gz"
LOW_VOLTAGE_KV = 1.0
LOAD_COLUMNS = ["id", "node", "status", "type", "p_specified", "q_specified"]

TAKEN = ("bus", "line", "trafo", "switch", "load", "sgen", "storage", "ext_grid")
REFUSED = {
    "trafo3w": "three-winding transformers are not run; replace them by two-winding ones",
    "gen": "voltage-controlled generators are not run; make them static (sgen)",
    "impedance": "impedances are not run; replace them by lines",
    "dcline": "DC lines are not run",
    "ward": "wards are not run; replace them by loads",
    "xward": "extended wards are not run; replace them by loads",
    "shunt": "shunts are not run; replace them by loads of reactive power",
    "motor": "motors are not run; replace them by loads",
    "asymmetric_load": "single-phase loads are not run; sum them into loads",
    "asymmetric_sgen": "single-phase generators are not run; sum them into static generators",
    "ssc": "static compensators are not run",
    "svc": "static compensators are not run",
    "tcsc": "series compensators are not run",
    "vsc": "converters are not run",
}

DEFAULTS: dict[str, dict[str, Any]] = {
    "bus": {"name": None, "in_service": True},
    "line": {"name": None, "in_service": True, "parallel": 1, "df": 1.0, "c_nf_per_km": 0.0},
    "trafo": {
        "name": None,
        "in_service": True,
        "parallel": 1,
        "tap_side": None,
        "tap_pos": None,
        "tap_neutral": None,
        "tap_min": None,
        "tap_max": None,
        "tap_step_percent": None,
        "tap_step_degree": None,
        "vector_group": None,
    },
    "switch": {"closed": True},
    "load": {"in_service": True, "scaling": 1.0, "q_mvar": 0.0},
    "sgen": {"in_service": True, "scaling": 1.0, "q_mvar": 0.0},
    "storage": {"in_service": True, "scaling": 1.0, "q_mvar": 0.0},
    "ext_grid": {"in_service": True, "vm_pu": 1.0},
}

TEXTS = {"name", "et", "tap_side", "vector_group"}
FLAGS = {"in_service", "closed"}
BUSES = {"bus", "from_bus", "to_bus", "hv_bus", "lv_bus", "element"}
POSITIVE = {"vn_kv", "sn_mva", "vn_hv_kv", "vn_lv_kv", "parallel", "df", "length_km", "vm_pu"}
NUMBERS = {
    "r_ohm_per_km", "x_ohm_per_km", "c_nf_per_km", "max_i_ka", "vk_percent", "vkr_percent",
    "pfe_kw", "i0_percent", "tap_pos", "tap_neutral", "tap_min", "tap_max", "tap_step_percent",
    "tap_step_degree", "p_mw", "q_mvar", "scaling",
}  # fmt: skip
"""The columns that are used, by what their values must be."""

Tables = dict[str, list[Any]]


def convert_file(source: Path, output: Path | None = None) -> tuple[Path, str]:
    """Writes the network file. Returns its path and what it holds. Raises NetworkError."""
    if source.stat().st_size > BYTES_MAX:
        raise NetworkError(f"{source}: larger than {BYTES_MAX} bytes")
    name = source.name.split(".")[0]
    data, words = convert(source.read_text(encoding="utf-8"), name)
    path = output or source.with_name(name + SUFFIX)
    path.write_bytes(data)
    return path, words


def convert(text: str, name: str) -> tuple[bytes, str]:
    """The network file of a pandapower JSON text, checked by loading it, and what it holds."""
    tables = _read(text)
    top = _fused(tables)
    lines, units = _closed(tables, "line", "l"), _closed(tables, "trafo", "t")
    for unit in units:
        _check_unit(unit, tables)
    edges = [(top[a], top[b], line) for line in lines for a, b in [_ends(line)]]
    edges += [(top[a], top[b], unit) for unit in units for a, b in [_ends(unit)]]
    grid = _grid(tables, top)
    order = _tree(tables, top, edges, top[int(grid.bus)])
    place = {bus: i for i, bus in enumerate(order)}
    node_of = {bus: place[fused] for bus, fused in top.items() if fused in place}
    lines = [line for line in lines if line.from_bus in node_of and line.to_bus in node_of]
    units = [unit for unit in units if unit.hv_bus in node_of and unit.lv_bus in node_of]
    document = _document(tables, name, order, node_of, lines, units, grid)
    data = gzip.compress(json.dumps(document, separators=(",", ":")).encode(), 9, mtime=0)
    network = load_network(data)
    left = len(tables["bus"]) - len(node_of)
    words = f"nodes {network.size}, lines {len(lines)}, transformers {len(units)}"
    words += f", homes {len(network.home_nodes)}"
    return data, words + (f"; left out, without supply or load: buses {left}" if left else "")


# ---- reading --------------------------------------------------------------------------------


def _read(text: str) -> Tables:
    try:
        document = json.loads(text)
        tables = document["_object"]
        assert document.get("_class") == "pandapowerNet"
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError) as error:
        raise NetworkError(
            "no pandapower JSON: write the file with pandapower.to_json(net, path)"
        ) from error
    for kind, why in REFUSED.items():
        if any(getattr(row, "in_service", True) for row in _rows(tables, kind)):
            raise NetworkError(f"pandapower: the network has a {kind}: {why}")
    return {kind: list(_rows(tables, kind)) for kind in TAKEN}


def _rows(tables: dict[str, Any], kind: str) -> Iterator[Any]:
    """The rows of one table, `index` first. pandas' "split" form: columns, index, data."""
    entry = tables.get(kind)
    if not isinstance(entry, dict) or entry.get("_class") != "DataFrame":
        return
    try:
        frame = entry["_object"]
        frame = json.loads(frame) if isinstance(frame, str) else frame
        columns, index, data = frame["columns"], frame["index"], list(map(list, frame["data"]))
    except (ValueError, KeyError, TypeError) as error:
        raise NetworkError(f"pandapower: the table {kind} cannot be read: {error!r}") from error
    if not all(map(_is_whole, index)) or any(len(row) != len(columns) for row in data):
        raise NetworkError(f"pandapower: the table {kind} cannot be read: rows do not fit")
    for number, values in zip(index, data, strict=True):
        given = {
            key: known
            for key, value in zip(columns, values, strict=True)
            if (known := _checked(f"{kind} {number}", key, value)) is not None
        }
        yield _Row(kind=kind, index=number, **(DEFAULTS.get(kind, {}) | given))


def _checked(label: str, key: str, value: Any) -> Any:
    """A value of a column that is used, of its own kind; None where it is missing."""
    if key in TEXTS:
        return value if isinstance(value, str) else None
    if key in FLAGS:
        fits = isinstance(value, bool) or value is None
    elif key in BUSES:
        fits = value is None or _is_whole(value)
        value = int(value) if fits and value is not None else value
    elif key in NUMBERS | POSITIVE:
        if isinstance(value, float) and isnan(value):
            return None
        fits = value is None or (
            isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        )
        if fits and value is not None and key in POSITIVE:
            fits = value > 0
    else:
        return None  # nothing here asks for it
    if not fits:
        raise NetworkError(f"pandapower: {label} has {key} = {value!r}, which cannot be meant")
    return value


def _is_whole(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return bool(is_number and isfinite(value) and value == int(value))


class _Row(SimpleNamespace):
    """One component. A value that is missing is refused when it is asked for."""

    def __getattr__(self, key: str) -> Any:
        raise NetworkError(f"pandapower: {self.label} has no {key}")

    @property
    def label(self) -> str:
        given = self.__dict__.get("name")
        return f"{self.kind} {self.index}" + (f" ({given})" if given else "")


# ---- topology -------------------------------------------------------------------------------


def _fused(tables: Tables) -> dict[int, int]:
    """Each bus in service by its representative over closed bus-bus switches."""
    above = {int(bus.index): int(bus.index) for bus in tables["bus"] if bus.in_service}

    def top(bus: int) -> int:
        while above[bus] != bus:
            bus = above[bus]
        return bus

    for switch in tables["switch"]:
        if switch.et == "b" and switch.closed:
            ends = int(switch.bus), int(switch.element)
            if all(end in above for end in ends):
                low, high = sorted(map(top, ends))
                above[high] = low
    return {bus: top(bus) for bus in above}


def _closed(tables: Tables, kind: str, code: str) -> list[Any]:
    """The branches that carry current: in service, both buses too, closed at both ends."""
    live = {int(bus.index) for bus in tables["bus"] if bus.in_service}
    opened = {
        int(switch.element)
        for switch in tables["switch"]
        if switch.et == code and not switch.closed
    }
    rows = [row for row in tables[kind] if row.in_service and int(row.index) not in opened]
    return [row for row in rows if all(end in live for end in _ends(row))]


def _ends(branch: Any) -> tuple[int, int]:
    if branch.kind == "line":
        return int(branch.from_bus), int(branch.to_bus)
    return int(branch.hv_bus), int(branch.lv_bus)


def _grid(tables: Tables, top: dict[int, int]) -> Any:
    live = [row for row in tables["ext_grid"] if row.in_service and int(row.bus) in top]
    if len(live) != 1:
        raise NetworkError(
            f"pandapower: {len(live)} external grids in service; a zone has exactly one"
        )
    return live[0]


def _tree(
    tables: Tables, top: dict[int, int], edges: list[tuple[int, int, Any]], root: int
) -> list[int]:
    """The buses in preorder. Raises NetworkError for load without supply."""
    joined = {(min(a, b), max(a, b)) for a, b, _ in edges}
    order = preorder([(a, b) for a, b in sorted(joined)], root)
    supplied = set(order)
    for kind in ("load", "sgen", "storage"):
        for row in tables[kind]:
            bus = int(row.bus)
            if row.in_service and bus in top and top[bus] not in supplied:
                raise NetworkError(
                    f"pandapower: {row.label} at bus {bus} is on an island without supply; close a "
                    "switch to it or take it out of service"
                )
    return order


# ---- components -----------------------------------------------------------------------------


def _check_unit(unit: Any, tables: Tables) -> None:
    """Refuses what three-phase checks cannot treat, and completes a transformer without taps."""
    low_kv = next(bus.vn_kv for bus in tables["bus"] if int(bus.index) == int(unit.lv_bus))
    star = str(unit.vector_group or "").lstrip("YDZN")
    if low_kv < LOW_VOLTAGE_KV and star and not star.rstrip("0123456789").endswith("n"):
        raise NetworkError(
            f"pandapower: {unit.label} is {unit.vector_group}: its low-voltage side has no earthed "
            "star point, so single-phase loads have no return; give it a group such as Dyn5"
        )
    moved = _number(unit.tap_pos) != _number(unit.tap_neutral)
    if moved and _number(unit.tap_step_degree):
        raise NetworkError(
            f"pandapower: {unit.label} shifts the phase with its tap; set it neutral"
        )
    if moved and not _number(unit.tap_step_percent):
        raise NetworkError(
            f"pandapower: {unit.label} is tapped but has no tap_step_percent, so the tap would do "
            "nothing"
        )
    unit.tap_neutral = _number(unit.tap_neutral)
    unit.tap_pos = _number(unit.tap_pos)
    unit.tap_step_percent = _number(unit.tap_step_percent)
    unit.tap_min = min(_number(unit.tap_min), unit.tap_pos, unit.tap_neutral)
    unit.tap_max = max(_number(unit.tap_max), unit.tap_pos, unit.tap_neutral)
    unit.tap_side = unit.tap_side or "hv"
    unit.name = unit.name or unit.label


def _number(value: Any) -> float:
    """A number that may be missing."""
    return float(value) if isinstance(value, int | float) and isfinite(value) else 0.0


def _document(
    tables: Tables,
    name: str,
    order: list[int],
    node_of: dict[int, int],
    lines: list[Any],
    units: list[Any],
    grid: Any,
) -> dict[str, Any]:
    by_bus = {int(bus.index): bus for bus in tables["bus"]}
    for line in lines:
        line.name = line.name or line.label
        if not _number(line.max_i_ka) > 0:
            raise NetworkError(f"pandapower: {line.label} has no max_i_ka; a zone needs its limit")
    nodes = [[i, tidy(by_bus[bus].vn_kv * 1e3)] for i, bus in enumerate(order)]
    line_data, line_names = line_rows(lines, node_of, len(nodes))
    unit_data, unit_names = transformer_rows(units, node_of, len(nodes) + len(line_data))
    last = len(nodes) + len(line_data) + len(unit_data)
    source = [last, 0, 1, tidy(grid.vm_pu), SOURCE_SHORT_CIRCUIT_VA, 0.1]
    return {
        "version": "1.0",
        "type": "input",
        "is_batch": False,
        "attributes": ATTRIBUTES | {"sym_load": LOAD_COLUMNS},
        "data": {
            "node": nodes,
            "line": line_data,
            "transformer": unit_data,
            "source": [source],
            "sym_load": _loads(tables, node_of, last + 1),
        },
        "gridtokenx": {
            "name": name,
            "node_names": [str(by_bus[bus].name or by_bus[bus].label) for bus in order],
            "branch_names": line_names + unit_names,
            "home_nodes": sorted(
                {
                    node_of[int(row.bus)]
                    for row in tables["load"]
                    if row.in_service and int(row.bus) in node_of
                    and by_bus[int(row.bus)].vn_kv < LOW_VOLTAGE_KV
                }
            ),
        },
    }  # fmt: skip


def _loads(tables: Tables, node_of: dict[int, int], first_id: int) -> list[list[Any]]:
    """What every node takes all the time, W and var: loads and storages less generators."""
    active: dict[int, float] = defaultdict(float)
    reactive: dict[int, float] = defaultdict(float)
    for kind, sign in (("load", 1), ("storage", 1), ("sgen", -1)):
        for row in tables[kind]:
            node = node_of.get(int(row.bus)) if row.in_service else None
            if node is not None:
                active[node] += sign * row.p_mw * row.scaling * 1e6
                reactive[node] += sign * row.q_mvar * row.scaling * 1e6
    return [
        [first_id + i, node, 1, 0, tidy(active[node]), tidy(reactive[node])]
        for i, node in enumerate(sorted(active))
    ]
