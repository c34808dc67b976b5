from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListMarketsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListMarketsResponse(_message.Message):
    __slots__ = ("markets",)
    MARKETS_FIELD_NUMBER: _ClassVar[int]
    markets: _containers.RepeatedCompositeFieldContainer[Market]
    def __init__(self, markets: _Optional[_Iterable[_Union[Market, _Mapping]]] = ...) -> None: ...

class Market(_message.Message):
    __slots__ = ("iso", "node", "real_time", "day_ahead", "step_ns", "next_gate_ns", "price_age_ns", "is_stale", "missing_intervals")
    ISO_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REAL_TIME_FIELD_NUMBER: _ClassVar[int]
    DAY_AHEAD_FIELD_NUMBER: _ClassVar[int]
    STEP_NS_FIELD_NUMBER: _ClassVar[int]
    NEXT_GATE_NS_FIELD_NUMBER: _ClassVar[int]
    PRICE_AGE_NS_FIELD_NUMBER: _ClassVar[int]
    IS_STALE_FIELD_NUMBER: _ClassVar[int]
    MISSING_INTERVALS_FIELD_NUMBER: _ClassVar[int]
    iso: str
    node: str
    real_time: str
    day_ahead: str
    step_ns: int
    next_gate_ns: int
    price_age_ns: int
    is_stale: bool
    missing_intervals: int
    def __init__(self, iso: _Optional[str] = ..., node: _Optional[str] = ..., real_time: _Optional[str] = ..., day_ahead: _Optional[str] = ..., step_ns: _Optional[int] = ..., next_gate_ns: _Optional[int] = ..., price_age_ns: _Optional[int] = ..., is_stale: _Optional[bool] = ..., missing_intervals: _Optional[int] = ...) -> None: ...

class ListPricesRequest(_message.Message):
    __slots__ = ("iso", "market", "from_ns", "to_ns", "as_of_ns")
    ISO_FIELD_NUMBER: _ClassVar[int]
    MARKET_FIELD_NUMBER: _ClassVar[int]
    FROM_NS_FIELD_NUMBER: _ClassVar[int]
    TO_NS_FIELD_NUMBER: _ClassVar[int]
    AS_OF_NS_FIELD_NUMBER: _ClassVar[int]
    iso: str
    market: str
    from_ns: int
    to_ns: int
    as_of_ns: int
    def __init__(self, iso: _Optional[str] = ..., market: _Optional[str] = ..., from_ns: _Optional[int] = ..., to_ns: _Optional[int] = ..., as_of_ns: _Optional[int] = ...) -> None: ...

class ListPricesResponse(_message.Message):
    __slots__ = ("iso", "node", "market", "age_ns", "prices")
    ISO_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    MARKET_FIELD_NUMBER: _ClassVar[int]
    AGE_NS_FIELD_NUMBER: _ClassVar[int]
    PRICES_FIELD_NUMBER: _ClassVar[int]
    iso: str
    node: str
    market: str
    age_ns: int
    prices: _containers.RepeatedCompositeFieldContainer[Price]
    def __init__(self, iso: _Optional[str] = ..., node: _Optional[str] = ..., market: _Optional[str] = ..., age_ns: _Optional[int] = ..., prices: _Optional[_Iterable[_Union[Price, _Mapping]]] = ...) -> None: ...

class Price(_message.Message):
    __slots__ = ("starts_ns", "ends_ns", "price_micro_per_mwh", "version", "seen_ns")
    STARTS_NS_FIELD_NUMBER: _ClassVar[int]
    ENDS_NS_FIELD_NUMBER: _ClassVar[int]
    PRICE_MICRO_PER_MWH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SEEN_NS_FIELD_NUMBER: _ClassVar[int]
    starts_ns: int
    ends_ns: int
    price_micro_per_mwh: int
    version: int
    seen_ns: int
    def __init__(self, starts_ns: _Optional[int] = ..., ends_ns: _Optional[int] = ..., price_micro_per_mwh: _Optional[int] = ..., version: _Optional[int] = ..., seen_ns: _Optional[int] = ...) -> None: ...

class GetForecastRequest(_message.Message):
    __slots__ = ("iso", "hours")
    ISO_FIELD_NUMBER: _ClassVar[int]
    HOURS_FIELD_NUMBER: _ClassVar[int]
    iso: str
    hours: int
    def __init__(self, iso: _Optional[str] = ..., hours: _Optional[int] = ...) -> None: ...

class GetForecastResponse(_message.Message):
    __slots__ = ("iso", "node", "starts_ns", "step_ns", "hours")
    ISO_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    STARTS_NS_FIELD_NUMBER: _ClassVar[int]
    STEP_NS_FIELD_NUMBER: _ClassVar[int]
    HOURS_FIELD_NUMBER: _ClassVar[int]
    iso: str
    node: str
    starts_ns: int
    step_ns: int
    hours: _containers.RepeatedCompositeFieldContainer[ForecastHour]
    def __init__(self, iso: _Optional[str] = ..., node: _Optional[str] = ..., starts_ns: _Optional[int] = ..., step_ns: _Optional[int] = ..., hours: _Optional[_Iterable[_Union[ForecastHour, _Mapping]]] = ...) -> None: ...

class ForecastHour(_message.Message):
    __slots__ = ("price_micro_per_mwh",)
    PRICE_MICRO_PER_MWH_FIELD_NUMBER: _ClassVar[int]
    price_micro_per_mwh: int
    def __init__(self, price_micro_per_mwh: _Optional[int] = ...) -> None: ...

class ListBidsRequest(_message.Message):
    __slots__ = ("state", "iso")
    STATE_FIELD_NUMBER: _ClassVar[int]
    ISO_FIELD_NUMBER: _ClassVar[int]
    state: str
    iso: str
    def __init__(self, state: _Optional[str] = ..., iso: _Optional[str] = ...) -> None: ...

class ListBidsResponse(_message.Message):
    __slots__ = ("bids",)
    BIDS_FIELD_NUMBER: _ClassVar[int]
    bids: _containers.RepeatedCompositeFieldContainer[Bid]
    def __init__(self, bids: _Optional[_Iterable[_Union[Bid, _Mapping]]] = ...) -> None: ...

class GetBidRequest(_message.Message):
    __slots__ = ("bid_id",)
    BID_ID_FIELD_NUMBER: _ClassVar[int]
    bid_id: str
    def __init__(self, bid_id: _Optional[str] = ...) -> None: ...

class GetBidResponse(_message.Message):
    __slots__ = ("bid",)
    BID_FIELD_NUMBER: _ClassVar[int]
    bid: Bid
    def __init__(self, bid: _Optional[_Union[Bid, _Mapping]] = ...) -> None: ...

class Bid(_message.Message):
    __slots__ = ("bid_id", "iso", "node", "market", "state", "starts_ns", "duration_ns", "gate_ns", "curve", "reason", "awards", "revenue_micro", "statement")
    BID_ID_FIELD_NUMBER: _ClassVar[int]
    ISO_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    MARKET_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STARTS_NS_FIELD_NUMBER: _ClassVar[int]
    DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    GATE_NS_FIELD_NUMBER: _ClassVar[int]
    CURVE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AWARDS_FIELD_NUMBER: _ClassVar[int]
    REVENUE_MICRO_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    bid_id: str
    iso: str
    node: str
    market: str
    state: str
    starts_ns: int
    duration_ns: int
    gate_ns: int
    curve: _containers.RepeatedCompositeFieldContainer[Segment]
    reason: str
    awards: int
    revenue_micro: int
    statement: Stated
    def __init__(self, bid_id: _Optional[str] = ..., iso: _Optional[str] = ..., node: _Optional[str] = ..., market: _Optional[str] = ..., state: _Optional[str] = ..., starts_ns: _Optional[int] = ..., duration_ns: _Optional[int] = ..., gate_ns: _Optional[int] = ..., curve: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ..., reason: _Optional[str] = ..., awards: _Optional[int] = ..., revenue_micro: _Optional[int] = ..., statement: _Optional[_Union[Stated, _Mapping]] = ...) -> None: ...

class Segment(_message.Message):
    __slots__ = ("power_w", "price_micro_per_mwh")
    POWER_W_FIELD_NUMBER: _ClassVar[int]
    PRICE_MICRO_PER_MWH_FIELD_NUMBER: _ClassVar[int]
    power_w: int
    price_micro_per_mwh: int
    def __init__(self, power_w: _Optional[int] = ..., price_micro_per_mwh: _Optional[int] = ...) -> None: ...

class Stated(_message.Message):
    __slots__ = ("version", "amount_micro")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MICRO_FIELD_NUMBER: _ClassVar[int]
    version: int
    amount_micro: int
    def __init__(self, version: _Optional[int] = ..., amount_micro: _Optional[int] = ...) -> None: ...

class OfferReserveRequest(_message.Message):
    __slots__ = ("iso", "product", "starts_ns", "capacity_w", "price_micro_per_mw_h")
    ISO_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    STARTS_NS_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_W_FIELD_NUMBER: _ClassVar[int]
    PRICE_MICRO_PER_MW_H_FIELD_NUMBER: _ClassVar[int]
    iso: str
    product: str
    starts_ns: int
    capacity_w: int
    price_micro_per_mw_h: int
    def __init__(self, iso: _Optional[str] = ..., product: _Optional[str] = ..., starts_ns: _Optional[int] = ..., capacity_w: _Optional[int] = ..., price_micro_per_mw_h: _Optional[int] = ...) -> None: ...

class OfferReserveResponse(_message.Message):
    __slots__ = ("bid",)
    BID_FIELD_NUMBER: _ClassVar[int]
    bid: Bid
    def __init__(self, bid: _Optional[_Union[Bid, _Mapping]] = ...) -> None: ...

class WithdrawBidRequest(_message.Message):
    __slots__ = ("bid_id", "rebid")
    BID_ID_FIELD_NUMBER: _ClassVar[int]
    REBID_FIELD_NUMBER: _ClassVar[int]
    bid_id: str
    rebid: bool
    def __init__(self, bid_id: _Optional[str] = ..., rebid: _Optional[bool] = ...) -> None: ...

class WithdrawBidResponse(_message.Message):
    __slots__ = ("bid",)
    BID_FIELD_NUMBER: _ClassVar[int]
    bid: Bid
    def __init__(self, bid: _Optional[_Union[Bid, _Mapping]] = ...) -> None: ...

class ListSettlementsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListSettlementsResponse(_message.Message):
    __slots__ = ("days",)
    DAYS_FIELD_NUMBER: _ClassVar[int]
    days: _containers.RepeatedCompositeFieldContainer[StatementDay]
    def __init__(self, days: _Optional[_Iterable[_Union[StatementDay, _Mapping]]] = ...) -> None: ...

class StatementDay(_message.Message):
    __slots__ = ("iso", "day", "version")
    ISO_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    iso: str
    day: str
    version: int
    def __init__(self, iso: _Optional[str] = ..., day: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class GetSettlementRequest(_message.Message):
    __slots__ = ("iso", "day")
    ISO_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    iso: str
    day: str
    def __init__(self, iso: _Optional[str] = ..., day: _Optional[str] = ...) -> None: ...

class GetSettlementResponse(_message.Message):
    __slots__ = ("settlement",)
    SETTLEMENT_FIELD_NUMBER: _ClassVar[int]
    settlement: Settlement
    def __init__(self, settlement: _Optional[_Union[Settlement, _Mapping]] = ...) -> None: ...

class ReconcileRequest(_message.Message):
    __slots__ = ("statement",)
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    statement: bytes
    def __init__(self, statement: _Optional[bytes] = ...) -> None: ...

class ReconcileResponse(_message.Message):
    __slots__ = ("settlement",)
    SETTLEMENT_FIELD_NUMBER: _ClassVar[int]
    settlement: Settlement
    def __init__(self, settlement: _Optional[_Union[Settlement, _Mapping]] = ...) -> None: ...

class Settlement(_message.Message):
    __slots__ = ("iso", "day", "versions", "stated_cents", "expected_cents", "difference_cents", "unpriced_intervals", "disputes")
    ISO_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    STATED_CENTS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CENTS_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_CENTS_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_INTERVALS_FIELD_NUMBER: _ClassVar[int]
    DISPUTES_FIELD_NUMBER: _ClassVar[int]
    iso: str
    day: str
    versions: _containers.RepeatedScalarFieldContainer[int]
    stated_cents: int
    expected_cents: int
    difference_cents: int
    unpriced_intervals: _containers.RepeatedScalarFieldContainer[int]
    disputes: _containers.RepeatedCompositeFieldContainer[Dispute]
    def __init__(self, iso: _Optional[str] = ..., day: _Optional[str] = ..., versions: _Optional[_Iterable[int]] = ..., stated_cents: _Optional[int] = ..., expected_cents: _Optional[int] = ..., difference_cents: _Optional[int] = ..., unpriced_intervals: _Optional[_Iterable[int]] = ..., disputes: _Optional[_Iterable[_Union[Dispute, _Mapping]]] = ...) -> None: ...

class Dispute(_message.Message):
    __slots__ = ("charge_code", "bid_id", "starts_ns", "reason", "cents", "since_version")
    CHARGE_CODE_FIELD_NUMBER: _ClassVar[int]
    BID_ID_FIELD_NUMBER: _ClassVar[int]
    STARTS_NS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    SINCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    charge_code: str
    bid_id: str
    starts_ns: int
    reason: str
    cents: int
    since_version: int
    def __init__(self, charge_code: _Optional[str] = ..., bid_id: _Optional[str] = ..., starts_ns: _Optional[int] = ..., reason: _Optional[str] = ..., cents: _Optional[int] = ..., since_version: _Optional[int] = ...) -> None: ...

class GetRiskRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetRiskResponse(_message.Message):
    __slots__ = ("risk",)
    RISK_FIELD_NUMBER: _ClassVar[int]
    risk: Risk
    def __init__(self, risk: _Optional[_Union[Risk, _Mapping]] = ...) -> None: ...

class Risk(_message.Message):
    __slots__ = ("is_open", "is_halted", "power_max_w", "exposure_max_micro", "power_min_w", "deviation_max_wh", "loss_max_micro", "soc_min_per_mille", "soc_max_per_mille", "deviation_wh", "revenue_micro")
    IS_OPEN_FIELD_NUMBER: _ClassVar[int]
    IS_HALTED_FIELD_NUMBER: _ClassVar[int]
    POWER_MAX_W_FIELD_NUMBER: _ClassVar[int]
    EXPOSURE_MAX_MICRO_FIELD_NUMBER: _ClassVar[int]
    POWER_MIN_W_FIELD_NUMBER: _ClassVar[int]
    DEVIATION_MAX_WH_FIELD_NUMBER: _ClassVar[int]
    LOSS_MAX_MICRO_FIELD_NUMBER: _ClassVar[int]
    SOC_MIN_PER_MILLE_FIELD_NUMBER: _ClassVar[int]
    SOC_MAX_PER_MILLE_FIELD_NUMBER: _ClassVar[int]
    DEVIATION_WH_FIELD_NUMBER: _ClassVar[int]
    REVENUE_MICRO_FIELD_NUMBER: _ClassVar[int]
    is_open: bool
    is_halted: bool
    power_max_w: int
    exposure_max_micro: int
    power_min_w: int
    deviation_max_wh: int
    loss_max_micro: int
    soc_min_per_mille: int
    soc_max_per_mille: int
    deviation_wh: int
    revenue_micro: int
    def __init__(self, is_open: _Optional[bool] = ..., is_halted: _Optional[bool] = ..., power_max_w: _Optional[int] = ..., exposure_max_micro: _Optional[int] = ..., power_min_w: _Optional[int] = ..., deviation_max_wh: _Optional[int] = ..., loss_max_micro: _Optional[int] = ..., soc_min_per_mille: _Optional[int] = ..., soc_max_per_mille: _Optional[int] = ..., deviation_wh: _Optional[int] = ..., revenue_micro: _Optional[int] = ...) -> None: ...

class HaltDeskRequest(_message.Message):
    __slots__ = ("is_halted", "reason")
    IS_HALTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    is_halted: bool
    reason: str
    def __init__(self, is_halted: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class HaltDeskResponse(_message.Message):
    __slots__ = ("risk",)
    RISK_FIELD_NUMBER: _ClassVar[int]
    risk: Risk
    def __init__(self, risk: _Optional[_Union[Risk, _Mapping]] = ...) -> None: ...

class WatchMarketsRequest(_message.Message):
    __slots__ = ("kinds",)
    KINDS_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kinds: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchMarketsResponse(_message.Message):
    __slots__ = ("kind", "at_ns", "body_json", "lost")
    KIND_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    BODY_JSON_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    kind: str
    at_ns: int
    body_json: str
    lost: int
    def __init__(self, kind: _Optional[str] = ..., at_ns: _Optional[int] = ..., body_json: _Optional[str] = ..., lost: _Optional[int] = ...) -> None: ...
