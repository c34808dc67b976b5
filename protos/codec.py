"""Records to payload bytes and back. The only place, besides uplink and gate, that sees `_pb2`.

Readings travel as columns: register-major, each column its first value and then differences, as
zigzag varints in one bytes field. The cost of a batch is then per message and not per reading
(about 1.3 bytes a reading at ten sweeps). The decoder below is the readable twin of `ext/columns`;
the cloud passes the compiled one in.

Every decode either returns a record whose invariants hold or raises `Malformed`: lengths, ranges,
counts and trailing bytes are all checked, because these bytes come from a stranger.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError

from protos import payload_pb2
from protos.limits import (
    DEVICES_PER_MAP_MAX,
    OFFERS_PER_BATCH_MAX,
    PAYLOAD_BYTES_MAX,
    REGISTERS_PER_MAP_MAX,
    SWEEPS_PER_BATCH_MAX,
    VALUES_PER_BATCH_MAX,
)
from protos.messages import (
    Cancel,
    ClockQuality,
    DeviceEntry,
    LeaseReport,
    LeaseReports,
    LeaseState,
    Offer,
    OfferBatch,
    OrderKind,
    Payload,
    Quality,
    QualityMark,
    Quantity,
    RegisterEntry,
    RegisterMap,
    Role,
    SelfTrade,
    Side,
    SweepBatch,
    TimeInForce,
)

TIME_UNIT_MS = 10
"""Reply times are sent to 10 ms: one byte a device and sweep at the usual jitter."""

PERIOD_MS_MAX = 3_600_000
VALUE_MAX = (1 << 62) - 1
_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1
_VARINT_BYTES_MAX = 10

_TIME_END_MS = 1 << 53
_Enum = TypeVar("_Enum", bound=int)


class Columns(Protocol):
    """Decoded columns, a tuple each."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> tuple[int, ...]: ...
    def times(
        self, devices: int, base_ms: int, period_ms: int, unit_ms: int, end_ms: int
    ) -> tuple[tuple[tuple[int, ...], ...], int]:
        """Reply times out of the first columns, and the newest of them.

        Time t of a device is base + t * period + offset * unit. Raises ValueError unless every one
        lies between 0 and `end_ms`.
        """

    def after(self, count: int) -> Sequence[tuple[int, ...]]:
        """The columns behind the first `count`."""


ColumnDecoder = Callable[[bytes, int, int], Columns]


class Malformed(ValueError):
    """The bytes are not what the treaty says. The message names the field."""


def encode_columns(columns: Iterable[Sequence[int]]) -> bytes:
    """Column-major zigzag varints of first value, then differences.

    Values lie within ±2^62, so that every difference fits 64 bits; no register comes near.
    """
    out = bytearray()
    for column in columns:
        last = 0
        for value in column:
            if not -VALUE_MAX <= value <= VALUE_MAX:
                raise ValueError(f"a value of {value} is beyond 62 bits and cannot be sent")
            delta = value - last
            last = value
            _append_varint(out, delta << 1 if delta >= 0 else ~(delta << 1))
    return bytes(out)


class _Columns(list[tuple[int, ...]]):
    """The readable form of `Columns`."""

    def times(
        self, devices: int, base_ms: int, period_ms: int, unit_ms: int, end_ms: int
    ) -> tuple[tuple[tuple[int, ...], ...], int]:
        times = tuple(
            tuple(base_ms + t * period_ms + offset * unit_ms for t, offset in enumerate(column))
            for column in self[:devices]
        )
        if any(not 0 < at < end_ms for column in times for at in column):
            raise Malformed("sweeps: a reply time is out of range")
        return times, max((at for column in times for at in column), default=0)

    def after(self, count: int) -> tuple[tuple[int, ...], ...]:
        return tuple(self[count:])


def decode_columns(data: bytes, columns: int, sweeps: int) -> _Columns:
    """The inverse of `encode_columns`; refuses short, long, overlong and overflowing input."""
    varints = _varints(data)
    try:
        result = _Columns()
        for _ in range(columns):
            value = 0
            column = []
            for _ in range(sweeps):
                raw = next(varints)
                value += (raw >> 1) ^ -(raw & 1)
                if not _INT64_MIN <= value <= _INT64_MAX:
                    raise Malformed("columns: a value leaves 64 bits")
                column.append(value)
            result.append(tuple(column))
    except StopIteration:
        raise Malformed("columns: fewer values than the header says") from None
    if next(varints, None) is not None:
        raise Malformed("columns: more values than the header says")
    return result


def _append_varint(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _varints(data: bytes) -> Iterator[int]:
    value = shift = 0
    for octet in data:
        value |= (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            if value >> 64:
                raise Malformed("columns: a varint leaves 64 bits")
            yield value
            value = shift = 0
        elif shift >= 7 * _VARINT_BYTES_MAX:
            raise Malformed("columns: a varint is longer than ten bytes")
    if shift:
        raise Malformed("columns: ends inside a varint")


def encode_payload(payload: Payload) -> bytes:
    """The bytes to seal. Raises ValueError where a record is larger than `limits` allows."""
    message = payload_pb2.Payload()
    match payload:
        case RegisterMap():
            _check_map(payload)
            message.register_map.CopyFrom(_map_to_pb(payload))
        case SweepBatch():
            _fill_sweeps(message.sweeps, payload)
        case OfferBatch():
            for offer in payload.offers:
                message.offers.offers.append(
                    payload_pb2.Offer(
                        number=offer.number,
                        slot=offer.slot,
                        side=offer.side,
                        energy_wh=offer.energy_wh,
                        price_micro_per_kwh=offer.price_micro_per_kwh,
                        kind=offer.kind,
                        time_in_force=offer.time_in_force,
                        renewable=offer.renewable,
                        replaces=offer.replaces,
                        self_trade=offer.self_trade,
                    )
                )
            message.offers.cancelled_numbers.extend(cancel.number for cancel in payload.cancels)
            message.offers.SetInParent()
        case LeaseReports():
            for report in payload.reports:
                message.lease_reports.reports.append(
                    payload_pb2.LeaseReport(
                        lease_id=report.lease_id,
                        state=report.state,
                        at_ns=report.at_ns,
                        applied_w=report.applied_w,
                        measured_w=report.measured_w,
                        detail=report.detail,
                    )
                )
            message.lease_reports.SetInParent()
    data = message.SerializeToString()
    if len(data) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"payload of {len(data)} bytes; the limit is {PAYLOAD_BYTES_MAX}")
    return data


def are_sweeps(data: bytes) -> bool:
    """Whether a payload holds readings."""
    try:
        return payload_pb2.Payload.FromString(data).HasField("sweeps")
    except DecodeError:
        return False


def decode_payload(data: bytes, columns: ColumnDecoder = decode_columns) -> Payload:
    """The record inside a sealed payload. Raises `Malformed`."""
    if len(data) > PAYLOAD_BYTES_MAX:
        raise Malformed(f"payload: {len(data)} bytes; the limit is {PAYLOAD_BYTES_MAX}")
    try:
        message = payload_pb2.Payload.FromString(data)
    except DecodeError as error:
        raise Malformed("payload: not a gridtokenx.payload.v1.Payload") from error
    match message.WhichOneof("body"):
        case "register_map":
            return _map_from_pb(message.register_map)
        case "sweeps":
            return _sweeps_from_pb(message.sweeps, columns)
        case "offers":
            return _offers_from_pb(message.offers)
        case "lease_reports":
            return _reports_from_pb(message.lease_reports)
        case _:
            raise Malformed("payload: no body that this version knows")


def _check_map(register_map: RegisterMap) -> None:
    if not 0 < len(register_map.devices) <= DEVICES_PER_MAP_MAX:
        raise Malformed(f"map: 1 to {DEVICES_PER_MAP_MAX} devices")
    if not 0 < len(register_map.registers) <= REGISTERS_PER_MAP_MAX:
        raise Malformed(f"map: 1 to {REGISTERS_PER_MAP_MAX} registers")
    if not 0 < register_map.map_id < 1 << 32:
        raise Malformed("map: ids start at 1")
    if any(entry.device >= len(register_map.devices) for entry in register_map.registers):
        raise Malformed("map: a register names a device that is not in the map")


def _map_to_pb(record: RegisterMap) -> payload_pb2.RegisterMap:
    return payload_pb2.RegisterMap(
        map_id=record.map_id,
        devices=[
            payload_pb2.DeviceEntry(
                name=device.name,
                role=device.role,
                profile=device.profile,
                profile_revision=device.profile_revision,
                serial=device.serial,
            )
            for device in record.devices
        ],
        registers=[
            payload_pb2.RegisterEntry(
                device=register.device,
                quantity=register.quantity,
                phase=register.phase,
                billing=register.billing,
            )
            for register in record.registers
        ],
    )


def _map_from_pb(message: payload_pb2.RegisterMap) -> RegisterMap:
    record = RegisterMap(
        message.map_id,
        tuple(
            DeviceEntry(
                device.name,
                _enum(Role, device.role, "device role"),
                device.profile,
                device.profile_revision,
                device.serial,
            )
            for device in message.devices
        ),
        tuple(
            RegisterEntry(
                register.device,
                _enum(Quantity, register.quantity, "quantity"),
                register.phase,
                register.billing,
            )
            for register in message.registers
        ),
    )
    _check_map(record)
    return record


def _fill_sweeps(message: payload_pb2.SweepBatch, batch: SweepBatch) -> None:
    sweeps = batch.sweeps
    if not 0 < sweeps <= SWEEPS_PER_BATCH_MAX:
        raise ValueError(f"a batch has 1 to {SWEEPS_PER_BATCH_MAX} sweeps, this one {sweeps}")
    if any(len(column) != sweeps for column in (*batch.times_ms, *batch.values)):
        raise ValueError("all columns of a batch have one value a sweep")
    base = min(column[0] for column in batch.times_ms)
    span = max(column[-1] for column in batch.times_ms) - base
    # A clock that was set between two sweeps makes the span absurd; the offsets then carry it.
    period = min(max(0, span // (sweeps - 1)), PERIOD_MS_MAX) if sweeps > 1 else 0
    message.map_id = batch.map_id
    message.boot_id = batch.boot_id
    message.monotonic_ms = batch.monotonic_ms
    message.clock_quality = batch.clock_quality
    message.sweeps = sweeps
    message.devices = len(batch.times_ms)
    message.registers = len(batch.values)
    message.base_ms = base
    message.period_ms = period
    message.unit_ms = TIME_UNIT_MS
    # Floor division: a reply is never dated later than it came.
    offsets = [
        [(at - base - t * period) // TIME_UNIT_MS for t, at in enumerate(column)]
        for column in batch.times_ms
    ]
    message.columns = encode_columns([*offsets, *batch.values])
    marks = bytearray()
    for mark in batch.marks:
        for number in (mark.sweep, mark.register, int(mark.quality)):
            _append_varint(marks, number)
    message.marks = bytes(marks)


def _sweeps_from_pb(message: payload_pb2.SweepBatch, columns: ColumnDecoder) -> SweepBatch:
    sweeps, devices, registers = message.sweeps, message.devices, message.registers
    if not 0 < sweeps <= SWEEPS_PER_BATCH_MAX:
        raise Malformed(f"sweeps: 1 to {SWEEPS_PER_BATCH_MAX} in a batch")
    if not 0 < devices <= DEVICES_PER_MAP_MAX or not 0 < registers <= REGISTERS_PER_MAP_MAX:
        raise Malformed("sweeps: more devices or registers than a map can have, or none")
    if sweeps * (devices + registers) > VALUES_PER_BATCH_MAX:
        raise Malformed(f"sweeps: more than {VALUES_PER_BATCH_MAX} values in a batch")
    if not 0 < message.unit_ms <= 1_000 or not 0 < message.base_ms < _TIME_END_MS:
        raise Malformed("sweeps: time unit or base out of range")
    try:
        decoded = columns(message.columns, devices + registers, sweeps)
        times, newest_ms = decoded.times(
            devices, message.base_ms, message.period_ms, message.unit_ms, _TIME_END_MS
        )
    except ValueError as error:
        raise Malformed(str(error)) from error
    return SweepBatch(
        message.map_id,
        message.boot_id,
        message.monotonic_ms,
        _enum(ClockQuality, message.clock_quality, "clock quality"),
        times,
        decoded.after(devices),
        _marks(message.marks, sweeps, registers) if message.marks else (),
        newest_ms,
    )


def _marks(data: bytes, sweeps: int, registers: int) -> tuple[QualityMark, ...]:
    numbers = list(_varints(data))
    if len(numbers) % 3 or len(numbers) > 3 * VALUES_PER_BATCH_MAX:
        raise Malformed("marks: not whole triples")
    marks = []
    for sweep, register, quality in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True):
        if sweep >= sweeps or register >= registers:
            raise Malformed("marks: a place outside the batch")
        marks.append(QualityMark(sweep, register, _enum(Quality, quality, "quality")))
    return tuple(marks)


def _offers_from_pb(message: payload_pb2.OfferBatch) -> OfferBatch:
    if len(message.offers) + len(message.cancelled_numbers) > OFFERS_PER_BATCH_MAX:
        raise Malformed(f"offers: at most {OFFERS_PER_BATCH_MAX} in a batch")
    return OfferBatch(
        tuple(
            Offer(
                offer.number,
                offer.slot,
                _enum(Side, offer.side, "side"),
                offer.energy_wh,
                offer.price_micro_per_kwh,
                _enum(OrderKind, offer.kind, "order kind"),
                _enum(TimeInForce, offer.time_in_force, "time in force"),
                offer.renewable,
                offer.replaces,
                _enum(SelfTrade, offer.self_trade, "self-trade mode"),
            )
            for offer in message.offers
        ),
        tuple(Cancel(number) for number in message.cancelled_numbers),
    )


def _reports_from_pb(message: payload_pb2.LeaseReports) -> LeaseReports:
    return LeaseReports(
        tuple(
            LeaseReport(
                report.lease_id,
                _enum(LeaseState, report.state, "lease state"),
                report.at_ns,
                report.applied_w,
                report.measured_w,
                report.detail,
            )
            for report in message.reports
        )
    )


def _enum(kind: Callable[[int], _Enum], number: int, field: str) -> _Enum:
    try:
        return kind(number)
    except ValueError:
        raise Malformed(f"{field}: {number} is not known to this version") from None
