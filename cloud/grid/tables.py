"""Reads a network file: power-grid-model JSON, gzipped or plain, with our sidecar in it.

Decides what a file must have before a zone may trade on it, and refuses the rest with a reason.
It must never guess: an unknown component or a missing limit is an error, not a default.
"""

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

SIDECAR = "gridtokenx"
BYTES_MAX = 64 << 20
"""More than any network of a zone; a file that unpacks to more is refused."""

NUMBER_MAX = 1e15
"""No quantity of a zone is larger, in whatever unit; products of a few such still fit a float."""

_GZIP_MAGIC = b"\x1f\x8b"
_KNOWN = ("node", "line", "transformer", "source", "sym_load", "sym_gen")

Row = Mapping[str, Any]


class NetworkError(ValueError):
    """The bytes are no network that a zone can trade on. The message names the place."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The components of a file, each row as a mapping, and the sidecar."""

    node: Sequence[Row]
    line: Sequence[Row]
    transformer: Sequence[Row]
    source: Sequence[Row]
    sym_load: Sequence[Row]
    sym_gen: Sequence[Row]
    sidecar: Row


def read_tables(data: bytes) -> Tables:
    """Raises NetworkError for anything but an input data set of known components."""
    document = _document(unpacked(data))
    if document.get("type") != "input" or document.get("is_batch"):
        raise NetworkError("network: not a power-grid-model input data set; export type 'input'")
    components = document.get("data")
    if not isinstance(components, dict):
        raise NetworkError("network: the file has no 'data'")
    unknown = sorted(set(components) - set(_KNOWN))
    if unknown:
        raise NetworkError(
            f"network: {unknown[0]!r} is not understood; only {', '.join(_KNOWN)} are"
        )
    attributes = document.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise NetworkError("network: 'attributes' is not an object")
    rows = {
        name: _rows(name, components.get(name, []), attributes.get(name, [])) for name in _KNOWN
    }
    sidecar = document.get(SIDECAR, {})
    if not isinstance(sidecar, dict):
        raise NetworkError(f"network: {SIDECAR!r} is not an object")
    return Tables(**rows, sidecar=sidecar)


def number(row: Row, key: str, name: str) -> float:
    """A finite number of a row. `name` is the component's, for the message."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NetworkError(f"network: {name} {row.get('id')!r} has no {key}")
    if not isfinite(value) or abs(value) > NUMBER_MAX:
        raise NetworkError(f"network: {name} {row.get('id')!r} has no {key} that can be meant")
    return float(value)


def positive(row: Row, key: str, name: str) -> float:
    value = number(row, key, name)
    if value < 1 / NUMBER_MAX:
        raise NetworkError(f"network: {name} {row.get('id')!r} needs {key} above zero")
    return value


def whole(row: Row, key: str, name: str) -> int:
    value = number(row, key, name)
    if value != int(value):
        raise NetworkError(f"network: {name} {row.get('id')!r} needs a whole {key}")
    return int(value)


def in_service(row: Row, *keys: str) -> bool:
    """Whether a row is switched on; what says nothing is on."""
    return all(key not in row or whole(row, key, "component") != 0 for key in keys)


def sidecar_numbers(tables: Tables, key: str) -> list[int]:
    """A list of integers of the sidecar, empty where it has none."""
    values = tables.sidecar.get(key, [])
    if not isinstance(values, list) or any(type(value) is not int for value in values):
        raise NetworkError(f"network: {key} is not a list of integers")
    return values


def sidecar_names(tables: Tables, key: str) -> list[str]:
    """A list of names of the sidecar, empty where it has none."""
    values = tables.sidecar.get(key, [])
    if not isinstance(values, list) or any(not isinstance(value, str) for value in values):
        raise NetworkError(f"network: {key} is not a list of names")
    return values


def unpacked(data: bytes) -> bytes:
    """The JSON text, whether it came gzipped or not."""
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        text = zlib.decompressobj(wbits=31).decompress(data, BYTES_MAX + 1)
    except (zlib.error, gzip.BadGzipFile) as error:
        raise NetworkError(f"network: damaged gzip data: {error}") from error
    if len(text) > BYTES_MAX:
        raise NetworkError(f"network: unpacks to more than {BYTES_MAX} bytes")
    return text


def _document(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise NetworkError(f"network: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise NetworkError("network: the file is not a JSON object")
    return document


def _rows(name: str, rows: Any, attributes: Any) -> list[Row]:
    if not isinstance(rows, list) or not isinstance(attributes, list):
        raise NetworkError(f"network: {name} is not a list")
    result: list[Row] = []
    for row in rows:
        if isinstance(row, dict):
            result.append(row)
        elif isinstance(row, list) and len(row) == len(attributes):
            result.append({str(key): value for key, value in zip(attributes, row, strict=True)})
        else:
            raise NetworkError(f"network: a row of {name} does not fit its attributes")
    return result
