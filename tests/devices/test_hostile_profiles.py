"""Profile files as they come out of tired hands: every value of every shipped file in turn replaced by
something else. Each is refused with its place and what to do, or still means something; none crashes.
"""

import copy
import random
import tomllib

import pytest

from edge.devices.catalog import profile_files
from edge.devices.profile_checks import check_profile
from edge.devices.profile_file import load_profile, parse_profile
from edge.devices.profile_table import BadProfile

FILES = profile_files()
WRITING = [path for path in FILES if load_profile(path).writes]
OTHERS = ("x", "", -1, 1 << 70, 1.5, True, [], [None], [1, 2], ["x"], {}, {"x": 1})


def places(tree, path=()):
    """Every place of a parsed file, from the root."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def with_value(tree, place, value):
    changed = copy.deepcopy(tree)
    at = changed
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    return changed


def refusal(name, content):
    """How a file is refused, None for one that still means something."""
    try:
        check_profile(parse_profile(name, content))
    except BadProfile as error:
        return error
    return None


def attempt(name, content):
    refused = refusal(name, content)
    assert refused is None or (refused.advice and name in str(refused))


@pytest.mark.parametrize("path", WRITING, ids=lambda path: path.stem)
def test_no_wrong_value_anywhere_in_a_file_that_writes_makes_it_crash(path):
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    name, draw = f"{path.parent.name}/{path.stem}", random.Random(path.stem)
    for place in places(content):
        attempt(name, with_value(content, place, draw.choice(OTHERS)))


@pytest.mark.parametrize("path", FILES[::5], ids=lambda path: path.stem)
def test_nor_in_one_that_only_reads(path):
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    name, draw = f"{path.parent.name}/{path.stem}", random.Random(path.stem)
    for place in draw.sample(list(places(content)), 30):
        attempt(name, with_value(content, place, draw.choice(OTHERS)))


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("roles",), ["gird"], "roles"),
        (("writes", 0, "steps", 4, "codes"), [1, 2], "codes"),
        (("writes", 0, "failsafe"), "agnet", "agent"),
        (("writes", 0, "failsafe"), "device_watchdog", "holds_s"),
        (("writes", 0, "max_writes_per_day"), 0, "max_writes_per_day"),
        (("writes", 0, "restore"), [], "restores"),
        (("writes", 0, "steps", 2, "early"), True, "early"),
        (("writes", 0, "min"), 40_000, "wrong way round"),
        (("writes", 0, "max"), 70_000, "narrow"),
        (("writes", 0, "amps"), {"phases": 3, "volt": 230, "least_ma": 6000}, "charger"),
        (("selftest", 0, "raw"), {"coil:0x1": [1]}, "coil"),
        (("selftest", 0, "raw"), {"0xZZ": [1]}, "0xZZ"),
    ],
)
def test_a_mistake_is_named_with_its_place(place, value, says):
    path = next(path for path in FILES if path.stem == "sh_battery")
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    with pytest.raises(BadProfile, match=says):
        check_profile(parse_profile("sungrow/sh_battery", with_value(content, place, value)))
