from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

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
