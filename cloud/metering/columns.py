"""Which columns of a gateway's batches mean what, worked out once per register map.

Decides which registers are billed: the total import and export counters, marked as billing, of the
first GRID device that has any. It must never take a billing value from another role, phase or
quantity. Telemetry sums what several batteries or inverters report.
"""

from dataclasses import astuple, dataclass

from protos.messages import DeviceEntry, Quantity, RegisterEntry, RegisterMap, Role

NONE = -1
"""A column or device that the map does not have."""


@dataclass(frozen=True, slots=True)
class MapPlan:
    """Column numbers by meaning. `meter` tells a billing meter from one that took its place."""

    devices: int
    registers: int
    meter: str
    meter_device: int
    import_column: int
    export_column: int
    grid_power: tuple[int, ...]
    pv_power: tuple[int, ...]
    battery_power: tuple[int, ...]
    load_power: tuple[int, ...]
    soc: tuple[int, ...]
    capacity: tuple[int, ...]
    max_charge: tuple[int, ...]
    max_discharge: tuple[int, ...]
    produces: bool
    voltage: tuple[int, ...] = ()
    frequency: tuple[int, ...] = ()

    @property
    def is_metered(self) -> bool:
        return self.meter_device != NONE

    def state(self) -> object:
        return astuple(self)


def plan_columns(register_map: RegisterMap) -> MapPlan:
    """The plan for all batches that name this map."""
    device = _billing_device(register_map)
    entry = register_map.devices[device] if device != NONE else None
    return MapPlan(
        devices=len(register_map.devices),
        registers=len(register_map.registers),
        meter=_identity(entry) if entry else "",
        meter_device=device,
        import_column=_billed(register_map, device, Quantity.ENERGY_IMPORT_WH),
        export_column=_billed(register_map, device, Quantity.ENERGY_EXPORT_WH),
        grid_power=_totals(register_map, Role.GRID, Quantity.POWER_W)[:1],
        pv_power=_totals(register_map, Role.PV, Quantity.POWER_W),
        battery_power=_totals(register_map, Role.BATTERY, Quantity.POWER_W),
        load_power=_totals(register_map, Role.LOAD, Quantity.POWER_W),
        soc=_totals(register_map, Role.BATTERY, Quantity.STATE_OF_CHARGE_PER_MILLE),
        capacity=_totals(register_map, Role.BATTERY, Quantity.CAPACITY_WH),
        max_charge=_totals(register_map, Role.BATTERY, Quantity.POWER_MAX_CHARGE_W),
        max_discharge=_totals(register_map, Role.BATTERY, Quantity.POWER_MAX_DISCHARGE_W),
        produces=any(entry.role is Role.PV for entry in register_map.devices),
        voltage=_of_grid_meters(register_map, Quantity.VOLTAGE_MV),
        frequency=_of_grid_meters(register_map, Quantity.FREQUENCY_MHZ)[:1],
    )


def _billing_device(register_map: RegisterMap) -> int:
    for register in register_map.registers:
        if _is_billed(register_map, register):
            return register.device
    return NONE


def _is_billed(register_map: RegisterMap, register: RegisterEntry) -> bool:
    return (
        register.billing
        and register.phase == 0
        and register.quantity in {Quantity.ENERGY_IMPORT_WH, Quantity.ENERGY_EXPORT_WH}
        and register_map.devices[register.device].role is Role.GRID
    )


def _billed(register_map: RegisterMap, device: int, quantity: Quantity) -> int:
    for column, register in enumerate(register_map.registers):
        if (
            register.device == device
            and register.quantity is quantity
            and _is_billed(register_map, register)
        ):
            return column
    return NONE


def _totals(register_map: RegisterMap, role: Role, quantity: Quantity) -> tuple[int, ...]:
    return tuple(
        column
        for column, register in enumerate(register_map.registers)
        if register.quantity is quantity
        and register.phase == 0
        and register_map.devices[register.device].role is role
    )


def _of_grid_meters(register_map: RegisterMap, quantity: Quantity) -> tuple[int, ...]:
    """The columns of a quantity at the grid connection, whatever their phase."""
    return tuple(
        column
        for column, register in enumerate(register_map.registers)
        if register.quantity is quantity and register_map.devices[register.device].role is Role.GRID
    )


def _identity(entry: DeviceEntry) -> str:
    return f"{entry.profile}/{entry.serial}" if entry.serial else f"{entry.profile}/{entry.name}"
