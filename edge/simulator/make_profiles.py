"""Makes `profiles.npz` from SimBench's CSV files. Run by hand, never by the simulator.

SimBench (https://simbench.net) is a database of the University of Kassel, TU Dortmund, RWTH Aachen
University and Fraunhofer IEE under the Open Database License; see `profiles.LICENSE.txt`. What is
written here is a derived database under the same licence. Standard library only, and the archive
carries no dates, so the same input gives the same bytes:

    python -m edge.simulator.make_profiles SIMBENCH/networks/1-complete_data-mixed-all-0-sw OUT.npz
"""

import csv
import sys
import zipfile
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

PER_PEAK = 2_000
"""One whole peak is stored as this: finer than any meter of a home can tell apart."""

LOADS = ("H0-A", "H0-B", "H0-C", "H0-G", "H0-L")
"""Single households. H0-H never falls below 29 % of its peak: it is a block of flats, left out."""

SUNS = ("PV1", "PV4", "PV5", "PV8")
QUARTERS = 366 * 96
"""2016 was a leap year, in quarter hours."""

Numbers: TypeAlias = "array[int]"
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)


def columns(path: Path, wanted: dict[str, str]) -> dict[str, Numbers]:
    """The columns `wanted` (name in the file -> name to keep) as integers of PER_PEAK."""
    found: dict[str, Numbers] = {kept: array("H") for kept in wanted.values()}
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter=";"):
            for name, kept in wanted.items():
                found[kept].append(max(0, round(float(row[name]) * PER_PEAK)))
    return found


def npy(values: Numbers) -> bytes:
    """One array as NumPy's .npy, version 1.0: little-endian unsigned 16 bit."""
    header = f"{{'descr': '<u2', 'fortran_order': False, 'shape': ({len(values)},), }}"
    padded = header + " " * (-(10 + len(header) + 1) % 64) + "\n"
    little = array("H", values)
    if sys.byteorder == "big":
        little.byteswap()
    length = len(padded).to_bytes(2, "little")
    return b"\x93NUMPY\x01\x00" + length + padded.encode("ascii") + little.tobytes()


def write(path: Path, arrays: dict[str, Numbers]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, values in sorted(arrays.items()):
            if len(values) != QUARTERS:
                raise ValueError(f"{name} has {len(values)} quarter hours, a year has {QUARTERS}")
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", _FIXED_DATE), npy(values), zipfile.ZIP_DEFLATED, 9
            )


def main(arguments: Iterable[str]) -> int:
    source, target = (Path(argument) for argument in arguments)
    loads = columns(source / "LoadProfile.csv", {f"{name}_pload": name for name in LOADS})
    suns = columns(source / "RESProfile.csv", {name: name for name in SUNS})
    write(target, loads | suns)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
