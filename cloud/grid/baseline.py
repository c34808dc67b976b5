"""The flow that is there without any trade: a year of quarter hours for every node, in integers.

A node takes (or, where negative, feeds in) the sum of its rated powers times their profiles, and
what is constant in the file. The products are exact integers; one division rounds the node's sum,
halves up, so any machine gets the same watt.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from cloud.grid.tables import NetworkError, Tables, in_service, number, whole
from protos.units import round_measured

Integers = npt.NDArray[np.int64]

PER_PEAK_MAX = 1 << 15
RATED_MAX = 1 << 40
"""A rated power times any 16-bit profile, summed over a node, stays within 64 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """What each node takes of each profile: `rated[e]` of `profile[e]` at `node[e]`."""

    node: Integers
    profile: Integers
    rated: Integers


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """The year. `profiles[p, quarter]` is in parts of `per_peak`; the shares' unit is W or var."""

    profiles: npt.NDArray[np.int16]
    per_peak: int
    constant_w: Integers
    constant_var: Integers
    active: Shares
    reactive: Shares

    def node_w(self, quarter: int) -> Integers:
        """What every node takes from the grid, in W, in one quarter hour of the year."""
        return self._node(self.active, self.constant_w, quarter)

    def node_var(self, quarter: int) -> Integers:
        """The same for reactive power, in var."""
        return self._node(self.reactive, self.constant_var, quarter)

    def _node(self, shares: Shares, constant: Integers, quarter: int) -> Integers:
        total = np.zeros(len(constant), np.int64)
        if len(shares.node):
            now = self.profiles[:, quarter % self.profiles.shape[1]].astype(np.int64)
            np.add.at(total, shares.node, shares.rated * now[shares.profile])
        return (total + self.per_peak // 2) // self.per_peak + constant


def read_baseline(tables: Tables, index: Mapping[int, int], profiles: bytes | None) -> Baseline:
    """Raises NetworkError where the shares, the profiles and the nodes do not fit together."""
    year = _year(profiles) if profiles is not None else np.zeros((0, 1), np.int16)
    per_peak = tables.sidecar.get("profile_per_peak", 1)
    if type(per_peak) is not int or not 1 <= per_peak <= PER_PEAK_MAX:
        raise NetworkError("network: profile_per_peak is a positive integer")
    shares = {
        key: _shares(tables.sidecar.get(key, []) if profiles is not None else [], key, index, year)
        for key in ("base_w", "base_var")
    }
    return Baseline(
        profiles=year,
        per_peak=per_peak,
        constant_w=_constant(tables, index, "p_specified"),
        constant_var=_constant(tables, index, "q_specified"),
        active=shares["base_w"],
        reactive=shares["base_var"],
    )


def _year(profiles: bytes) -> npt.NDArray[np.int16]:
    try:
        with np.load(io.BytesIO(profiles), allow_pickle=False) as archive:
            year: Any = archive["profiles"]
    except (ValueError, KeyError, OSError, EOFError, BadZipFile, AttributeError) as error:
        raise NetworkError(f"network: the profiles are unreadable: {error}") from error
    if year.dtype != np.dtype("<i2") or year.ndim != 2 or not year.size:
        raise NetworkError("network: profiles are 16-bit integers, one row a profile")
    return np.asarray(year, np.int16)


def _shares(rows: Any, key: str, index: Mapping[int, int], year: npt.NDArray[np.int16]) -> Shares:
    if not _is_table(rows):
        raise NetworkError(f"network: {key} is not rows of [node, profile, rated], all integers")
    unknown = [node for node, _, _ in rows if node not in index]
    if unknown:
        raise NetworkError(f"network: {key} names node {unknown[0]}, which is not there")
    if any(not 0 <= profile < len(year) for _, profile, _ in rows):
        raise NetworkError(f"network: {key} names a profile that is not in the file")
    if any(abs(rated) > RATED_MAX for _, _, rated in rows):
        raise NetworkError(f"network: {key} has a rated power above {RATED_MAX}")
    table = np.array(rows, np.int64).reshape(-1, 3)
    nodes = np.array([index[node] for node, _, _ in rows], np.int64)
    return Shares(nodes, table[:, 1].copy(), table[:, 2].copy())


def _is_table(rows: Any) -> bool:
    return isinstance(rows, list) and all(
        isinstance(row, list) and len(row) == 3 and all(type(entry) is int for entry in row)
        for row in rows
    )


def _constant(tables: Tables, index: Mapping[int, int], key: str) -> Integers:
    total = np.zeros(len(index), np.int64)
    for rows, sign in ((tables.sym_load, 1), (tables.sym_gen, -1)):
        for row in rows:
            if in_service(row, "status"):
                node = whole(row, "node", "load")
                if node not in index:
                    raise NetworkError(f"network: load {row.get('id')!r} is at an unknown node")
                total[index[node]] += sign * round_measured(number(row, key, "load"))
    return total
