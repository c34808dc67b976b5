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


def shipped_maps():
    """Every set of registers that a shipped model reads together; many models share one."""
    maps = {}
    for name, profile in PROFILES.items():
        for function in sorted({place[0] for p in profile.points for place in p.places()}):
            spans = {
                (start, end)
                for p in profile.points
                for asked, start, end in p.places()
                if asked == function
            }
            forbidden = tuple(profile.transport.forbidden)
            key = (tuple(sorted(spans)), profile.transport.max_words, forbidden)
            maps.setdefault(key, f"{name}, function {function}")
    return maps


@pytest.mark.parametrize(("baud", "turnaround_s"), [(9600, 0.0), (9600, 0.1), (115200, 0.02)])
def test_the_plan_of_every_shipped_profile_is_the_optimum(baud, turnaround_s):
    overhead = overhead_words(baud, turnaround_s)
    maps = shipped_maps()
    assert len(maps) > 25
    for (spans, max_words, forbidden), name in maps.items():
        blocks = plan(spans, overhead, max_words, forbidden)
        assert all(any(b.start <= s and e <= b.end for b in blocks) for s, e in spans), name
        assert all(block.count <= max_words for block in blocks), name
        least = brute_force(spans, overhead, max_words, forbidden)
        assert cost(blocks, overhead) == pytest.approx(least), name


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
