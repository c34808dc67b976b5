"""Capacity planning: a year of quarter hours through a network, and which elements fill up how often.

Decides nothing: it says for each element how its loading is distributed over the year, for the base
flow as it is or grown, and for the whole network how voltages and the worst loading are, by AC power
flow of every quarter hour. The distribution of one element is of the lossless flow (active and
reactive), which is linear in the profiles and so costs one product of matrices for the year; beside
it stands the AC figure of the element's worst quarter hour.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloud.grid.baseline import Shares
from cloud.grid.network import Network, NetworkError
from cloud.grid.voltage import below
from ext.sweep import Sweep
from protos.units import PER_MILLE, round_measured

Floats = npt.NDArray[np.float64]

QUANTILES = (0.5, 0.95, 0.99, 0.999)
CHUNK = 480
"""Quarter hours at a time: five days bound the memory."""

BLOCK = 256
"""Elements at a time."""

GROWTH_PER_CENT_MAX, YEARS_MAX = 100.0, 40
FULL_PER_MILLE = 1_000
QUARTERS_PER_HOUR = 4


@dataclass(frozen=True, slots=True)
class ElementYear:
    """One element's loadings in per mille: the quantiles, the greatest, and that by AC power flow
    (-1 where it did not converge). `quarter` is when that was, `hours_full` how long it was over.
    """

    element: int
    quantiles: tuple[int, ...]
    greatest: int
    greatest_ac: int
    quarter: int
    hours_full: int


@dataclass(frozen=True, slots=True)
class YearPlan:
    """The elements by greatest loading, and the year of the whole network in per mille: quantiles
    of the worst loading and of the highest voltage, and of the lowest voltage from the other end.
    `failed` counts quarter hours without a solution; they are in no quantile.
    """

    growth_per_mille: int
    quarters: int
    failed: int
    loading: tuple[int, ...]
    voltage_high: tuple[int, ...]
    voltage_low: tuple[int, ...]
    elements: tuple[ElementYear, ...]


def plan_year(
    network: Network, *, growth_per_cent: float = 0.0, years: int = 1, count: int = 50
) -> YearPlan:
    """The year with all base flow grown by so many per cent a year, compounded. `count` elements.

    Raises ValueError for a growth that cannot be meant, or a network without a year.
    """
    if not -GROWTH_PER_CENT_MAX < growth_per_cent <= GROWTH_PER_CENT_MAX:
        raise ValueError(
            f"a growth of {growth_per_cent} % a year; give more than -100, at most 100"
        )
    if not 0 <= years <= YEARS_MAX:
        raise ValueError(f"{years} years; give 0 to {YEARS_MAX}")
    scale = (1 + growth_per_cent / 100) ** years
    sweep = sweep_of(network)
    worst, high, low = _ac_year(network, sweep, scale)
    solved = np.isfinite(worst)
    return YearPlan(
        growth_per_mille=round_measured(scale - 1, PER_MILLE),
        quarters=len(worst),
        failed=int((~solved).sum()),
        loading=_quantiles(worst[solved], QUANTILES),
        voltage_high=_quantiles(high[solved], QUANTILES),
        voltage_low=_quantiles(low[solved], tuple(1 - share for share in QUANTILES)),
        elements=tuple(_elements(network, sweep, scale, count)),
    )


def sweep_of(network: Network) -> Sweep:
    """The network's AC power flow. Raises NetworkError where it has loops, which no sweep can treat."""
    if network.loops is not None:
        raise NetworkError(
            f"{network.name}: a year is computed for radial networks; open its loops"
        )
    wires = network.electric
    columns = (wires.r_pu, wires.x_pu, wires.g_pu, wires.b_pu, wires.ratio)
    return Sweep(network.parent, *columns, wires.root_voltage_pu)


def _ac_year(network: Network, sweep: Sweep, scale: float) -> tuple[Floats, Floats, Floats]:
    """Worst loading, highest and lowest voltage of every quarter hour; NaN where there is none."""
    base = network.baseline
    quarters = base.profiles.shape[1]
    active, reactive = (_by_profile(shares, len(base.profiles), network.size)
                        for shares in (base.active, base.reactive))  # fmt: skip
    found = np.empty((3, quarters))
    for start in range(0, quarters, CHUNK):
        part = slice(start, min(start + CHUNK, quarters))
        year = base.profiles[:, part].astype(np.float64).T / base.per_peak
        p = np.ascontiguousarray((year @ active + base.constant_w) * scale)
        q = np.ascontiguousarray((year @ reactive + base.constant_var) * scale)
        lowest, highest, fullest = sweep.steps(p.data, q.data, network.limit_w)
        found[0, part], found[1, part], found[2, part] = fullest, highest, lowest
    return found[0], found[1], found[2]


def _by_profile(shares: Shares, profiles: int, size: int) -> Floats:
    """What each node takes at one whole peak of each profile."""
    table = np.zeros((profiles, size))
    np.add.at(table, (shares.profile, shares.node), shares.rated.astype(np.float64))
    return table


def _elements(network: Network, sweep: Sweep, scale: float, count: int) -> Iterator[ElementYear]:
    limits = np.maximum(np.array(network.limit_w, np.float64), 1.0)
    greatest = np.zeros(network.size)
    for part, loading in _loadings(network, scale, np.arange(1, network.size), limits):
        greatest[part] = loading.max(axis=1)
    ranked = np.argsort(-greatest, kind="stable")[:count]
    ranked = ranked[ranked > 0]
    for part, loading in _loadings(network, scale, ranked, limits):
        for element, year in zip(part.tolist(), loading, strict=True):
            quarter = int(year.argmax())
            yield ElementYear(
                element,
                _quantiles(year, QUANTILES),
                round_measured(float(year[quarter]), PER_MILLE),
                _ac_loading(network, sweep, scale, element, quarter),
                quarter,
                int((year * PER_MILLE > FULL_PER_MILLE).sum()) // QUARTERS_PER_HOUR,
            )


def _loadings(
    network: Network, scale: float, elements: npt.NDArray[np.int64], limits: Floats
) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
    """Blocks of elements with their loading in every quarter hour, by lossless flow."""
    base = network.baseline
    end = network.voltage.end
    year = base.profiles.astype(np.float64) / base.per_peak
    tables = []
    for shares, constant in ((base.active, base.constant_w), (base.reactive, base.constant_var)):
        at_node = _by_profile(shares, len(base.profiles), network.size)
        at_element = np.stack([_below(end, row) for row in at_node]) if len(at_node) else at_node
        tables.append((at_element, below(end, constant)))
    for start in range(0, len(elements), BLOCK):
        part = elements[start : start + BLOCK]
        squares = np.zeros((len(part), year.shape[1]))
        for at_element, constant in tables:
            squares += (at_element[:, part].T @ year + constant[part, None]) ** 2
        yield part, np.sqrt(squares) * scale / limits[part, None]


def _below(end: npt.NDArray[np.int64], node: Floats) -> Floats:
    sums = np.concatenate((np.zeros(1), np.cumsum(node)))
    return np.asarray(sums[end] - sums[:-1], np.float64)


def _ac_loading(network: Network, sweep: Sweep, scale: float, element: int, quarter: int) -> int:
    """By full AC power flow of one quarter hour: the apparent power that enters from above."""
    base = network.baseline
    active = base.node_w(quarter).astype(np.float64) * scale
    reactive = base.node_var(quarter).astype(np.float64) * scale
    sweep.reset()
    sweep.load(active.tolist(), reactive.tolist())
    if not sweep.settle(1e-8):
        return -1
    p, q = sweep.flow_va(element)
    return round_measured(float(np.hypot(p, q)) / max(1, network.limit_w[element]), PER_MILLE)


def _quantiles(values: Floats, shares: tuple[float, ...]) -> tuple[int, ...]:
    if not len(values):
        return ()
    return tuple(round_measured(float(value), PER_MILLE) for value in np.quantile(values, shares))


def plan_lines(network: Network, plan: YearPlan, count: int) -> list[str]:
    """The plan as a table for people."""

    def shown(values: tuple[int, ...]) -> str:
        return " ".join(f"{value / 10:7.1f}" for value in values)

    heads = " ".join(f"{share * 100:6.5g}%" for share in QUANTILES)
    lines = [
        f"{network.name}: {plan.quarters} quarter hours, base flow {plan.growth_per_mille / 10:+.1f} %",
        f"{'per cent of limit or of rated':40} {heads}",
        f"{'worst loading anywhere':40} {shown(plan.loading)}",
        f"{'highest voltage anywhere':40} {shown(plan.voltage_high)}",
        f"{'lowest voltage anywhere':40} {shown(plan.voltage_low)}",
        "",
        f"{'element':40} {heads} {'most':>7} {'by AC':>7} {'hours over':>10}",
    ]
    if plan.failed:
        lines.insert(
            1, f"{plan.failed} quarter hours have no solution: the network cannot carry them"
        )
    for year in plan.elements[:count]:
        name = f"{year.element} {network.element_names[year.element]}"
        ac = f"{year.greatest_ac / 10:7.1f}" if year.greatest_ac >= 0 else "   none"
        most = f"{year.greatest / 10:7.1f}"
        lines.append(f"{name[:40]:40} {shown(year.quantiles)} {most} {ac} {year.hours_full:10}")
    return lines


def plan_record(network: Network, plan: YearPlan) -> dict[str, object]:
    """The plan for programs; ratios in per mille."""
    return {
        "network": network.name,
        "quarters": plan.quarters,
        "failed": plan.failed,
        "growth_per_mille": plan.growth_per_mille,
        "quantiles": list(QUANTILES),
        "loading": list(plan.loading),
        "voltage_high": list(plan.voltage_high),
        "voltage_low": list(plan.voltage_low),
        "elements": [
            {
                "element": year.element,
                "name": network.element_names[year.element],
                "quantiles": list(year.quantiles),
                "greatest": year.greatest,
                "greatest_ac": year.greatest_ac,
                "quarter": year.quarter,
                "hours_full": year.hours_full,
            }
            for year in plan.elements
        ],
    }
