"""The pieces that both venues' XML is made of: exact numbers, curve points, safe parsing.

Numbers travel as decimal MW and decimal currency per MWh and come back as the same integers; no
float is in between. Never resolves an entity or a document type.

A curve travels as points (x, y) where y is the price of the step that begins at x, the last point
repeating the last price: that is how CAISO publishes bids. Our first segment stands at the price
floor and is therefore the first x; it comes back with the floor as its price.
"""

from collections.abc import Sequence
from decimal import Decimal
from xml.etree import ElementTree as ET

from cloud.commands import CurveSegment
from cloud.venues.venue import BadBid

DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
MESSAGE_BYTES_MAX = 1_048_576
POINTS_MAX = 1_000
FLOOR_MICRO = -150_000_000
MILLION = 1_000_000


class NotXml(ValueError):
    """Bytes that cannot be read as XML, or must not be."""


def parse_xml(body: bytes) -> ET.Element:
    """The root element, with namespaces stripped from all tags. Raises NotXml."""
    if len(body) > MESSAGE_BYTES_MAX:
        raise NotXml(f"{len(body)} bytes are more than {MESSAGE_BYTES_MAX}")
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise NotXml("document types are not accepted")
    try:
        root = ET.fromstring(body)  # noqa: S314 - no document type, bounded size
    except (ET.ParseError, ValueError, LookupError) as error:
        raise NotXml(str(error)) from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def to_bytes(root: ET.Element) -> bytes:
    text: bytes = ET.tostring(root, encoding="utf-8", short_empty_elements=False)
    return DECLARATION + text


def add(parent: ET.Element, tag: str, text: str = "", **attributes: str) -> ET.Element:
    child = ET.SubElement(parent, tag, attributes)
    child.text = text or None
    return child


def child_text(parent: ET.Element, path: str) -> str:
    """The text of a required element. Raises BadBid."""
    found = parent.find(path)
    if found is None or not (found.text or "").strip():
        raise BadBid(f"element {path} of {parent.tag} is missing")
    return (found.text or "").strip()


def decimal_text(millionths: int) -> str:
    """An integer number of millionths as an exact decimal with at least two places."""
    sign = "-" if millionths < 0 else ""
    whole, part = divmod(abs(millionths), MILLION)
    fraction = f"{part:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{fraction}"


def millionths(text: str) -> int:
    """A decimal text as an integer number of millionths. Raises BadBid for anything else."""
    try:
        scaled = Decimal(text) * MILLION
    except ArithmeticError:
        raise BadBid(f"{text!r} is not a decimal number") from None
    if not scaled.is_finite() or scaled.adjusted() > 17 or scaled != int(scaled):
        raise BadBid(f"{text!r} is out of range or has more than six decimals")
    return int(scaled)


def curve_points(curve: Sequence[CurveSegment]) -> list[tuple[str, str]]:
    """The curve as decimal (MW, price) points. Raises BadBid unless it starts at the floor."""
    if len(curve) < 2 or curve[0].price_micro_per_mwh != FLOOR_MICRO:
        raise BadBid("a curve has two points or more, the first at the price floor")
    prices = [segment.price_micro_per_mwh for segment in curve[1:]]
    prices.append(prices[-1])
    return [
        (decimal_text(segment.power_w), decimal_text(price))
        for segment, price in zip(curve, prices, strict=True)
    ]


def curve_from(points: Sequence[tuple[str, str]]) -> tuple[CurveSegment, ...]:
    """The curve of decimal points. Raises BadBid; whether it rises is the venue's rule."""
    if not 2 <= len(points) <= POINTS_MAX:
        raise BadBid(f"a curve has 2 to {POINTS_MAX} points, this one {len(points)}")
    powers = [millionths(x) for x, _ in points]
    prices = [millionths(y) for _, y in points]
    if prices[-1] != prices[-2]:
        raise BadBid("the last point repeats the price of the last step")
    return tuple(
        CurveSegment(power, price)
        for power, price in zip(powers, [FLOOR_MICRO, *prices[:-1]], strict=True)
    )


def named_text(body: bytes, tag: str) -> str | None:
    """The text of the first element of this name anywhere, or None if it is not there."""
    try:
        found = parse_xml(body).find(f".//{tag}")
    except NotXml:
        return None
    return None if found is None else (found.text or "").strip()
