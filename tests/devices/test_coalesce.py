"""The plan equals the brute-force optimum, and obeys the device's rules."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.devices.catalog import load_profiles
from edge.devices.modbus.coalesce import Block, Unplannable, learn_cut, overhead_words, plan

PROFILES = load_profiles()


def cost(blocks, overhead):
    return sum(overhead + block.count for block in blocks)


def brute_force(spans, overhead, max_words, forbidden=(), cuts=()):
    """Least cost over every way to cut the register line into questions, register by register."""
    wanted = sorted(set(spans))
    registers = {a for start, end in wanted for a in range(start, end)}
    last = max(registers) + 1
    banned = {a for low, high in forbidden for a in range(low, high)}

    @cache
    def least(at):
        while at < last and at not in registers:
            at += 1
        if at >= last:
            return 0
        best = float("inf")
        for end in range(at + 1, min(at + max_words, last) + 1):
            if banned.intersection(range(at, end)) or any(at < cut < end for cut in cuts):
                break
            # No value may be torn apart between two questions.
            if end in registers and any(start < end < stop for start, stop in wanted):
                continue
            best = min(best, overhead + end - at + least(end))
        return best

    return least(min(registers))


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("turnaround_s", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("baud", [9600, 115200])
def test_the_plan_of_every_shipped_profile_is_the_optimum(name, turnaround_s, baud):
    profile = PROFILES[name]
    overhead = overhead_words(baud, turnaround_s)
    for function in {point.function for point in profile.points}:
        spans = [(p.value.addr, p.value.end) for p in profile.points if p.function == function]
        blocks = plan(spans, overhead, profile.transport.max_words, profile.transport.forbidden)
        assert all(any(b.start <= s and e <= b.end for b in blocks) for s, e in spans)
        assert all(block.count <= profile.transport.max_words for block in blocks)
        least = brute_force(
            spans, overhead, profile.transport.max_words, profile.transport.forbidden
        )
        assert cost(blocks, overhead) == pytest.approx(least)


spans = st.lists(
    st.builds(lambda a, w: (a, a + w), st.integers(0, 60), st.integers(1, 3)),
    min_size=1,
    max_size=12,
)


@given(
    spans,
    st.floats(0, 30),
    st.integers(4, 40),
    st.sets(st.integers(0, 60), max_size=3),
)
def test_random_maps_are_planned_at_the_optimum(spans, overhead, max_words, cuts):
    apart = [
        span
        for i, span in enumerate(sorted(set(spans)))
        if all(span[0] >= other[1] for other in sorted(set(spans))[:i])
    ]
    cuts = {cut for cut in cuts if not any(start < cut < end for start, end in apart)}
    blocks = plan(apart, overhead, max_words, (), cuts)
    assert cost(blocks, overhead) == pytest.approx(
        brute_force(apart, overhead, max_words, (), cuts)
    )
    assert not any(block.start < cut < block.end for block in blocks for cut in cuts)


def test_the_break_even_at_9600_baud_is_the_measured_one():
    assert overhead_words(9600, 0.0) == pytest.approx(10.0)
    assert overhead_words(9600, 0.02) == pytest.approx(18.7, abs=0.05)
    assert overhead_words(9600, 0.1) == pytest.approx(53.6, abs=0.05)


def test_forbidden_registers_are_never_touched():
    assert plan([(0, 2), (4, 6)], 100, 125, forbidden=[(3, 4)]) == [Block(0, 2), Block(4, 2)]
    with pytest.raises(Unplannable):
        plan([(0, 4)], 10, 125, forbidden=[(2, 3)])
    with pytest.raises(Unplannable):
        plan([(0, 40)], 10, 20)


def test_a_refused_block_is_cut_at_its_widest_gap_then_between_values_then_not_at_all():
    spans = [(0, 2), (2, 4), (8, 10), (11, 12)]
    assert learn_cut(Block(0, 12), spans) == 8
    assert learn_cut(Block(0, 4), spans) == 2
    assert learn_cut(Block(8, 2), spans) is None
