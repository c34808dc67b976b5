from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OrderReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORDER_REASON_UNSPECIFIED: _ClassVar[OrderReason]
    ORDER_REASON_OVERLOAD: _ClassVar[OrderReason]
    ORDER_REASON_VOLTAGE: _ClassVar[OrderReason]
    ORDER_REASON_FREQUENCY: _ClassVar[OrderReason]
    ORDER_REASON_MAINTENANCE: _ClassVar[OrderReason]
    ORDER_REASON_EMERGENCY: _ClassVar[OrderReason]
    ORDER_REASON_RESTORATION: _ClassVar[OrderReason]
    ORDER_REASON_TEST: _ClassVar[OrderReason]
ORDER_REASON_UNSPECIFIED: OrderReason
ORDER_REASON_OVERLOAD: OrderReason
ORDER_REASON_VOLTAGE: OrderReason
ORDER_REASON_FREQUENCY: OrderReason
ORDER_REASON_MAINTENANCE: OrderReason
ORDER_REASON_EMERGENCY: OrderReason
ORDER_REASON_RESTORATION: OrderReason
ORDER_REASON_TEST: OrderReason

class ListZonesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListZonesResponse(_message.Message):
    __slots__ = ("zones",)
    ZONES_FIELD_NUMBER: _ClassVar[int]
    zones: _containers.RepeatedCompositeFieldContainer[Zone]
    def __init__(self, zones: _Optional[_Iterable[_Union[Zone, _Mapping]]] = ...) -> None: ...

class Zone(_message.Message):
    __slots__ = ("name", "network_sha256", "nodes", "currency", "current_slot")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NETWORK_SHA256_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    CURRENT_SLOT_FIELD_NUMBER: _ClassVar[int]
    name: str
    network_sha256: str
    nodes: int
    currency: str
    current_slot: int
    def __init__(self, name: _Optional[str] = ..., network_sha256: _Optional[str] = ..., nodes: _Optional[int] = ..., currency: _Optional[str] = ..., current_slot: _Optional[int] = ...) -> None: ...

class ListFeedersRequest(_message.Message):
    __slots__ = ("zone", "slot", "page_size", "page_token")
    ZONE_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    zone: str
    slot: int
    page_size: int
    page_token: str
    def __init__(self, zone: _Optional[str] = ..., slot: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListFeedersResponse(_message.Message):
    __slots__ = ("feeders", "next_page_token", "slot")
    FEEDERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    feeders: _containers.RepeatedCompositeFieldContainer[Feeder]
    next_page_token: str
    slot: int
    def __init__(self, feeders: _Optional[_Iterable[_Union[Feeder, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., slot: _Optional[int] = ...) -> None: ...

class Feeder(_message.Message):
    __slots__ = ("element", "name", "power_w", "limit_w", "loading_per_mille")
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    POWER_W_FIELD_NUMBER: _ClassVar[int]
    LIMIT_W_FIELD_NUMBER: _ClassVar[int]
    LOADING_PER_MILLE_FIELD_NUMBER: _ClassVar[int]
    element: int
    name: str
    power_w: int
    limit_w: int
    loading_per_mille: int
    def __init__(self, element: _Optional[int] = ..., name: _Optional[str] = ..., power_w: _Optional[int] = ..., limit_w: _Optional[int] = ..., loading_per_mille: _Optional[int] = ...) -> None: ...

class ListTradesRequest(_message.Message):
    __slots__ = ("zone", "slot", "page_size", "page_token")
    ZONE_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    zone: str
    slot: int
    page_size: int
    page_token: str
    def __init__(self, zone: _Optional[str] = ..., slot: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTradesResponse(_message.Message):
    __slots__ = ("trades", "next_page_token")
    TRADES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    trades: _containers.RepeatedCompositeFieldContainer[Trade]
    next_page_token: str
    def __init__(self, trades: _Optional[_Iterable[_Union[Trade, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Trade(_message.Message):
    __slots__ = ("trade", "energy_wh", "price_micro_per_kwh", "buyer", "seller")
    TRADE_FIELD_NUMBER: _ClassVar[int]
    ENERGY_WH_FIELD_NUMBER: _ClassVar[int]
    PRICE_MICRO_PER_KWH_FIELD_NUMBER: _ClassVar[int]
    BUYER_FIELD_NUMBER: _ClassVar[int]
    SELLER_FIELD_NUMBER: _ClassVar[int]
    trade: int
    energy_wh: int
    price_micro_per_kwh: int
    buyer: str
    seller: str
    def __init__(self, trade: _Optional[int] = ..., energy_wh: _Optional[int] = ..., price_micro_per_kwh: _Optional[int] = ..., buyer: _Optional[str] = ..., seller: _Optional[str] = ...) -> None: ...

class OrderCurtailmentRequest(_message.Message):
    __slots__ = ("request_id", "zone", "element", "limit_w", "starts_ns", "ends_ns", "reason")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_W_FIELD_NUMBER: _ClassVar[int]
    STARTS_NS_FIELD_NUMBER: _ClassVar[int]
    ENDS_NS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    zone: str
    element: int
    limit_w: int
    starts_ns: int
    ends_ns: int
    reason: str
    def __init__(self, request_id: _Optional[str] = ..., zone: _Optional[str] = ..., element: _Optional[int] = ..., limit_w: _Optional[int] = ..., starts_ns: _Optional[int] = ..., ends_ns: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class OrderCurtailmentResponse(_message.Message):
    __slots__ = ("curtailment",)
    CURTAILMENT_FIELD_NUMBER: _ClassVar[int]
    curtailment: Curtailment
    def __init__(self, curtailment: _Optional[_Union[Curtailment, _Mapping]] = ...) -> None: ...

class GetCurtailmentRequest(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class GetCurtailmentResponse(_message.Message):
    __slots__ = ("curtailment",)
    CURTAILMENT_FIELD_NUMBER: _ClassVar[int]
    curtailment: Curtailment
    def __init__(self, curtailment: _Optional[_Union[Curtailment, _Mapping]] = ...) -> None: ...

class Curtailment(_message.Message):
    __slots__ = ("request_id", "zone", "element", "limit_w", "starts_ns", "ends_ns", "authority", "reason", "gateways", "confirmed", "reverted", "failed")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_W_FIELD_NUMBER: _ClassVar[int]
    STARTS_NS_FIELD_NUMBER: _ClassVar[int]
    ENDS_NS_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GATEWAYS_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    REVERTED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    zone: str
    element: int
    limit_w: int
    starts_ns: int
    ends_ns: int
    authority: str
    reason: str
    gateways: int
    confirmed: int
    reverted: int
    failed: int
    def __init__(self, request_id: _Optional[str] = ..., zone: _Optional[str] = ..., element: _Optional[int] = ..., limit_w: _Optional[int] = ..., starts_ns: _Optional[int] = ..., ends_ns: _Optional[int] = ..., authority: _Optional[str] = ..., reason: _Optional[str] = ..., gateways: _Optional[int] = ..., confirmed: _Optional[int] = ..., reverted: _Optional[int] = ..., failed: _Optional[int] = ...) -> None: ...

class AuthorityOrder(_message.Message):
    __slots__ = ("order_id", "authority", "zone", "element", "reason", "issued_ns", "starts_ns", "ends_ns", "limit_w", "curtail_to_w", "reserve_w", "reduce_by_w")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ISSUED_NS_FIELD_NUMBER: _ClassVar[int]
    STARTS_NS_FIELD_NUMBER: _ClassVar[int]
    ENDS_NS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_W_FIELD_NUMBER: _ClassVar[int]
    CURTAIL_TO_W_FIELD_NUMBER: _ClassVar[int]
    RESERVE_W_FIELD_NUMBER: _ClassVar[int]
    REDUCE_BY_W_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    authority: str
    zone: str
    element: int
    reason: OrderReason
    issued_ns: int
    starts_ns: int
    ends_ns: int
    limit_w: int
    curtail_to_w: int
    reserve_w: int
    reduce_by_w: int
    def __init__(self, order_id: _Optional[str] = ..., authority: _Optional[str] = ..., zone: _Optional[str] = ..., element: _Optional[int] = ..., reason: _Optional[_Union[OrderReason, str]] = ..., issued_ns: _Optional[int] = ..., starts_ns: _Optional[int] = ..., ends_ns: _Optional[int] = ..., limit_w: _Optional[int] = ..., curtail_to_w: _Optional[int] = ..., reserve_w: _Optional[int] = ..., reduce_by_w: _Optional[int] = ...) -> None: ...

class SubmitOrderRequest(_message.Message):
    __slots__ = ("order", "signature")
    ORDER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    order: bytes
    signature: bytes
    def __init__(self, order: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class SubmitOrderResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: OrderStatus
    def __init__(self, status: _Optional[_Union[OrderStatus, _Mapping]] = ...) -> None: ...

class GetOrderRequest(_message.Message):
    __slots__ = ("order_id",)
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    def __init__(self, order_id: _Optional[str] = ...) -> None: ...

class GetOrderResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: OrderStatus
    def __init__(self, status: _Optional[_Union[OrderStatus, _Mapping]] = ...) -> None: ...

class OrderStatus(_message.Message):
    __slots__ = ("order_id", "authority", "action", "starts_ns", "ends_ns", "gateways", "confirmed", "reverted", "failed", "asked_w", "planned_w", "delivered_w", "yields_to", "decided_by")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    STARTS_NS_FIELD_NUMBER: _ClassVar[int]
    ENDS_NS_FIELD_NUMBER: _ClassVar[int]
    GATEWAYS_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    REVERTED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    ASKED_W_FIELD_NUMBER: _ClassVar[int]
    PLANNED_W_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_W_FIELD_NUMBER: _ClassVar[int]
    YIELDS_TO_FIELD_NUMBER: _ClassVar[int]
    DECIDED_BY_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    authority: str
    action: str
    starts_ns: int
    ends_ns: int
    gateways: int
    confirmed: int
    reverted: int
    failed: int
    asked_w: int
    planned_w: int
    delivered_w: int
    yields_to: str
    decided_by: str
    def __init__(self, order_id: _Optional[str] = ..., authority: _Optional[str] = ..., action: _Optional[str] = ..., starts_ns: _Optional[int] = ..., ends_ns: _Optional[int] = ..., gateways: _Optional[int] = ..., confirmed: _Optional[int] = ..., reverted: _Optional[int] = ..., failed: _Optional[int] = ..., asked_w: _Optional[int] = ..., planned_w: _Optional[int] = ..., delivered_w: _Optional[int] = ..., yields_to: _Optional[str] = ..., decided_by: _Optional[str] = ...) -> None: ...

class SendSignalRequest(_message.Message):
    __slots__ = ("zone", "element", "power_w")
    ZONE_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    POWER_W_FIELD_NUMBER: _ClassVar[int]
    zone: str
    element: int
    power_w: int
    def __init__(self, zone: _Optional[str] = ..., element: _Optional[int] = ..., power_w: _Optional[int] = ...) -> None: ...

class SendSignalResponse(_message.Message):
    __slots__ = ("set_w", "gateways")
    SET_W_FIELD_NUMBER: _ClassVar[int]
    GATEWAYS_FIELD_NUMBER: _ClassVar[int]
    set_w: int
    gateways: int
    def __init__(self, set_w: _Optional[int] = ..., gateways: _Optional[int] = ...) -> None: ...

class ListOutagesRequest(_message.Message):
    __slots__ = ("zone",)
    ZONE_FIELD_NUMBER: _ClassVar[int]
    zone: str
    def __init__(self, zone: _Optional[str] = ...) -> None: ...

class ListOutagesResponse(_message.Message):
    __slots__ = ("outages",)
    OUTAGES_FIELD_NUMBER: _ClassVar[int]
    outages: _containers.RepeatedCompositeFieldContainer[Outage]
    def __init__(self, outages: _Optional[_Iterable[_Union[Outage, _Mapping]]] = ...) -> None: ...

class Outage(_message.Message):
    __slots__ = ("element", "name", "gateways", "gasps", "since_ns")
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    GATEWAYS_FIELD_NUMBER: _ClassVar[int]
    GASPS_FIELD_NUMBER: _ClassVar[int]
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    element: int
    name: str
    gateways: int
    gasps: int
    since_ns: int
    def __init__(self, element: _Optional[int] = ..., name: _Optional[str] = ..., gateways: _Optional[int] = ..., gasps: _Optional[int] = ..., since_ns: _Optional[int] = ...) -> None: ...

class ListAlarmsRequest(_message.Message):
    __slots__ = ("zone",)
    ZONE_FIELD_NUMBER: _ClassVar[int]
    zone: str
    def __init__(self, zone: _Optional[str] = ...) -> None: ...

class ListAlarmsResponse(_message.Message):
    __slots__ = ("alarms",)
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    alarms: _containers.RepeatedCompositeFieldContainer[Alarm]
    def __init__(self, alarms: _Optional[_Iterable[_Union[Alarm, _Mapping]]] = ...) -> None: ...

class Alarm(_message.Message):
    __slots__ = ("subject", "level", "value")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    subject: str
    level: str
    value: int
    def __init__(self, subject: _Optional[str] = ..., level: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...

class ListEnvelopesRequest(_message.Message):
    __slots__ = ("zone", "page_size", "page_token")
    ZONE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    zone: str
    page_size: int
    page_token: str
    def __init__(self, zone: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListEnvelopesResponse(_message.Message):
    __slots__ = ("envelopes", "next_page_token", "slot")
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    envelopes: _containers.RepeatedCompositeFieldContainer[Envelope]
    next_page_token: str
    slot: int
    def __init__(self, envelopes: _Optional[_Iterable[_Union[Envelope, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., slot: _Optional[int] = ...) -> None: ...

class ActivePower(_message.Message):
    __slots__ = ("multiplier", "value")
    MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    multiplier: int
    value: int
    def __init__(self, multiplier: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...

class Envelope(_message.Message):
    __slots__ = ("device", "node", "op_mod_imp_lim_w", "op_mod_exp_lim_w")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    OP_MOD_IMP_LIM_W_FIELD_NUMBER: _ClassVar[int]
    OP_MOD_EXP_LIM_W_FIELD_NUMBER: _ClassVar[int]
    device: str
    node: int
    op_mod_imp_lim_w: ActivePower
    op_mod_exp_lim_w: ActivePower
    def __init__(self, device: _Optional[str] = ..., node: _Optional[int] = ..., op_mod_imp_lim_w: _Optional[_Union[ActivePower, _Mapping]] = ..., op_mod_exp_lim_w: _Optional[_Union[ActivePower, _Mapping]] = ...) -> None: ...

class ListCongestionRequest(_message.Message):
    __slots__ = ("zone", "slots", "loading_per_mille")
    ZONE_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    LOADING_PER_MILLE_FIELD_NUMBER: _ClassVar[int]
    zone: str
    slots: int
    loading_per_mille: int
    def __init__(self, zone: _Optional[str] = ..., slots: _Optional[int] = ..., loading_per_mille: _Optional[int] = ...) -> None: ...

class ListCongestionResponse(_message.Message):
    __slots__ = ("points",)
    POINTS_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[CongestionPoint]
    def __init__(self, points: _Optional[_Iterable[_Union[CongestionPoint, _Mapping]]] = ...) -> None: ...

class CongestionPoint(_message.Message):
    __slots__ = ("slot", "feeder")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    FEEDER_FIELD_NUMBER: _ClassVar[int]
    slot: int
    feeder: Feeder
    def __init__(self, slot: _Optional[int] = ..., feeder: _Optional[_Union[Feeder, _Mapping]] = ...) -> None: ...

class GetGridStateRequest(_message.Message):
    __slots__ = ("zone",)
    ZONE_FIELD_NUMBER: _ClassVar[int]
    zone: str
    def __init__(self, zone: _Optional[str] = ...) -> None: ...

class GetGridStateResponse(_message.Message):
    __slots__ = ("slot", "converged", "measured", "assumed", "voltage_min_per_mille", "voltage_max_per_mille", "feeders", "rejected")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    CONVERGED_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    ASSUMED_FIELD_NUMBER: _ClassVar[int]
    VOLTAGE_MIN_PER_MILLE_FIELD_NUMBER: _ClassVar[int]
    VOLTAGE_MAX_PER_MILLE_FIELD_NUMBER: _ClassVar[int]
    FEEDERS_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    slot: int
    converged: bool
    measured: int
    assumed: int
    voltage_min_per_mille: int
    voltage_max_per_mille: int
    feeders: _containers.RepeatedCompositeFieldContainer[Feeder]
    rejected: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, slot: _Optional[int] = ..., converged: _Optional[bool] = ..., measured: _Optional[int] = ..., assumed: _Optional[int] = ..., voltage_min_per_mille: _Optional[int] = ..., voltage_max_per_mille: _Optional[int] = ..., feeders: _Optional[_Iterable[_Union[Feeder, _Mapping]]] = ..., rejected: _Optional[_Iterable[str]] = ...) -> None: ...
