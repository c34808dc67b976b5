from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Payload(_message.Message):
    __slots__ = ("register_map", "sweeps", "offers", "lease_reports")
    REGISTER_MAP_FIELD_NUMBER: _ClassVar[int]
    SWEEPS_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    LEASE_REPORTS_FIELD_NUMBER: _ClassVar[int]
    register_map: RegisterMap
    sweeps: SweepBatch
    offers: OfferBatch
    lease_reports: LeaseReports
    def __init__(self, register_map: _Optional[_Union[RegisterMap, _Mapping]] = ..., sweeps: _Optional[_Union[SweepBatch, _Mapping]] = ..., offers: _Optional[_Union[OfferBatch, _Mapping]] = ..., lease_reports: _Optional[_Union[LeaseReports, _Mapping]] = ...) -> None: ...

class RegisterMap(_message.Message):
    __slots__ = ("map_id", "devices", "registers")
    MAP_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    REGISTERS_FIELD_NUMBER: _ClassVar[int]
    map_id: int
    devices: _containers.RepeatedCompositeFieldContainer[DeviceEntry]
    registers: _containers.RepeatedCompositeFieldContainer[RegisterEntry]
    def __init__(self, map_id: _Optional[int] = ..., devices: _Optional[_Iterable[_Union[DeviceEntry, _Mapping]]] = ..., registers: _Optional[_Iterable[_Union[RegisterEntry, _Mapping]]] = ...) -> None: ...

class DeviceEntry(_message.Message):
    __slots__ = ("name", "role", "profile", "profile_revision", "serial")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_REVISION_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: int
    profile: str
    profile_revision: int
    serial: str
    def __init__(self, name: _Optional[str] = ..., role: _Optional[int] = ..., profile: _Optional[str] = ..., profile_revision: _Optional[int] = ..., serial: _Optional[str] = ...) -> None: ...

class RegisterEntry(_message.Message):
    __slots__ = ("device", "quantity", "phase", "billing")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    BILLING_FIELD_NUMBER: _ClassVar[int]
    device: int
    quantity: int
    phase: int
    billing: bool
    def __init__(self, device: _Optional[int] = ..., quantity: _Optional[int] = ..., phase: _Optional[int] = ..., billing: _Optional[bool] = ...) -> None: ...

class SweepBatch(_message.Message):
    __slots__ = ("map_id", "boot_id", "monotonic_ms", "clock_quality", "sweeps", "base_ms", "period_ms", "unit_ms", "columns", "devices", "registers", "marks")
    MAP_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    MONOTONIC_MS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_QUALITY_FIELD_NUMBER: _ClassVar[int]
    SWEEPS_FIELD_NUMBER: _ClassVar[int]
    BASE_MS_FIELD_NUMBER: _ClassVar[int]
    PERIOD_MS_FIELD_NUMBER: _ClassVar[int]
    UNIT_MS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    REGISTERS_FIELD_NUMBER: _ClassVar[int]
    MARKS_FIELD_NUMBER: _ClassVar[int]
    map_id: int
    boot_id: int
    monotonic_ms: int
    clock_quality: int
    sweeps: int
    base_ms: int
    period_ms: int
    unit_ms: int
    columns: bytes
    devices: int
    registers: int
    marks: bytes
    def __init__(self, map_id: _Optional[int] = ..., boot_id: _Optional[int] = ..., monotonic_ms: _Optional[int] = ..., clock_quality: _Optional[int] = ..., sweeps: _Optional[int] = ..., base_ms: _Optional[int] = ..., period_ms: _Optional[int] = ..., unit_ms: _Optional[int] = ..., columns: _Optional[bytes] = ..., devices: _Optional[int] = ..., registers: _Optional[int] = ..., marks: _Optional[bytes] = ...) -> None: ...

class OfferBatch(_message.Message):
    __slots__ = ("offers", "cancelled_numbers")
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    offers: _containers.RepeatedCompositeFieldContainer[Offer]
    cancelled_numbers: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, offers: _Optional[_Iterable[_Union[Offer, _Mapping]]] = ..., cancelled_numbers: _Optional[_Iterable[int]] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("number", "slot", "side", "energy_wh", "price_micro_per_kwh", "kind", "time_in_force", "renewable", "replaces", "self_trade")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    ENERGY_WH_FIELD_NUMBER: _ClassVar[int]
    PRICE_MICRO_PER_KWH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TIME_IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    RENEWABLE_FIELD_NUMBER: _ClassVar[int]
    REPLACES_FIELD_NUMBER: _ClassVar[int]
    SELF_TRADE_FIELD_NUMBER: _ClassVar[int]
    number: int
    slot: int
    side: int
    energy_wh: int
    price_micro_per_kwh: int
    kind: int
    time_in_force: int
    renewable: bool
    replaces: int
    self_trade: int
    def __init__(self, number: _Optional[int] = ..., slot: _Optional[int] = ..., side: _Optional[int] = ..., energy_wh: _Optional[int] = ..., price_micro_per_kwh: _Optional[int] = ..., kind: _Optional[int] = ..., time_in_force: _Optional[int] = ..., renewable: _Optional[bool] = ..., replaces: _Optional[int] = ..., self_trade: _Optional[int] = ...) -> None: ...

class LeaseReports(_message.Message):
    __slots__ = ("reports",)
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    reports: _containers.RepeatedCompositeFieldContainer[LeaseReport]
    def __init__(self, reports: _Optional[_Iterable[_Union[LeaseReport, _Mapping]]] = ...) -> None: ...

class LeaseReport(_message.Message):
    __slots__ = ("lease_id", "state", "at_ns", "applied_w", "measured_w", "detail")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    APPLIED_W_FIELD_NUMBER: _ClassVar[int]
    MEASURED_W_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    state: int
    at_ns: int
    applied_w: int
    measured_w: int
    detail: str
    def __init__(self, lease_id: _Optional[str] = ..., state: _Optional[int] = ..., at_ns: _Optional[int] = ..., applied_w: _Optional[int] = ..., measured_w: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...
