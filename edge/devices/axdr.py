"""DLMS data (A-XDR, IEC 62056-5-3) to plain values, and what a pushed list says by OBIS code.

Pure. It must never read past its end, never nest without bound, and never take a number whose unit
nobody names.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import isfinite

DEPTH_MAX = 8
ITEMS_MAX = 1_024
"""A push of all registers of a home's meter has under a hundred."""

SCALARS: Mapping[int, str] = {
    3: ">?",
    5: ">i",
    6: ">I",
    15: ">b",
    16: ">h",
    17: ">B",
    18: ">H",
    20: ">q",
    21: ">Q",
    22: ">B",
    23: ">f",
    24: ">d",
}
FIXED: Mapping[int, int] = {25: 12, 26: 5, 27: 4}
"""Octets of date-time, date and time."""

NULL, ARRAY, STRUCTURE, BITS, OCTETS, TEXT, UTF8, BCD = 0, 1, 2, 4, 9, 10, 12, 13

UNITS: Mapping[int, tuple[str, int]] = {
    27: ("W", 1),
    29: ("var", 1),
    30: ("Wh", 1),
    33: ("mA", 1000),
    35: ("mV", 1000),
    44: ("mHz", 1000),
}
"""Unit codes of IEC 62056-6-2 as a canonical unit, and how many of those one is."""

EXPONENT_MAX = 9


class BadData(ValueError):
    """Octets that are no DLMS data; the message says why."""


@dataclass(slots=True)
class Octets:
    """A place in octets that only moves forward."""

    octets: bytes
    at: int = 0
    items: int = 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.octets):
            raise BadData("it ends too soon")
        self.at += count
        return self.octets[self.at - count : self.at]

    def number(self) -> int:
        return self.take(1)[0]

    def length(self) -> int:
        """A length as BER writes it: short, or the octets that say it."""
        first = self.number()
        if first < 0x80:
            return first
        if first - 0x80 not in {1, 2, 4}:
            raise BadData(f"a length of {first - 0x80} octets")
        return int.from_bytes(self.take(first - 0x80), "big")


def parse(source: Octets, depth: int = 0) -> object:
    """One value with everything in it. Raises BadData."""
    tag = source.number()
    source.items += 1
    if source.items > ITEMS_MAX:
        raise BadData(f"more than {ITEMS_MAX} values")
    if tag in {ARRAY, STRUCTURE}:
        if depth >= DEPTH_MAX:
            raise BadData(f"nested deeper than {DEPTH_MAX}")
        return [parse(source, depth + 1) for _ in range(source.length())]
    if tag in SCALARS:
        kind = SCALARS[tag]
        value: object = struct.unpack(kind, source.take(struct.calcsize(kind)))[0]
        return value
    if tag == NULL:
        return None
    if tag in {OCTETS, TEXT, UTF8}:
        octets = source.take(source.length())
        return octets if tag == OCTETS else octets.decode("utf-8", "replace")
    if tag in FIXED:
        return source.take(FIXED[tag])
    if tag == BITS:
        return source.take(-(-source.length() // 8))
    if tag == BCD:
        return source.number()
    raise BadData(f"type {tag} is not known")


def obis(octets: object) -> str:
    """The code C.D.E of an electricity register; "" for anything else."""
    if not isinstance(octets, bytes) or len(octets) != 6 or octets[0] != 1 or octets[5] != 255:
        return ""
    return ".".join(str(octet) for octet in octets[2:5])


Told = Mapping[str, tuple[Fraction, str]]
"""What an installer says a code's count is worth, where the meter does not: factor and unit."""


def readings(data: object, told: Told) -> dict[str, tuple[Fraction, str]]:
    """Value and canonical unit by code. A code without a unit, of the meter or the installer, is
    left out, and so is one that comes twice with different values.
    """
    values: dict[str, tuple[Fraction, str]] = {}
    doubtful: set[str] = set()
    for code, number, scale in _pairs(data):
        value = _scaled(number, scale, told.get(code))
        if value is not None and values.setdefault(code, value) != value:
            doubtful.add(code)
    return {code: value for code, value in values.items() if code not in doubtful}


def number_of(data: object, wanted: Sequence[bytes]) -> str:
    """The first text that follows one of these codes: the meter's own number."""
    for items in _lists(data):
        for name, value in pairwise(items):
            if isinstance(name, bytes) and name in wanted:
                if isinstance(value, bytes):
                    return value.decode("ascii", "replace").strip("\0 ")
                if isinstance(value, str):
                    return value.strip("\0 ")
    return ""


def _lists(data: object) -> Iterator[list[object]]:
    if isinstance(data, list):
        yield data
        for item in data:
            yield from _lists(item)


def _pairs(data: object) -> Iterator[tuple[str, int | float, object]]:
    """Every code with the number behind it, and what stands behind that."""
    for items in _lists(data):
        for at, item in enumerate(items[:-1]):
            number = items[at + 1]
            if (code := obis(item)) and type(number) in {int, float}:
                assert isinstance(number, int | float)
                yield code, number, items[at + 2] if at + 2 < len(items) else None


def _scaled(
    number: float, scale: object, told: tuple[Fraction, str] | None
) -> tuple[Fraction, str] | None:
    if not isfinite(number):
        return None
    exact = Fraction(number)
    if isinstance(scale, list) and len(scale) == 2 and all(type(part) is int for part in scale):
        exponent, unit = scale
        if unit not in UNITS or abs(exponent) > EXPONENT_MAX:
            return None
        name, factor = UNITS[unit]
        return exact * Fraction(10) ** exponent * factor, name
    return None if told is None else (exact * told[0], told[1])
