from protos import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OfferState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OFFER_STATE_UNSPECIFIED: _ClassVar[OfferState]
    OFFER_STATE_RESTED: _ClassVar[OfferState]
    OFFER_STATE_FILLED: _ClassVar[OfferState]
    OFFER_STATE_CANCELLED: _ClassVar[OfferState]
    OFFER_STATE_REFUSED: _ClassVar[OfferState]
    OFFER_STATE_REDUCED: _ClassVar[OfferState]
OFFER_STATE_UNSPECIFIED: OfferState
OFFER_STATE_RESTED: OfferState
OFFER_STATE_FILLED: OfferState
OFFER_STATE_CANCELLED: OfferState
OFFER_STATE_REFUSED: OfferState
OFFER_STATE_REDUCED: OfferState

class EnrolRequest(_message.Message):
    __slots__ = ("token", "public_key", "csr_pem", "signature")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    CSR_PEM_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    token: str
    public_key: bytes
    csr_pem: bytes
    signature: bytes
    def __init__(self, token: _Optional[str] = ..., public_key: _Optional[bytes] = ..., csr_pem: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class EnrolResponse(_message.Message):
    __slots__ = ("device_id", "site_id", "zone", "certificate_chain_pem", "gateway_address")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    SITE_ID_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_CHAIN_PEM_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    site_id: str
    zone: str
    certificate_chain_pem: bytes
    gateway_address: str
    def __init__(self, device_id: _Optional[str] = ..., site_id: _Optional[str] = ..., zone: _Optional[str] = ..., certificate_chain_pem: _Optional[bytes] = ..., gateway_address: _Optional[str] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("csr_pem", "signature")
    CSR_PEM_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    csr_pem: bytes
    signature: bytes
    def __init__(self, csr_pem: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("certificate_chain_pem",)
    CERTIFICATE_CHAIN_PEM_FIELD_NUMBER: _ClassVar[int]
    certificate_chain_pem: bytes
    def __init__(self, certificate_chain_pem: _Optional[bytes] = ...) -> None: ...

class ConnectRequest(_message.Message):
    __slots__ = ("hello", "sealed", "heartbeat", "glimpse")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    GLIMPSE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    sealed: SealedPayload
    heartbeat: Heartbeat
    glimpse: SealedPayload
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., sealed: _Optional[_Union[SealedPayload, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., glimpse: _Optional[_Union[SealedPayload, _Mapping]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("welcome", "receipt", "refusal", "lease", "offers", "market", "checkpoint", "drain", "heartbeat")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    MARKET_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    receipt: Receipt
    refusal: BatchRefusal
    lease: LeaseOrder
    offers: OfferNews
    market: MarketNews
    checkpoint: Checkpoint
    drain: Drain
    heartbeat: Heartbeat
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ..., refusal: _Optional[_Union[BatchRefusal, _Mapping]] = ..., lease: _Optional[_Union[LeaseOrder, _Mapping]] = ..., offers: _Optional[_Union[OfferNews, _Mapping]] = ..., market: _Optional[_Union[MarketNews, _Mapping]] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("device_id", "agent_version", "boot_id", "receipt_pause_ms")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_PAUSE_MS_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    agent_version: str
    boot_id: int
    receipt_pause_ms: int
    def __init__(self, device_id: _Optional[str] = ..., agent_version: _Optional[str] = ..., boot_id: _Optional[int] = ..., receipt_pause_ms: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("durable_seq", "durable_link", "now_ns", "zone", "tick_micro_per_kwh", "price_min_micro_per_kwh", "price_max_micro_per_kwh", "gate_closure_s")
    DURABLE_SEQ_FIELD_NUMBER: _ClassVar[int]
    DURABLE_LINK_FIELD_NUMBER: _ClassVar[int]
    NOW_NS_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    TICK_MICRO_PER_KWH_FIELD_NUMBER: _ClassVar[int]
    PRICE_MIN_MICRO_PER_KWH_FIELD_NUMBER: _ClassVar[int]
    PRICE_MAX_MICRO_PER_KWH_FIELD_NUMBER: _ClassVar[int]
    GATE_CLOSURE_S_FIELD_NUMBER: _ClassVar[int]
    durable_seq: int
    durable_link: bytes
    now_ns: int
    zone: str
    tick_micro_per_kwh: int
    price_min_micro_per_kwh: int
    price_max_micro_per_kwh: int
    gate_closure_s: int
    def __init__(self, durable_seq: _Optional[int] = ..., durable_link: _Optional[bytes] = ..., now_ns: _Optional[int] = ..., zone: _Optional[str] = ..., tick_micro_per_kwh: _Optional[int] = ..., price_min_micro_per_kwh: _Optional[int] = ..., price_max_micro_per_kwh: _Optional[int] = ..., gate_closure_s: _Optional[int] = ...) -> None: ...

class SealedPayload(_message.Message):
    __slots__ = ("seq", "previous", "payload", "signature")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    seq: int
    previous: bytes
    payload: bytes
    signature: bytes
    def __init__(self, seq: _Optional[int] = ..., previous: _Optional[bytes] = ..., payload: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("now_ns",)
    NOW_NS_FIELD_NUMBER: _ClassVar[int]
    now_ns: int
    def __init__(self, now_ns: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("durable_seq",)
    DURABLE_SEQ_FIELD_NUMBER: _ClassVar[int]
    durable_seq: int
    def __init__(self, durable_seq: _Optional[int] = ...) -> None: ...

class BatchRefusal(_message.Message):
    __slots__ = ("seq", "refused", "expected_seq")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SEQ_FIELD_NUMBER: _ClassVar[int]
    seq: int
    refused: _common_pb2.Refused
    expected_seq: int
    def __init__(self, seq: _Optional[int] = ..., refused: _Optional[_Union[_common_pb2.Refused, _Mapping]] = ..., expected_seq: _Optional[int] = ...) -> None: ...

class LeaseOrder(_message.Message):
    __slots__ = ("lease_id", "not_before_ns", "expires_ns", "ramp_w_per_s", "power_w", "export_limit_w", "reason", "charge_limit_w", "import_limit_w")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_NS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_NS_FIELD_NUMBER: _ClassVar[int]
    RAMP_W_PER_S_FIELD_NUMBER: _ClassVar[int]
    POWER_W_FIELD_NUMBER: _ClassVar[int]
    EXPORT_LIMIT_W_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CHARGE_LIMIT_W_FIELD_NUMBER: _ClassVar[int]
    IMPORT_LIMIT_W_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    not_before_ns: int
    expires_ns: int
    ramp_w_per_s: int
    power_w: int
    export_limit_w: int
    reason: str
    charge_limit_w: int
    import_limit_w: int
    def __init__(self, lease_id: _Optional[str] = ..., not_before_ns: _Optional[int] = ..., expires_ns: _Optional[int] = ..., ramp_w_per_s: _Optional[int] = ..., power_w: _Optional[int] = ..., export_limit_w: _Optional[int] = ..., reason: _Optional[str] = ..., charge_limit_w: _Optional[int] = ..., import_limit_w: _Optional[int] = ...) -> None: ...

class OfferNews(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[OfferOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[OfferOutcome, _Mapping]]] = ...) -> None: ...

class OfferOutcome(_message.Message):
    __slots__ = ("number", "state", "energy_wh", "price_micro_per_kwh", "refused")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ENERGY_WH_FIELD_NUMBER: _ClassVar[int]
    PRICE_MICRO_PER_KWH_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    number: int
    state: OfferState
    energy_wh: int
    price_micro_per_kwh: int
    refused: _common_pb2.Refused
    def __init__(self, number: _Optional[int] = ..., state: _Optional[_Union[OfferState, str]] = ..., energy_wh: _Optional[int] = ..., price_micro_per_kwh: _Optional[int] = ..., refused: _Optional[_Union[_common_pb2.Refused, _Mapping]] = ...) -> None: ...

class MarketNews(_message.Message):
    __slots__ = ("slot", "last_price_micro_per_kwh", "volume_wh")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    LAST_PRICE_MICRO_PER_KWH_FIELD_NUMBER: _ClassVar[int]
    VOLUME_WH_FIELD_NUMBER: _ClassVar[int]
    slot: int
    last_price_micro_per_kwh: int
    volume_wh: int
    def __init__(self, slot: _Optional[int] = ..., last_price_micro_per_kwh: _Optional[int] = ..., volume_wh: _Optional[int] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("note",)
    NOTE_FIELD_NUMBER: _ClassVar[int]
    note: bytes
    def __init__(self, note: _Optional[bytes] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("retry_after_s", "jitter_s")
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    JITTER_S_FIELD_NUMBER: _ClassVar[int]
    retry_after_s: int
    jitter_s: int
    def __init__(self, retry_after_s: _Optional[int] = ..., jitter_s: _Optional[int] = ...) -> None: ...
