"""Refuses a profile that contradicts itself or whose golden registers decode to something else.

Pure. A wrong register address gives plausible values, so nothing but golden registers finds it.
"""

from edge.devices.profile import PointMap, Profile, SelfTest, WriteMap
from edge.devices.profile_table import BadProfile
from edge.devices.registers import BadValue
from protos.messages import Quantity

ENERGY = frozenset(
    {
        Quantity.ENERGY_IMPORT_WH,
        Quantity.ENERGY_EXPORT_WH,
        Quantity.ENERGY_PRODUCED_WH,
        Quantity.ENERGY_CONSUMED_WH,
    }
)


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
    owners: dict[tuple[int, int], PointMap] = {}
    for point in profile.points:
        if point.id in seen or (point.quantity, point.phase) in columns:
            raise BadProfile(profile.id, f"point {point.id} is given twice", "keep one of them")
        seen.add(point.id)
        columns.add((point.quantity, point.phase))
        for addr in range(point.value.addr, point.value.end):
            other = owners.setdefault((point.function, addr), point)
            if (other.value.addr, other.value.kind) != (point.value.addr, point.value.kind):
                raise BadProfile(
                    profile.id, f"{point.id} overlaps {other.id}", "check addresses and types"
                )


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
    elif not 0 <= point.phase <= 3:
        problem = "has a phase other than 0 to 3"
    elif value.multiply < 1 or value.divide < 1 or value.kind == "str":
        problem = "has no number"
    if problem:
        raise BadProfile(profile.id, f"point {point.id} {problem}", "correct the file")


def _check_write(profile: Profile, write: WriteMap) -> None:
    if not write.minimum <= write.default <= write.maximum:
        raise BadProfile(
            profile.id, f"write {write.id}: its default is outside its bounds", "correct the file"
        )
    if write.nonvolatile and not write.max_writes_per_day:
        raise BadProfile(
            profile.id, f"write {write.id} wears out memory", "give max_writes_per_day"
        )
    try:
        for bound in (write.minimum, write.maximum, write.default):
            write.value.registers(bound)
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
        addresses = [(point.function, a) for a in range(point.value.addr, point.value.end)]
        if any(address not in image for address in addresses):
            raise BadProfile(profile.id, f"selftest has no registers for {name}", "add them")
        got = point.value.canonical(tuple(image[address] for address in addresses))
        if got != want:
            raise BadProfile(
                profile.id, f"selftest: {name} decodes to {got}, not {want}", "check type and order"
            )
