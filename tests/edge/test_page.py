"""What the gateway's own page says: reasons for what is abnormal, ages on values, old ones as old."""

import copy

import pytest

from edge.page import page, part, troubles

VALUE = {"quantity": "power_w", "phase": 0, "value": -1234, "quality": "GOOD"}
DEVICE = {
    "reads": 900,
    "failures": 3,
    "failing": 0,
    "problem": "",
    "age_s": 1,
    "role": "GRID",
    "profile": "eastron/sdm630",
    "values": [VALUE, {**VALUE, "quantity": "voltage_mv", "phase": 1, "value": 230_100}],
}
WELL = {
    "name": "my home",
    "device": "ab" * 16,
    "site": "home-1",
    "zone": "z1",
    "certificate": {"left_s": 70_000, "problem": ""},
    "uplink": {"connected": True, "problem": ""},
    "outbox": {"waiting": 0, "used_per_mille": 3, "stride": 1},
    "sampling": {"sweeps": 900, "lost": 0, "clock_quality": "SYNCHRONISED", "problem": ""},
    "dispatch": {"holding": 0, "idle": True, "droop_per_mille": 0, "leases": []},
    "offers": {"open": 0, "traded_wh": 0},
    "devices": {"meter": DEVICE},
    "alarms": {},
}


def changed(**places):
    status = copy.deepcopy(WELL)
    for place, value in places.items():
        section, _, key = place.partition("__")
        status[section][key] = value
    return status


def test_a_home_that_is_well_shows_no_colour():
    html = page(WELL)
    assert troubles(WELL) == []
    assert "All is well" in html
    assert 'class="mark' not in html
    assert "-1.234 kW" in html
    assert "1.23 kW" in html
    assert "fed in" in html
    assert "230.1 V" in html
    assert "read 1 s ago" in html
    assert "every device does what it does by itself" in html


@pytest.mark.parametrize(
    ("status", "level", "says"),
    [
        (changed(uplink__connected=False, outbox__waiting=7), 2, "7 batches are kept here"),
        (changed(certificate__problem="refused"), 2, "refused"),
        (changed(outbox__used_per_mille=900), 1, "90 %"),
        (changed(outbox__stride=8), 2, "every 8th reading"),
        (changed(sampling__problem="disk is gone"), 1, "disk is gone"),
        (changed(sampling__clock_quality="FREE_RUNNING"), 3, "free running"),
        (changed(dispatch__idle=False), 2, "not confirmed"),
        (changed(dispatch__droop_per_mille=-120), 3, "-12 %"),
        (changed(alarms__storm=4), 2, "4 times"),
        (
            changed(devices__meter={**DEVICE, "problem": "no answer; check wiring", "age_s": 400}),
            1,
            "6 min 40 s old",
        ),
        (
            changed(devices__pv={**DEVICE, "role": "PV", "problem": "x", "age_s": None}),
            2,
            "never answered",
        ),
        (
            changed(devices__meter={**DEVICE, "values": [{**VALUE, "quality": "SUSPECT"}]}),
            3,
            "power in doubt",
        ),
    ],
)
def test_everything_abnormal_is_named_with_its_reason_and_marked_by_shape_and_number(
    status, level, says
):
    (trouble,) = troubles(status)
    assert trouble.level == level
    html = page(status)
    assert says in html
    assert f'<span class="mark p{level}">{level}</span>' in html
    assert "1 thing out of the ordinary" in html


def test_what_matters_most_comes_first():
    status = changed(
        uplink__connected=False, sampling__problem="full", dispatch__droop_per_mille=50
    )
    assert [trouble.level for trouble in troubles(status)] == [1, 2, 3]


def test_an_old_value_looks_old_and_one_that_is_not_there_is_no_number():
    old = changed(devices__meter={**DEVICE, "age_s": 75})
    assert 'class="old"' in part(old)
    assert "1 min 15 s ago" in part(old)
    assert 'class="old"' not in part(WELL)
    none = changed(devices__meter={**DEVICE, "values": [{**VALUE, "value": None}]})
    assert "not known" in part(none)
    assert "not available" in part(none)


def test_who_steers_is_said_with_what_is_left():
    lease = {"id": "L1", "orders": "charge with 500 W", "state": "ACTIVE", "left_s": 3_700}
    html = part(changed(dispatch__leases=[lease], dispatch__holding=1, dispatch__idle=False))
    assert "charge with 500 W" in html
    assert "ends in 1 h 1 min" in html


def test_nothing_that_comes_from_outside_can_change_the_page():
    evil = "<img src=x onerror=alert(1)>"
    status = changed(
        devices__evil={**DEVICE, "problem": evil, "profile": evil},
        alarms__x=1,
        uplink__problem=evil,
        uplink__connected=False,
        dispatch__leases=[{"id": evil, "orders": evil, "state": "ACTIVE", "left_s": 1}],
    )
    status["devices"][evil] = DEVICE
    status["alarms"][evil] = 1
    status["name"] = status["site"] = status["zone"] = evil
    assert "<img" not in page(status)
    assert len(page(status)) < 100_000
