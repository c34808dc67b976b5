"""Register words to values and back, in all types, orders and sentinels that profiles name.

Pure, and the same code both ways, so that a simulated device and a driver cannot disagree. A
sentinel or a float that is no number decodes to None, never to a number.
"""

from collections.abc import Collection, Sequence
from math import isfinite
from struct import pack, unpack
from typing import Literal, get_args

Kind = Literal["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "acc32", "acc64", "str"]
"""`acc32` and `acc64` are SunSpec accumulators: unsigned; what their 0 means, their driver knows."""

Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]
"""Octets of a 32-bit value as they come: ABCD is big-endian, CDAB has its words swapped, BADC its
octets within each word, DCBA both. For 64 bits the same swaps apply to all four words."""

KINDS: tuple[str, ...] = get_args(Kind)
ORDERS: tuple[str, ...] = get_args(Order)

Raw = int | float | str

_WORDS = {
    "u16": 1,
    "i16": 1,
    "u32": 2,
    "i32": 2,
    "f32": 2,
    "acc32": 2,
    "u64": 4,
    "i64": 4,
    "f64": 4,
    "acc64": 4,
}
_FLOATS = {"f32": ">f", "f64": ">d"}
_SIGNED = frozenset({"i16", "i32", "i64"})
ACCUMULATORS = frozenset({"acc32", "acc64"})


class BadValue(ValueError):
    """A value or register image that the type cannot carry."""


def words_of(kind: Kind) -> int:
    """How many registers a value of this kind takes; strings carry their own length."""
    return _WORDS[kind]


def _swapped(words: Sequence[int], order: Order) -> list[int]:
    """To big-endian or from it: each order is its own inverse."""
    result = list(words)
    if order in {"CDAB", "DCBA"}:
        result.reverse()
    if order in {"BADC", "DCBA"}:
        result = [(word >> 8) | (word & 0xFF) << 8 for word in result]
    return result


def decode(
    words: Sequence[int], kind: Kind, order: Order = "ABCD", nan: Collection[int] = ()
) -> Raw | None:
    """The raw value in `words`, None where it says that there is none.

    `nan` are sentinels as the unsigned integer of all bits, so 0x8000 marks an i16.
    """
    if kind == "str":
        return decode_text(words, order)
    if len(words) != _WORDS[kind]:
        raise BadValue(f"a {kind} has {_WORDS[kind]} registers, not {len(words)}")
    bits = 0
    for word in _swapped(words, order):
        bits = bits << 16 | word
    if bits in nan:
        return None
    size = 16 * len(words)
    if kind in _FLOATS:
        value: float = unpack(_FLOATS[kind], bits.to_bytes(size // 8, "big"))[0]
        return value if isfinite(value) else None
    if kind in _SIGNED and bits >> (size - 1):
        return bits - (1 << size)
    return bits


def decode_text(words: Sequence[int], order: Order = "ABCD") -> str | None:
    """Text up to its first NUL, stripped; None where nothing is left or it is not printable."""
    swap = order in {"BADC", "DCBA"}
    octets = b"".join(word.to_bytes(2, "little" if swap else "big") for word in words)
    text = octets.split(b"\0", 1)[0].decode("utf-8", "replace").strip()
    return text if text and text.isprintable() else None


def encode(value: Raw, kind: Kind, order: Order = "ABCD", width: int = 0) -> tuple[int, ...]:
    """The registers that decode to `value`; `width` is a string's length in registers."""
    if kind == "str":
        return _encode_text(str(value), order, width)
    if isinstance(value, str):
        raise BadValue(f"text cannot be a {kind}")
    size = 16 * _WORDS[kind]
    if kind in _FLOATS:
        bits = int.from_bytes(pack(_FLOATS[kind], value), "big")
    else:
        bits = _integer_bits(value, kind, size)
    words = [bits >> shift & 0xFFFF for shift in range(size - 16, -1, -16)]
    return tuple(_swapped(words, order))


def _integer_bits(value: float, kind: Kind, size: int) -> int:
    if value != int(value):
        raise BadValue(f"{value} is no whole number, as a {kind} must be")
    low = -(1 << (size - 1)) if kind in _SIGNED else 0
    high = (1 << (size - 1)) - 1 if kind in _SIGNED else (1 << size) - 1
    if not low <= value <= high:
        raise BadValue(f"{value} does not fit a {kind} ({low} to {high})")
    return int(value) & ((1 << size) - 1)


def _encode_text(text: str, order: Order, width: int) -> tuple[int, ...]:
    octets = text.encode("utf-8")
    if len(octets) > 2 * width:
        raise BadValue(f"{text!r} needs more than {width} registers")
    octets = octets.ljust(2 * width, b"\0")
    end: Literal["little", "big"] = "little" if order in {"BADC", "DCBA"} else "big"
    return tuple(int.from_bytes(octets[i : i + 2], end) for i in range(0, 2 * width, 2))


def encode_bits(bits: int, kind: Kind, order: Order = "ABCD") -> tuple[int, ...]:
    """The registers of a sentinel, given as the unsigned integer of all its bits."""
    size = 16 * _WORDS[kind]
    return tuple(_swapped([bits >> shift & 0xFFFF for shift in range(size - 16, -1, -16)], order))
