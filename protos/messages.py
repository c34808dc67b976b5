"""What is said between a gateway and the cloud, as plain frozen records of integers.

`protos/codec.py` turns these into the bytes that are sealed; no other module knows both forms.
Signs: power and energy are seen from the grid connection. `import` flows from the grid into the
home. A generator's or a battery's own power is positive when it produces or discharges.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from protos.ids import DeviceId


class Quantity(IntEnum):
    """What a register measures. The unit belongs to the quantity and is never sent."""

    POWER_W = 1
    ENERGY_IMPORT_WH = 2
    ENERGY_EXPORT_WH = 3
    VOLTAGE_MV = 4
    CURRENT_MA = 5
    FREQUENCY_MHZ = 6
    POWER_FACTOR_PER_MILLE = 7
    REACTIVE_POWER_VAR = 8
    APPARENT_POWER_VA = 9
    STATE_OF_CHARGE_PER_MILLE = 10
    STATE_OF_HEALTH_PER_MILLE = 11
    TEMPERATURE_DECI_C = 12
    ENERGY_PRODUCED_WH = 13
    ENERGY_CONSUMED_WH = 14
    DC_POWER_W = 15
    DC_VOLTAGE_MV = 16
    CAPACITY_WH = 17
    POWER_MAX_CHARGE_W = 18
    POWER_MAX_DISCHARGE_W = 19
    STATUS = 20


class Role(IntEnum):
    """Which part of the home a device measures. Only the GRID meter's counters are billed."""

    GRID = 1
    PV = 2
    BATTERY = 3
    LOAD = 4
    EV_CHARGER = 5


class Quality(IntEnum):
    """How far a value may be trusted. Anything but GOOD never mints a token."""

    GOOD = 0
    STALE = 1
    NOT_AVAILABLE = 2
    SUSPECT = 3
    SUBSTITUTED = 4


class ClockQuality(IntEnum):
    UNKNOWN = 0
    SYNCHRONISED = 1
    FREE_RUNNING = 2


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """A metered device behind the gateway, and the profile revision it was read with."""

    name: str
    role: Role
    profile: str
    profile_revision: int
    serial: str = ""


@dataclass(frozen=True, slots=True)
class RegisterEntry:
    """One column: a quantity of one device. `phase` is 0 for the total, else 1 to 3."""

    device: int
    quantity: Quantity
    phase: int = 0
    billing: bool = False


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """The columns of all later sweeps that name this `map_id`. A changed map takes a new id."""

    map_id: int
    devices: tuple[DeviceEntry, ...]
    registers: tuple[RegisterEntry, ...]


@dataclass(frozen=True, slots=True)
class QualityMark:
    """The exception to GOOD at one place of a batch."""

    sweep: int
    register: int
    quality: Quality


@dataclass(frozen=True, slots=True)
class SweepBatch:
    """Several sweeps over all registers of a map.

    `times_ms[d][t]` is when device d answered sweep t, UTC; `values[r][t]` is register r's integer
    in its quantity's unit. Both are column-major because that is how they travel. A value whose
    mark says NOT_AVAILABLE repeats the last one and means nothing. `newest_ms` is the last of all
    times, where whoever made the batch had it at hand; else 0.
    """

    map_id: int
    boot_id: int
    monotonic_ms: int
    clock_quality: ClockQuality
    times_ms: tuple[tuple[int, ...], ...]
    values: Sequence[tuple[int, ...]]
    marks: tuple[QualityMark, ...] = ()
    newest_ms: int = field(default=0, compare=False)

    @property
    def sweeps(self) -> int:
        return len(self.times_ms[0]) if self.times_ms else 0

    @property
    def readings(self) -> int:
        return self.sweeps * len(self.values)


class Side(IntEnum):
    BUY = 0
    SELL = 1


class OrderKind(IntEnum):
    LIMIT = 0
    MARKET = 1
    GRID_BALANCING = 2
    EMERGENCY = 3


class TimeInForce(IntEnum):
    GOOD_TILL_GATE = 0
    IMMEDIATE_OR_CANCEL = 1
    FILL_OR_KILL = 2


class SelfTrade(IntEnum):
    """What gives way where an offer would meet one of its own account."""

    OLDEST = 0
    """The resting one."""
    NEWEST = 1
    """The one that comes in."""
    BOTH = 2
    DECREMENT = 3
    """Both lose the smaller amount, without a trade."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A wish to buy or sell energy in one delivery slot. Named for good by (device, number).

    `replaces` is the number of the sender's own open offer whose place it takes, 0 for none. It
    keeps that offer's time if it asks for no more energy at the same price.
    """

    number: int
    slot: int
    side: Side
    energy_wh: int
    price_micro_per_kwh: int
    kind: OrderKind = OrderKind.LIMIT
    time_in_force: TimeInForce = TimeInForce.GOOD_TILL_GATE
    renewable: bool = False
    replaces: int = 0
    self_trade: SelfTrade = SelfTrade.OLDEST


@dataclass(frozen=True, slots=True)
class Cancel:
    """Takes back what is left of the sender's own offer."""

    number: int


@dataclass(frozen=True, slots=True)
class OfferBatch:
    offers: tuple[Offer, ...] = ()
    cancels: tuple[Cancel, ...] = ()


class OfferState(IntEnum):
    """Where an offer stands. The numbers equal gateway.proto's OfferState."""

    RESTED = 1
    FILLED = 2
    CANCELLED = 3
    REFUSED = 4
    REDUCED = 5


@dataclass(frozen=True, slots=True)
class OfferOutcome:
    """What became of one offer. `reason` is empty unless it was refused or taken away."""

    number: int
    state: OfferState
    energy_wh: int = 0
    price_micro_per_kwh: int = 0
    reason: str = ""


class LeaseState(IntEnum):
    """Where a setpoint lease stands at the device."""

    ACCEPTED = 1
    ACTIVE = 2
    EXPIRED = 3
    REVERTED = 4
    REFUSED = 5
    FAILED = 6


@dataclass(frozen=True, slots=True)
class Lease:
    """A setpoint that ends by itself: the value, how fast to get there, and until when it holds.

    `power_w` is positive for discharge or production; `export_limit_w`, where given, caps what the
    home feeds in (a curtailment); `charge_limit_w` caps what its chargers draw together, 0 pauses
    them; `import_limit_w` caps what the home draws from the grid, as far as its batteries and chargers
    can. At least one of the four is set.
    """

    lease_id: str
    device: DeviceId
    not_before_ns: int
    expires_ns: int
    ramp_w_per_s: int
    power_w: int | None = None
    export_limit_w: int | None = None
    reason: str = ""
    charge_limit_w: int | None = None
    import_limit_w: int | None = None


@dataclass(frozen=True, slots=True)
class LeaseReport:
    """What the gateway did about a lease, with the power it then measured."""

    lease_id: str
    state: LeaseState
    at_ns: int
    applied_w: int
    measured_w: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LeaseReports:
    reports: tuple[LeaseReport, ...]


Payload = RegisterMap | SweepBatch | OfferBatch | LeaseReports


class Refusal(IntEnum):
    """Why something was not done. Stable numbers: they are in journals and on the wire."""

    UNKNOWN_DEVICE = 1
    REVOKED_DEVICE = 2
    BAD_SIGNATURE = 3
    SEQUENCE_GAP = 4
    REPLAYED = 5
    FORKED_CHAIN = 6
    MALFORMED = 7
    TOO_LARGE = 8
    FUTURE_DATED = 9
    TOO_OLD = 10
    UNKNOWN_MAP = 11
    BAD_ENERGY = 20
    BAD_PRICE = 21
    PRICE_OUTSIDE_BAND = 22
    PRICE_OFF_TICK = 23
    UNKNOWN_SLOT = 24
    GATE_CLOSED = 25
    NO_HEADROOM = 26
    NO_ALLOWANCE = 27
    POSITION_LIMIT = 28
    DUPLICATE_NUMBER = 29
    UNKNOWN_OFFER = 30
    NOT_AUTHORISED = 31
    TOO_MANY_OPEN_OFFERS = 32
    MARKET_UNFILLED = 33
    FILL_OR_KILL_UNFILLED = 34
    SELF_TRADE = 35
    UNKNOWN_ACCOUNT = 40
    WRONG_ASSET = 41
    INSUFFICIENT_FUNDS = 42
    CHANGED_REPLAY = 43
    OVER_POSTED = 44
    TOO_EARLY = 45
    BAD_TOKEN = 50
    EXPIRED = 51
    UNKNOWN_ELEMENT = 52
    BAD_INTERVAL = 53
    BELOW_MINIMUM = 54
    RISK_LIMIT = 55
    NO_PRICE = 56
    SUSPENDED = 110
    UNKNOWN_REASON = 111
    WRONG_AREA = 112
    TOO_OFTEN = 113
    ORDERS_PER_TRADE = 114
    BAD_REPLACEMENT = 120
    NO_RATE = 140
    NO_RESERVE = 141
    NOT_STORED = 160
    TOO_STEEP = 161
    NO_BATTERY = 162


ADVICE: dict[Refusal, str] = {
    Refusal.UNKNOWN_DEVICE: "enrol this gateway first: gridtokenx-edge enrol --token TOKEN",
    Refusal.REVOKED_DEVICE: "this device was revoked; ask the operator for a new enrolment token",
    Refusal.BAD_SIGNATURE: "the payload was not signed by this device's key; check the key file",
    Refusal.SEQUENCE_GAP: "send again from the sequence that the receipt names",
    Refusal.REPLAYED: "already stored; nothing to do",
    Refusal.FORKED_CHAIN: "another agent used this key; enrol this gateway anew with a fresh key",
    Refusal.MALFORMED: "the payload does not follow the treaty; update the agent",
    Refusal.TOO_LARGE: "send smaller batches, see protos/limits.py",
    Refusal.FUTURE_DATED: "set the gateway's clock (NTP), then send new readings",
    Refusal.TOO_OLD: "readings this old are no longer settled; drop them",
    Refusal.UNKNOWN_MAP: "send the register map before the readings that use it",
    Refusal.BAD_ENERGY: "offer between 1 Wh and 10 MWh",
    Refusal.BAD_PRICE: "the price is outside what 64-bit money can carry",
    Refusal.PRICE_OUTSIDE_BAND: "stay between the fallback export and import tariffs",
    Refusal.PRICE_OFF_TICK: "round the price to the market's tick",
    Refusal.UNKNOWN_SLOT: "offer for a slot of the next 24 hours",
    Refusal.GATE_CLOSED: "this slot's gate has closed; offer for a later slot",
    Refusal.NO_HEADROOM: "the grid has no room on this path; try another slot or a smaller amount",
    Refusal.NO_ALLOWANCE: "deposit money or wait for settlement, then offer again",
    Refusal.POSITION_LIMIT: "this account's limit for the slot is reached",
    Refusal.DUPLICATE_NUMBER: "offer numbers are used once; take the next number",
    Refusal.UNKNOWN_OFFER: "this offer is not open: filled, cancelled or never placed",
    Refusal.NOT_AUTHORISED: "this kind of order needs a registered grid authority",
    Refusal.TOO_MANY_OPEN_OFFERS: "cancel offers that are no longer wanted",
    Refusal.MARKET_UNFILLED: "nothing was left to trade with; use a limit offer to wait",
    Refusal.FILL_OR_KILL_UNFILLED: "the whole amount was not available at once",
    Refusal.SELF_TRADE: "both sides belong to one owner; nothing was traded",
    Refusal.UNKNOWN_ACCOUNT: "open the account first",
    Refusal.WRONG_ASSET: "both accounts must hold the asset that is moved",
    Refusal.INSUFFICIENT_FUNDS: "the account would fall below its floor",
    Refusal.CHANGED_REPLAY: "this id was used for a different transfer; make a new id",
    Refusal.OVER_POSTED: "no more can be posted than is pending",
    Refusal.TOO_EARLY: "wait for the end of the delivery slot",
    Refusal.BAD_TOKEN: "ask the operator for a new enrolment token; each works once, for 15 minutes",
    Refusal.EXPIRED: "it came after its deadline; ask again",
    Refusal.UNKNOWN_ELEMENT: "name a feeder or transformer of this zone's network",
    Refusal.BAD_INTERVAL: "the end must lie after the start, within limits",
    Refusal.BELOW_MINIMUM: "below the market's minimum size; wait for more homes to be available",
    Refusal.RISK_LIMIT: "outside the desk's risk limits; the operator can raise them",
    Refusal.NO_PRICE: "no price is known to value this hour by; load the venue's prices",
    Refusal.SUSPENDED: "the grid at this home is out; offer again when it is back",
    Refusal.UNKNOWN_REASON: "give one of the reason codes of protos/utility.proto",
    Refusal.TOO_OFTEN: "send a signal every four seconds, and never two in one",
    Refusal.WRONG_AREA: "this authority is registered for another area; order there",
    Refusal.ORDERS_PER_TRADE: "too many offers for this slot for what was traded; leave some open",
    Refusal.BAD_REPLACEMENT: "replace by a limit till the gate, same slot and side; else cancel",
    Refusal.NO_RESERVE: "the fleet has not this much power and energy left for the hour; offer less",
    Refusal.NOT_STORED: "the batteries would leave their energy bounds; offer less for this hour",
    Refusal.NO_BATTERY: "no battery was heard in the last 15 minutes; offer when the homes report",
    Refusal.TOO_STEEP: "the batteries cannot turn this fast, hour to hour included; offer less",
    Refusal.NO_RATE: "the venue pays in another currency; set [desk] rate_micro to its rate",
}
"""What the sender can do about each refusal."""
