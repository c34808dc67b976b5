"""A year of quarter-hour household loads and solar production, read from the shipped data file.

The data are extracts of SimBench (ODbL, see `profiles.LICENSE.txt`), each scaled to its own rating.
This module reads the archive with the standard library, because a gateway has no NumPy. It never
interprets a profile: how much a home draws is decided in `home.py`.
"""

import sys
import zipfile
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TypeAlias

from protos.clock import SECOND_NS, SLOT_NS, SLOTS_PER_DAY

PER_PEAK = 2_000
"""One whole peak in the file's numbers."""

Numbers: TypeAlias = "array[int]"
_FILE = Path(__file__).with_name("profiles.npz")
_MAGIC = b"\x93NUMPY\x01\x00"


@dataclass(frozen=True, slots=True)
class Profiles:
    """Loads and suns by name; each array holds one leap year of quarter hours from 1 January."""

    loads: Mapping[str, Numbers]
    suns: Mapping[str, Numbers]


@cache
def shipped() -> Profiles:
    """The profiles that come with the package."""
    with zipfile.ZipFile(_FILE) as archive:
        arrays = {
            name.removesuffix(".npy"): _numbers(archive.read(name)) for name in archive.namelist()
        }
    return Profiles(
        loads={name: values for name, values in arrays.items() if name.startswith("H0")},
        suns={name: values for name, values in arrays.items() if name.startswith("PV")},
    )


def _numbers(npy: bytes) -> Numbers:
    if npy[:8] != _MAGIC or b"'<u2'" not in npy[:128]:
        raise ValueError(f"{_FILE.name} is damaged; make it again with make_profiles.py")
    start = 10 + int.from_bytes(npy[8:10], "little")
    values = array("H", npy[start:])
    if sys.byteorder == "big":
        values.byteswap()
    return values


@cache
def quarter_of_year(slot: int) -> int:
    """Which quarter hour of its year (UTC) a delivery slot is: where it stands in a profile."""
    start = datetime.fromtimestamp(slot * (SLOT_NS // SECOND_NS), UTC)
    return (start.timetuple().tm_yday - 1) * SLOTS_PER_DAY + slot % SLOTS_PER_DAY


def per_peak_at(values: Numbers, at_ns: int, scale: int) -> int:
    """`scale` times the profile's share of its peak at an instant, between its quarter hours.

    Linear from one quarter's start to the next, so that power does not jump every 15 minutes; in
    integers, floored. `scale` is the peak in whatever unit the caller counts.
    """
    slot, into_ns = divmod(at_ns, SLOT_NS)
    here = values[quarter_of_year(slot) % len(values)]
    there = values[quarter_of_year(slot + 1) % len(values)]
    weighted = here * (SLOT_NS - into_ns) + there * into_ns
    return scale * weighted // (PER_PEAK * SLOT_NS)
