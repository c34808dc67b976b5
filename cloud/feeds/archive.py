"""From the bytes of an answer to the files inside it, told by content and never by status.

Zips are opened with a bound on what they may unpack to. One with a broken central directory, as
ERCOT has served, is read member by member from its local headers; a member whose checksum is wrong
is an error. Document types and entities in XML are refused.
"""

import csv
import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from sys import intern
from typing import Any
from xml.etree import ElementTree as ET

import msgspec

from cloud.feeds.rows import EmptyBody, Malformed, NotData, Throttled

ZIP_MAGIC = b"PK\x03\x04"
EMPTY_ZIP_MAGIC = b"PK\x05\x06"
GZIP_MAGIC = b"\x1f\x8b"
WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
"""The marks of UTF-16, which spreadsheets write."""

ZIPS_DEEP_MAX = 2
"""A zip may hold zips, as monthly collections do, but no zips of zips of zips."""

UNPACKED_BYTES_MAX = 256 * 1024 * 1024
MEMBERS_MAX = 3_000
"""A month of quarter hours, a file each, as ERCOT bundles them."""

THROTTLE = b"Acceptable Use Policy Violation"
THROTTLE_RETRY_S = 5
PAGE_STARTS = (
    *(
        b"<!doctype html",
        b"<html",
        b"<head>",
        b"<body",
        b"<title",
        b"<h1",
        b"<h2",
        b"<p>",
        b"<center",
    ),
    *(b"<div", b"<script", b"<meta", b"<pre", b"<table", b"<br"),
)
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
HAS_DESCRIPTOR = 0x08

_decoder = msgspec.json.Decoder(float_hook=Decimal)


def members(source: str, body: bytes) -> list[tuple[str, bytes]]:
    """The files in an answer by name; a body that is no zip is its own only file.

    Raises Throttled, NotData (an HTML page), EmptyBody and Malformed.
    """
    files = _files(source, "", body, ZIPS_DEEP_MAX)
    if not files:
        raise EmptyBody(source)
    return files


def _files(source: str, name: str, body: bytes, deep: int) -> list[tuple[str, bytes]]:
    if body.startswith(GZIP_MAGIC):
        body = _gunzipped(source, body)
    if body.startswith(EMPTY_ZIP_MAGIC):
        raise EmptyBody(source)
    if not body.startswith(ZIP_MAGIC):
        return [(name, plain(source, body))]
    if not deep:
        raise Malformed(source, "zips inside zips inside zips")
    try:
        inside = _by_directory(source, body)
    except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError, ValueError, OSError):
        inside = _by_local_headers(source, body)
    except (RuntimeError, struct.error) as error:
        raise Malformed(source, f"the zip cannot be opened: {error}") from error
    files: list[tuple[str, bytes]] = []
    for each, data in inside:
        files += _files(source, each, data, deep - 1)
        if sum(len(one) for _, one in files) > UNPACKED_BYTES_MAX or len(files) > MEMBERS_MAX:
            raise Malformed(source, f"{len(files)} files unpack to too much")
    return files


def _gunzipped(source: str, body: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as packed:
            data = packed.read(UNPACKED_BYTES_MAX + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Malformed(source, f"the gzip is damaged: {error}") from error
    if len(data) > UNPACKED_BYTES_MAX:
        raise Malformed(source, "the gzip unpacks to too much")
    return data


def plain(source: str, body: bytes) -> bytes:
    """The body in UTF-8, unless it is empty, a throttle notice or a web page."""
    if body.startswith(WIDE_MARKS):
        try:
            body = body.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise Malformed(source, f"not UTF-16 at byte {error.start}") from error
    if not body.strip():
        raise EmptyBody(source)
    if THROTTLE in body[:2_048]:
        raise Throttled(source, THROTTLE_RETRY_S, "asked more often than once in 5 seconds")
    if is_page(body):
        raise NotData(source, "a web page came instead of data; the session may have expired")
    return body


def is_page(body: bytes) -> bool:
    """Whether it is HTML, be it only a piece: a login, a maintenance notice, a proxy's refusal."""
    start = body[:2_048].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    while start.startswith((b"<?xml", b"<!--")):
        start = start.partition(b"?>" if start.startswith(b"<?") else b"-->")[2].lstrip()
    return start.startswith(PAGE_STARTS)


def safe_xml(source: str, body: bytes) -> bytes:
    """The body, if it may be given to an XML parser. Raises Malformed."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise Malformed(source, "document types are not accepted")
    return body


def xml_elements(source: str, body: bytes) -> Iterator[tuple[str, ET.Element]]:
    """Every element that has children, by its tag without namespace, the root last; emptied after.

    A root without children comes too. Raises Malformed.
    """
    safe_xml(source, body)
    events = ET.iterparse(io.BytesIO(body))  # noqa: S314 - no document type
    is_flat = True
    try:
        for _, element in events:
            if len(element):
                is_flat = False
                yield local(element.tag), element
                element.clear()
    except ET.ParseError as error:
        raise Malformed(source, str(error), error.position[0]) from error
    except (LookupError, ValueError) as error:
        raise Malformed(source, f"not XML: {error}") from error
    if is_flat:
        root: ET.Element = events.root  # type: ignore[attr-defined]
        yield local(root.tag), root


@lru_cache(maxsize=256)
def local(tag: str) -> str:
    """A tag without its namespace."""
    return intern(tag.rpartition("}")[2])


def fields(element: ET.Element) -> dict[str, str]:
    """The texts of an element's children by their tags."""
    return {local(child.tag): (child.text or "").strip() for child in element}


def text(source: str, body: bytes) -> str:
    """The body as text: UTF-8, with or without a mark. Raises Malformed."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Malformed(source, f"not UTF-8 at byte {error.start}") from error


def table(source: str, body: bytes) -> Iterator[tuple[int, list[str]]]:
    """The lines of a CSV file with their numbers, blank ones left out. Raises Malformed."""
    reader = csv.reader(io.StringIO(text(source, body)), skipinitialspace=True)
    try:
        for cells in reader:
            if cells and (cells[0] or any(cells)):
                yield reader.line_num, cells
    except csv.Error as error:
        raise Malformed(source, str(error), reader.line_num) from error


def document(source: str, body: bytes) -> Any:
    """A JSON answer, its fractions as exact decimals. Raises Malformed."""
    try:
        return _decoder.decode(text(source, body).lstrip())
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError, RecursionError) as error:
        raise Malformed(source, f"not JSON: {error}") from error


def _by_directory(source: str, body: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        entries = [info for info in archive.infolist() if not info.is_dir()]
        size = sum(info.file_size for info in entries)
        if size > UNPACKED_BYTES_MAX or len(entries) > MEMBERS_MAX:
            raise Malformed(source, f"{len(entries)} files of {size} bytes in all are too much")
        return [(info.filename, archive.read(info)) for info in entries]


def _by_local_headers(source: str, body: bytes) -> list[tuple[str, bytes]]:
    """Members found from the front. Raises Malformed where that breaks off too."""
    files: list[tuple[str, bytes]] = []
    at, left = 0, UNPACKED_BYTES_MAX
    while body[at : at + 4] == ZIP_MAGIC and len(files) < MEMBERS_MAX:
        if len(body) < at + LOCAL_HEADER.size:
            raise Malformed(source, "the zip ends inside a header")
        fields = LOCAL_HEADER.unpack_from(body, at)
        flags, method, checksum, packed = fields[2], fields[3], fields[6], fields[7]
        start = at + LOCAL_HEADER.size + fields[9] + fields[10]
        name = body[at + LOCAL_HEADER.size : at + LOCAL_HEADER.size + fields[9]]
        data, after = _member(source, body, start, method, packed, left)
        if flags & HAS_DESCRIPTOR:
            has_mark = body[after : after + 4] == b"PK\x07\x08"
            checksum = int.from_bytes(
                body[after + 4 * has_mark : after + 4 * has_mark + 4], "little"
            )
            after += 12 + 4 * has_mark
        if zlib.crc32(data) != checksum:
            raise Malformed(source, f"the checksum of {name!r} in the zip is wrong")
        left -= len(data)
        files.append((name.decode("utf-8", "replace"), data))
        at = after
    return files


def _member(
    source: str, body: bytes, start: int, method: int, packed: int, left: int
) -> tuple[bytes, int]:
    """One member's contents and where the next begins."""
    if method == zipfile.ZIP_STORED:
        return body[start : start + packed], start + packed
    if method != zipfile.ZIP_DEFLATED:
        raise Malformed(source, f"zip method {method} is not known")
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = unpacker.decompress(body[start:], left)
    except zlib.error as error:
        raise Malformed(source, f"the zip is damaged: {error}") from error
    if not unpacker.eof:
        raise Malformed(source, "the zip is cut off or unpacks to too much")
    return data, len(body) - len(unpacker.unused_data)
