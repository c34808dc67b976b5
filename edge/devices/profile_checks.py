"""Refuses a profile that contradicts itself or whose golden registers decode to something else.

Pure. A wrong register address gives plausible values, so nothing but golden registers finds it.
"""

from collections.abc import Iterator

from edge.devices.profile import Amps, PointMap, Profile, RegisterValue, SelfTest, Step, WriteMap
from edge.devices.profile_table import BadProfile
from edge.devices.registers import BadValue, Kind
from protos.messages import Quantity

ENERGY = frozenset(
    {
        Quantity.ENERGY_IMPORT_WH,
        Quantity.ENERGY_EXPORT_WH,
        Quantity.ENERGY_PRODUCED_WH,
        Quantity.ENERGY_CONSUMED_WH,
    }
)


HOLDS_S_MAX = 60
"""A watchdog that runs longer than the agent's own timers is not relied on."""

LEAST_MA = 6_000
"""The pilot signal of IEC 61851-1 offers 6 A or more."""

Owners = dict[tuple[int, int], tuple[str, int, Kind]]


def check_profile(profile: Profile) -> None:
    """Refuses a profile that contradicts itself. Raises BadProfile."""
    _check_points(profile)
    for point in profile.points:
        _check_point(profile, point)
    for write in profile.writes:
        _check_write(profile, write)
    if not profile.selftests:
        raise BadProfile(profile.id, "it has no golden registers", "add a [[selftest]]")
    for test in profile.selftests:
        run_selftest(profile, test)


def _check_points(profile: Profile) -> None:
    seen: set[str] = set()
    columns: set[tuple[Quantity, int]] = set()
    owners: Owners = {}
    for point in profile.points:
        if point.id in seen or (point.quantity, point.phase) in columns:
            raise BadProfile(profile.id, f"point {point.id} is given twice", "keep one of them")
        seen.add(point.id)
        columns.add((point.quantity, point.phase))
        for part in (point.value, point.minus):
            _own(profile, owners, point, part)


def _own(profile: Profile, owners: Owners, point: PointMap, part: RegisterValue | None) -> None:
    """Notes whose registers these are: no two values may read the same words differently."""
    if part is None:
        return
    for addr in range(part.addr, part.end):
        name, at, kind = owners.setdefault((point.function, addr), (point.id, part.addr, part.kind))
        if (at, kind) != (part.addr, part.kind):
            raise BadProfile(profile.id, f"{point.id} overlaps {name}", "check addresses and types")


def _check_point(profile: Profile, point: PointMap) -> None:
    transport, value = profile.transport, point.value
    problem = ""
    if value.width > transport.max_words or not 0 <= value.addr <= 65536 - value.width:
        problem = "lies outside the registers"
    elif value.addr % transport.step or value.width % transport.step:
        problem = f"is not aligned to {transport.step} registers"
    elif any(value.addr < end and start < value.end for start, end in transport.forbidden):
        problem = "lies in a forbidden range"
    elif point.billing and point.quantity not in ENERGY:
        problem = "is billed but is no energy counter"
    elif (point.rollover_wh or point.max_rate_w) and point.quantity not in ENERGY:
        problem = "is no energy counter and cannot roll over"
    elif point.billing and not point.max_rate_w:
        problem = "is billed and does not say how fast it may grow (counter.max_rate_w)"
    elif not 0 <= point.phase <= 3:
        problem = "has a phase other than 0 to 3"
    elif value.multiply < 1 or value.divide < 1 or value.kind == "str":
        problem = "has no number"
    if problem:
        raise BadProfile(profile.id, f"point {point.id} {problem}", "correct the file")


def _write_problems(write: WriteMap) -> Iterator[tuple[bool, str]]:
    """What a setpoint must not be, and what to say of it."""
    steps = (*write.steps, *write.restore)
    timers = [step for step in steps if step.source == "ttl"]
    watched, charger = write.failsafe == "device_watchdog", write.setpoint == "charge_limit_w"
    yield write.minimum > write.maximum, "its bounds are the wrong way round"
    yield (
        not write.steps or not write.restore,
        "it has no steps, or nothing that restores the device's own behaviour",
    )
    yield (
        write.wears and not write.max_writes_per_day,
        "it wears out memory: give max_writes_per_day",
    )
    yield (
        write.failsafe == "device_timer" and not timers,
        "it names a device timer and writes none",
    )
    yield (
        bool(timers) and all(step.early for step in timers),
        "none of its timers is ever checked: the last one must not be early",
    )
    yield (
        watched and not 0 < write.holds_s <= HOLDS_S_MAX,
        f"it names a watchdog: give holds_s, 1 to {HOLDS_S_MAX} seconds",
    )
    yield (
        any(step.source not in {"constant", "own"} for step in write.restore),
        "its restore writes something else than constants and the device's own values",
    )
    yield (
        any((step.source == "own") != (step.own is not None) for step in steps),
        'from = "own" and own belong together',
    )
    yield (
        write.rating is None and any(step.source == "share" for step in steps),
        "it writes a share of a rating that it does not read",
    )
    yield charger != (write.amps is not None), "a charger needs amps, and nothing else has them"
    yield (
        write.amps is not None and not _is_plausible(write.amps),
        "its amps are not 1 or 3 phases of 100 to 250 V from 6 A up (IEC 61851-1)",
    )
    yield (
        write.amps is None and any(step.source == "current" for step in steps),
        "it writes a current and has no amps",
    )


def _is_plausible(amps: Amps) -> bool:
    return amps.phases in {1, 3} and 100 <= amps.volt <= 250 and amps.least_ma >= LEAST_MA


def _check_write(profile: Profile, write: WriteMap) -> None:
    for wrong, problem in _write_problems(write):
        if wrong:
            raise BadProfile(profile.id, f"write {write.id}: {problem}", "correct the file")
    for step in (*write.steps, *write.restore):
        _check_step(profile, write, step)


def _check_step(profile: Profile, write: WriteMap, step: Step) -> None:
    """Every value that a step can be asked for must fit its register; a default in short form
    must lie within the bounds.
    """
    if step.source == "value":
        defaults = [r.constant for r in write.restore if r.value.addr == step.value.addr]
        if any(not write.minimum <= default <= write.maximum for default in defaults):
            raise BadProfile(
                profile.id, f"write {write.id}: its default is outside its bounds", "correct it"
            )
    if step.source == "own":
        return
    try:
        for bound in (write.minimum, write.maximum, 0):
            step.value.registers(step.wanted(bound, 60, max(1, write.maximum), write.amps))
    except BadValue as error:
        raise BadProfile(profile.id, f"write {write.id}: {error}", "narrow its bounds") from error


def run_selftest(profile: Profile, test: SelfTest) -> None:
    """Decodes golden registers. Raises BadProfile where a point differs."""
    image: dict[tuple[int, int], int] = {}
    for (function, start), words in test.raw.items():
        for offset, word in enumerate(words):
            image[function, start + offset] = word
    points = {point.id: point for point in profile.points}
    for name, want in test.expect.items():
        point = points.get(name)
        if point is None:
            raise BadProfile(profile.id, f"selftest names unknown point {name}", "correct the file")
        addresses = [(f, a) for f, start, end in point.places() for a in range(start, end)]
        if any(address not in image for address in addresses):
            raise BadProfile(profile.id, f"selftest has no registers for {name}", "add them")
        got = point.read(image)
        if got != want:
            raise BadProfile(
                profile.id, f"selftest: {name} decodes to {got}, not {want}", "check type and order"
            )
