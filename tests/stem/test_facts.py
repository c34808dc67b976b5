"""A fact's bytes: what is at its default at the end is left out, and comes back when it is read."""

import types
from typing import get_args, get_origin

import msgspec
import pytest

from cloud import facts
from cloud.facts import Fact, decode_fact, encode_fact, fact_heads, fact_values

KINDS = [
    kind
    for kind in vars(facts).values()
    if isinstance(kind, type) and issubclass(kind, Fact) and kind is not Fact
]


def sample(kind):
    """A value of a type that is nobody's default."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind(*(sample(field.type) for field in msgspec.structs.fields(kind)))
    if get_origin(kind) is tuple:
        inner = [one for one in get_args(kind) if one is not Ellipsis]
        return tuple(map(sample, inner))
    if get_origin(kind) is types.UnionType:
        return sample(get_args(kind)[0])
    kind = getattr(kind, "__supertype__", kind)
    return {str: "anna", int: 77, bytes: b"0123", bool: True}[kind]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_fact_comes_back_however_many_of_its_last_values_are_defaults(kind):
    fields = msgspec.structs.fields(kind)
    values = [sample(field.type) for field in fields]
    defaults = kind.__struct_defaults__
    lengths = []
    for left_out in range(len(defaults) + 1):
        given = values[: len(values) - left_out]
        fact = kind(**dict(zip((field.name for field in fields), given, strict=False)))
        body = encode_fact(fact)
        assert decode_fact(body) == fact
        assert body == msgspec.msgpack.encode(fact_values(fact))
        assert any(body.startswith(head) for head in fact_heads(kind))
        lengths.append(len(msgspec.msgpack.decode(body)))
    assert lengths == [len(values) + 1 - left_out for left_out in range(len(defaults) + 1)]


def test_a_value_that_only_looks_like_a_default_stays():
    """The last byte of 256 is that of 0."""
    fact = facts.Traded("z", 1, 1, 1, 1, "a", "d", 1, "b", "e", 1, 256)
    assert decode_fact(encode_fact(fact)) == fact
    assert msgspec.msgpack.decode(encode_fact(fact))[-1] == 256


def test_a_value_before_one_that_is_no_default_is_written():
    assert decode_fact(encode_fact(facts.Telemetry("z", "d", "a", *range(9), -1, -1, 5))) == (
        facts.Telemetry("z", "d", "a", *range(9), -1, -1, 5)
    )


def test_records_inside_leave_out_their_defaults_too():
    terms = facts.TradeTerms(1, "a", "b", 5, 6)
    fact = facts.TradesReserved("z", 1, (terms,), 9)
    assert msgspec.msgpack.decode(encode_fact(fact)) == [33, "z", 1, [[1, "a", "b", 5, 6]], 9]
    assert decode_fact(encode_fact(fact)) == fact
