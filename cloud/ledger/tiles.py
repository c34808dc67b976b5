"""The log as static files: C2SP tlog-tiles, 256 hashes or entries a file, verifiable by anyone.

    tile/<level>/<index>[.p/<width>]      hashes, 32 bytes each
    tile/entries/<index>[.p/<width>]      leaves, each after its length in two octets

Decides which file holds what. A full tile never changes and may be cached for good; must never
give out a hash or a leaf beyond the signed size it is asked for.
"""

import re
from collections.abc import Callable, Iterator

from cloud.ledger.log import TransparencyLog

TILE_WIDTH = 256
ENTRY_BYTES_MAX = 0xFFFF
LEVEL_MAX = 7
"""Level 7 already spans 2**64 leaves."""

LeafReader = Callable[[int], bytes | None]
"""The bytes of the leaf at this position, None where there is none."""

_PATH = re.compile(
    r"tile/(?P<kind>entries|[0-9]|[1-5][0-9]|6[0-3])"
    r"/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


def tile_file(path: str, log: TransparencyLog, leaf: LeafReader, size: int) -> bytes | None:
    """The file at this path in the log of the first `size` leaves, or None where there is none."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    width = int(found["width"] or TILE_WIDTH)
    index = int(found["index"].replace("x", "").replace("/", ""))
    is_entries = found["kind"] == "entries"
    level = 0 if is_entries else int(found["kind"])
    is_partial = found["width"] is not None
    if level > LEVEL_MAX or index_path(index) != found["index"]:
        return None
    if is_partial and width >= TILE_WIDTH:
        return None
    first = index * TILE_WIDTH
    if first + width > size >> 8 * level:
        return None
    if is_entries:
        return _entries(leaf, first, width)
    return log.hashes(8 * level, first, width)


def new_files(old: int, new: int) -> Iterator[str]:
    """The paths that the log of `new` leaves has beyond those of the log of `old` leaves."""
    for level in range(LEVEL_MAX + 1):
        known, count = old >> 8 * level, new >> 8 * level
        if count == known:
            break
        for index in range(known // TILE_WIDTH, -(-count // TILE_WIDTH)):
            width = min(TILE_WIDTH, count - index * TILE_WIDTH)
            yield tile_path(str(level), index, width)
            if level == 0:
                yield tile_path("entries", index, width)


def tile_path(kind: str, index: int, width: int) -> str:
    """The path of a tile of this level, or of "entries", with so many hashes or leaves."""
    partial = f".p/{width}" if width < TILE_WIDTH else ""
    return f"tile/{kind}/{index_path(index)}{partial}"


def index_path(index: int) -> str:
    """1234067 as x001/x234/067, so that no directory has more than a thousand names."""
    parts = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        parts.append(f"x{index % 1000:03d}")
    return "/".join(reversed(parts))


def split_entries(bundle: bytes) -> list[bytes]:
    """The leaves of an entry bundle. Raises ValueError where its lengths do not add up."""
    leaves: list[bytes] = []
    at = 0
    while at < len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        if len(bundle) < at + 2 or end > len(bundle):
            raise ValueError(f"the entry bundle is cut in leaf {len(leaves)}")
        leaves.append(bundle[at + 2 : end])
        at = end
    return leaves


def _entries(leaf: LeafReader, first: int, width: int) -> bytes | None:
    """None also where a leaf is too long for the format; its hash is in the tile all the same."""
    parts = []
    for position in range(first, first + width):
        octets = leaf(position)
        if octets is None or len(octets) > ENTRY_BYTES_MAX:
            return None
        parts.append(len(octets).to_bytes(2, "big") + octets)
    return b"".join(parts)
