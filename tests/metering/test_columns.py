"""Which registers are billed, and what a batch says of a home's power."""

from cloud.metering.columns import NONE, plan_columns
from cloud.metering.meter import Meter
from cloud.metering.telemetry import Snapshot, observe
from protos.messages import (
    ClockQuality,
    DeviceEntry,
    Quality,
    QualityMark,
    Quantity,
    RegisterEntry,
    RegisterMap,
    Role,
    SweepBatch,
)

GRID = DeviceEntry("meter", Role.GRID, "test/meter", 1, "A1")
ROOF = DeviceEntry("roof", Role.PV, "test/inverter", 1)
BATTERY = DeviceEntry("battery", Role.BATTERY, "test/battery", 1)
LOAD = DeviceEntry("load", Role.LOAD, "test/meter", 1)
IMPORT, EXPORT, POWER = (
    Quantity.ENERGY_IMPORT_WH,
    Quantity.ENERGY_EXPORT_WH,
    Quantity.POWER_W,
)


def batch(values: list[list[int]], devices: int = 1, marks: tuple = ()) -> SweepBatch:
    times = tuple(
        tuple(9_000_000 + 1_000 * t for t in range(len(values[0]))) for _ in range(devices)
    )
    return SweepBatch(
        1, 1, 1, ClockQuality.SYNCHRONISED, times, tuple(map(tuple, values)), tuple(marks)
    )


def test_only_the_grid_meters_billing_totals_are_billed() -> None:
    plan = plan_columns(
        RegisterMap(
            1,
            (ROOF, GRID),
            (
                RegisterEntry(0, EXPORT, billing=True),
                RegisterEntry(1, IMPORT, phase=1, billing=True),
                RegisterEntry(1, IMPORT),
                RegisterEntry(1, IMPORT, billing=True),
                RegisterEntry(1, POWER, billing=True),
                RegisterEntry(1, EXPORT, billing=True),
            ),
        )
    )
    assert (plan.meter_device, plan.import_column, plan.export_column) == (1, 3, 5)


def test_a_second_grid_meter_is_not_mixed_with_the_first() -> None:
    other = DeviceEntry("other", Role.GRID, "test/meter", 1, "B2")
    plan = plan_columns(
        RegisterMap(
            1,
            (GRID, other),
            (RegisterEntry(0, IMPORT, billing=True), RegisterEntry(1, EXPORT, billing=True)),
        )
    )
    assert (plan.import_column, plan.export_column) == (0, NONE)


def test_a_map_without_billing_registers_has_no_meter() -> None:
    plan = plan_columns(RegisterMap(1, (GRID,), (RegisterEntry(0, IMPORT),)))
    assert not plan.is_metered


def test_values_that_are_not_good_do_not_reach_the_counters() -> None:
    plan = plan_columns(RegisterMap(1, (GRID,), (RegisterEntry(0, IMPORT, billing=True),)))
    for quality in Quality:
        meter = Meter()
        meter.record(plan, batch([[100, 101]], marks=(QualityMark(1, 0, quality),)))
        assert meter.imported is not None
        assert meter.imported.last_wh == (101 if quality is Quality.GOOD else 100)
        assert meter.ignored() == 0


def test_another_serial_number_is_another_meter() -> None:
    registers = (RegisterEntry(0, IMPORT, billing=True),)
    meter = Meter()
    meter.record(plan_columns(RegisterMap(1, (GRID,), registers)), batch([[100]]))
    swapped = DeviceEntry("meter", Role.GRID, "test/meter", 1, "A2")
    later = SweepBatch(2, 1, 1, ClockQuality.SYNCHRONISED, ((9_060_000,),), ((7_000,),))
    meter.record(plan_columns(RegisterMap(2, (swapped,), registers)), later)
    assert meter.imported is not None
    assert (meter.imported.last_wh, meter.imported.ignored) == (100, 0)


def test_a_meter_without_an_export_register_exports_nothing() -> None:
    plan = plan_columns(RegisterMap(1, (GRID,), (RegisterEntry(0, IMPORT, billing=True),)))
    meter = Meter()
    times = tuple(9_000_000 + 60_000 * t for t in range(40))
    values = tuple(10 * t for t in range(40))
    meter.record(plan, SweepBatch(1, 1, 1, ClockQuality.SYNCHRONISED, (times,), (values,)))
    assert meter.row(10) == (150, 0, 2)


HOME = plan_columns(
    RegisterMap(
        1,
        (GRID, ROOF, BATTERY, BATTERY),
        (
            RegisterEntry(0, POWER),
            RegisterEntry(0, POWER, phase=1),
            RegisterEntry(1, POWER),
            RegisterEntry(2, POWER),
            RegisterEntry(3, POWER),
            RegisterEntry(2, Quantity.STATE_OF_CHARGE_PER_MILLE),
            RegisterEntry(3, Quantity.STATE_OF_CHARGE_PER_MILLE),
            RegisterEntry(2, Quantity.CAPACITY_WH),
            RegisterEntry(3, Quantity.CAPACITY_WH),
        ),
    )
)


def home(*columns: int) -> list[list[int]]:
    return [[0, value] for value in columns]


def test_parts_of_a_home_are_summed_over_its_devices() -> None:
    values = home(-500, 9_999, 3_000, 200, -700, 400, 600, 5_000, 7_000)
    seen = observe(HOME, batch(values, devices=4), Snapshot())
    assert (seen.grid_w, seen.pv_w, seen.battery_w) == (-500, 3_000, -500)
    assert (seen.soc_per_mille, seen.capacity_wh) == (500, 12_000)
    # What nobody measures is what is left over: -500 + 3000 - 500.
    assert seen.load_w == 2_000
    assert seen.at_ns == 9_001_000_000_000


def test_a_measured_load_is_taken_as_it_is() -> None:
    plan = plan_columns(
        RegisterMap(1, (GRID, LOAD), (RegisterEntry(0, POWER), RegisterEntry(1, POWER)))
    )
    assert observe(plan, batch([[800], [650]], devices=2), Snapshot()).load_w == 650


def test_a_part_without_a_good_value_keeps_its_last_one() -> None:
    values = home(100, 0, 3_000, 0, 0, 400, 600, 5_000, 7_000)
    marks = (QualityMark(0, 2, Quality.STALE), QualityMark(1, 2, Quality.NOT_AVAILABLE))
    seen = observe(HOME, batch(values, devices=4, marks=marks), Snapshot(pv_w=1_234))
    assert (seen.grid_w, seen.pv_w) == (100, 1_234)


def test_an_older_good_value_of_the_batch_is_better_than_the_last_batch() -> None:
    values = home(100, 0, 3_000, 0, 0, 400, 600, 5_000, 7_000)
    values[2][0] = 2_500
    marks = (QualityMark(1, 2, Quality.SUSPECT),)
    assert observe(HOME, batch(values, devices=4, marks=marks), Snapshot(pv_w=1)).pv_w == 2_500
