"""Makes `rural.pgm.json.gz` and `rural_profiles.npz` from SimBench. Run by hand, never imported.

SimBench (https://simbench.net) is a database of the University of Kassel, TU Dortmund, RWTH Aachen
University and Fraunhofer IEE under the Open Database License 1.0; what is written here is a derived
database under the same licence. Needs the project's `data` extra:

    python -m cloud.grid.data.make_network

What is done, and why: buses joined by closed bus-bus switches become one node, because a switch as
a tiny impedance spoils every solver; lines with an open end are left out; transformer taps are made
active, because pandapower 3 silently ignores those that SimBench sets (up to 0.028 pu of voltage);
vector-group shifts are left out, because no balanced magnitude depends on them. The same input
gives the same bytes.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

CODE = "1-MVLV-rural-all-2-sw"
NAME = "simbench-1-MVLV-rural-all-2-sw"
PER_PEAK = 10_000
"""One whole rated power in the profile file's numbers."""

SOURCE_SHORT_CIRCUIT_VA = 1e14
"""The grid above is taken as stiff: 1e14 VA moves its voltage by less than 1e-6 pu."""

_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_WYE_GROUNDED, _TAP_AT_FROM, _TAP_AT_TO = 1, 0, 1

Rows = list[list[Any]]


def fused(net: Any) -> dict[int, int]:
    """Each bus's representative over closed bus-bus switches: the smallest bus of its group."""
    parent = {int(bus): int(bus) for bus in net.bus.index}

    def top(bus: int) -> int:
        while parent[bus] != bus:
            bus = parent[bus]
        return bus

    switches = net.switch[(net.switch.et == "b") & net.switch.closed]
    for a, b in zip(switches.bus, switches.element, strict=True):
        low, high = sorted((top(int(a)), top(int(b))))
        parent[high] = low
    return {bus: top(bus) for bus in parent}


def closed_branches(net: Any, table: str, kind: str) -> Any:
    """The rows of `table` that carry current: in service and closed at both ends."""
    frame = net[table]
    opened = net.switch[(net.switch.et == kind) & ~net.switch.closed].element
    return frame[frame.in_service & ~frame.index.isin(set(opened))]


def preorder(edges: list[tuple[int, int]], root: int) -> list[int]:
    """The buses reachable from `root`, parents before children, smaller buses first."""
    near: dict[int, list[int]] = defaultdict(list)
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    order, stack, seen = [], [root], {root}
    while stack:
        bus = stack.pop()
        order.append(bus)
        fresh = sorted(set(near[bus]) - seen, reverse=True)
        seen.update(fresh)
        stack.extend(fresh)
    return order


def tidy(value: float) -> float:
    """Nine digits: more than any cable table has, and the same text on every machine."""
    return float(f"{float(value):.9g}")


def line_rows(
    lines: Iterable[Any], node_of: dict[int, int], first_id: int
) -> tuple[Rows, list[str]]:
    """Lines as power-grid-model wants them: ohm, farad, ampere; whole length, parallels as one."""
    rows: Rows = []
    names = []
    for i, line in enumerate(lines):
        ends = sorted((node_of[line.from_bus], node_of[line.to_bus]))
        count, km = line.parallel, line.length_km
        r, x, c = line.r_ohm_per_km, line.x_ohm_per_km, line.c_nf_per_km * 1e-9
        electric = [r * km / count, x * km / count, c * km * count, 0.0]
        rated_a = line.max_i_ka * 1e3 * line.df * count
        rows.append([first_id + i, *ends, 1, 1, *map(tidy, [*electric, rated_a])])
        names.append(str(line.name))
    return rows, names


def transformer_rows(
    transformers: Iterable[Any], node_of: dict[int, int], first_id: int
) -> tuple[Rows, list[str]]:
    """Two-winding transformers with their taps active."""
    rows: Rows = []
    names = []
    for i, unit in enumerate(transformers):
        rated_va = unit.sn_mva * 1e6 * unit.parallel
        high_v, low_v = unit.vn_hv_kv * 1e3, unit.vn_lv_kv * 1e3
        iron_w = unit.pfe_kw * 1e3 * unit.parallel
        at_low = unit.tap_side == "lv"
        tap_v = unit.tap_step_percent / 100 * (low_v if at_low else high_v)
        electric = [
            high_v,
            low_v,
            rated_va,
            unit.vk_percent / 100,
            unit.vkr_percent / 100 * rated_va,
            max(unit.i0_percent / 100, iron_w / rated_va),
            iron_w,
        ]
        taps = [int(unit.tap_pos), int(unit.tap_min), int(unit.tap_max), int(unit.tap_neutral)]
        rows.append(
            [first_id + i, node_of[unit.hv_bus], node_of[unit.lv_bus], 1, 1]
            + [tidy(value) for value in electric]
            + [_WYE_GROUNDED, _WYE_GROUNDED, 0, _TAP_AT_TO if at_low else _TAP_AT_FROM]
            + [*taps, tidy(tap_v)]
        )
        names.append(str(unit.name))
    return rows, names


ATTRIBUTES = {
    "node": ["id", "u_rated"],
    "line": [
        "id",
        "from_node",
        "to_node",
        "from_status",
        "to_status",
        "r1",
        "x1",
        "c1",
        "tan1",
        "i_n",
    ],
    "transformer": [
        "id",
        "from_node",
        "to_node",
        "from_status",
        "to_status",
        "u1",
        "u2",
        "sn",
        "uk",
        "pk",
        "i0",
        "p0",
        "winding_from",
        "winding_to",
        "clock",
        "tap_side",
        "tap_pos",
        "tap_min",
        "tap_max",
        "tap_nom",
        "tap_size",
    ],
    "source": ["id", "node", "status", "u_ref", "sk", "rx_ratio"],
}


class BaseFlow:
    """Collects the year's profiles, each once, and what every node takes of each."""

    def __init__(self, profiles: Any) -> None:
        self._frames = profiles
        self._index: dict[bytes, int] = {}
        self.columns: list[Any] = []
        self.active: dict[tuple[int, int], int] = defaultdict(int)
        self.reactive: dict[tuple[int, int], int] = defaultdict(int)

    def _profile(self, table: str, column: str) -> int | None:
        import numpy as np  # here, because importing the package must not need it

        values = np.rint(self._frames[table][column].to_numpy() * PER_PEAK).astype("<i2")
        if not values.any():
            return None
        key = values.tobytes()
        if key not in self._index:
            self._index[key] = len(self.columns)
            self.columns.append(values)
        return self._index[key]

    def add(
        self,
        into: dict[tuple[int, int], int],
        node: int,
        rated_mega: float,
        profile: tuple[str, str],
    ) -> None:
        """`node` takes `rated_mega` (MW or Mvar, negative where it feeds in) times a profile."""
        index = self._profile(*profile)
        rated = round(rated_mega * 1e6)
        if index is not None and rated:
            into[node, index] += rated

    def rows(self, of: dict[tuple[int, int], int]) -> Rows:
        return [[node, profile, rated] for (node, profile), rated in sorted(of.items())]


def base_flow(net: Any, node_of: dict[int, int]) -> BaseFlow:
    """Loads, generators and storages, in the sign of `baseline_flow_w`: positive is taken."""
    base = BaseFlow(net.profiles)
    for load in net.load.sort_index().itertuples():
        node = node_of[load.bus]
        base.add(base.active, node, load.p_mw, ("load", f"{load.profile}_pload"))
        base.add(base.reactive, node, load.q_mvar, ("load", f"{load.profile}_qload"))
    renewables = set(net.profiles["renewables"].columns)
    for unit in net.sgen.sort_index().itertuples():
        table = "renewables" if unit.profile in renewables else "powerplants"
        base.add(base.active, node_of[unit.bus], -unit.p_mw, (table, unit.profile))
    for unit in net.storage.sort_index().itertuples():
        base.add(base.active, node_of[unit.bus], unit.p_mw, ("storage", unit.profile))
    return base


def connection_nodes(net: Any, node_of: dict[int, int]) -> list[int]:
    """The low-voltage nodes where SimBench has a customer: a household, a farm or a shop."""
    low = set(net.bus.index[net.bus.vn_kv < 1.0])
    return sorted({node_of[bus] for bus in net.load.bus if bus in low})


def document(net: Any) -> tuple[dict[str, Any], Any]:
    """The whole network as power-grid-model JSON with a sidecar, and the profiles."""
    import numpy as np  # as above

    joined = fused(net)
    lines = closed_branches(net, "line", "l")
    units = closed_branches(net, "trafo", "t")
    edges = [(joined[a], joined[b]) for a, b in zip(lines.from_bus, lines.to_bus, strict=True)]
    edges += [(joined[a], joined[b]) for a, b in zip(units.hv_bus, units.lv_bus, strict=True)]
    grid = net.ext_grid.iloc[0]
    order = preorder(edges, joined[int(grid.bus)])
    place = {bus: i for i, bus in enumerate(order)}
    node_of = {bus: place[top] for bus, top in joined.items() if top in place}
    nodes = [[i, tidy(net.bus.vn_kv[bus] * 1e3)] for i, bus in enumerate(order)]
    line_data, line_names = line_rows(lines.itertuples(), node_of, len(nodes))
    unit_data, unit_names = transformer_rows(
        units.itertuples(), node_of, len(nodes) + len(line_data)
    )
    last = len(nodes) + len(line_data) + len(unit_data)
    source = [last, 0, 1, tidy(grid.vm_pu), SOURCE_SHORT_CIRCUIT_VA, 0.1]
    base = base_flow(net, node_of)
    sidecar = {
        "name": NAME,
        "licence": "ODbL-1.0",
        "attribution": "Contains information from SimBench (https://simbench.net), which is made"
        " available under the Open Database License 1.0",
        "node_names": [str(net.bus.name[bus]) for bus in order],
        "branch_names": line_names + unit_names,
        "home_nodes": connection_nodes(net, node_of),
        "profile_per_peak": PER_PEAK,
        "base_w": base.rows(base.active),
        "base_var": base.rows(base.reactive),
    }
    data = {"node": nodes, "line": line_data, "transformer": unit_data, "source": [source]}
    return {
        "version": "1.0",
        "type": "input",
        "is_batch": False,
        "attributes": ATTRIBUTES,
        "data": data,
        "gridtokenx": sidecar,
    }, np.stack(base.columns)


def write(folder: Path, content: dict[str, Any], profiles: Any) -> None:
    """Both files, without dates and with a fixed compression, so that the bytes can be compared."""
    import numpy as np  # as above

    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True)
    packed = gzip.compress(text.encode("ascii"), compresslevel=9, mtime=0)
    (folder / "rural.pgm.json.gz").write_bytes(packed)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, profiles, version=(1, 0), allow_pickle=False)
    with zipfile.ZipFile(folder / "rural_profiles.npz", "w") as archive:
        entry = zipfile.ZipInfo("profiles.npy", _FIXED_DATE)
        archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED, 9)


def main() -> int:
    import simbench  # as above; brings pandapower, pandas and a network of its own

    content, profiles = document(simbench.get_simbench_net(CODE))
    write(Path(__file__).parent, content, profiles)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
