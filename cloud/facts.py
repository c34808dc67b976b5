"""Everything that can have happened. Facts are what the machines answer, and all that others see.

A fact with `LOGGED` true is a leaf of the transparency log: its bytes, as `encode_fact` makes
them, are what a receipt proves. Tags and field order are as lasting as those of commands.

A fact may grow at its end, by fields with a default that means what was true before: at the end of a
fact, and of the records in it, values equal to their default are not written. So an old journal still
makes its old leaves.
"""

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar, get_args

import msgspec

from cloud.commands import (
    CurveSegment,
    Delivery,
    GridRules,
    MeterSlot,
    ShareRules,
    StakeRules,
    TradeTerms,
    ZoneRules,
)
from protos.ids import AccountId, DeviceId, SiteId


class Fact(msgspec.Struct, frozen=True, array_like=True):
    """One thing that happened."""

    LOGGED: ClassVar[bool] = True


# ---- registry ------------------------------------------------------------------------------


class SiteCreated(Fact, frozen=True, array_like=True, tag=1):
    site: SiteId
    zone: str
    node: int
    account: AccountId


class TokenIssued(Fact, frozen=True, array_like=True, tag=2):
    token_sha256: bytes
    site: SiteId
    expires_ns: int


class DeviceEnrolled(Fact, frozen=True, array_like=True, tag=3):
    device: DeviceId
    public_key: bytes
    site: SiteId
    zone: str
    node: int
    account: AccountId


class EnrolmentRefused(Fact, frozen=True, array_like=True, tag=4):
    token_sha256: bytes
    reason: int


class DeviceRevoked(Fact, frozen=True, array_like=True, tag=5):
    device: DeviceId
    zone: str
    reason: str


class AuthorityRegistered(Fact, frozen=True, array_like=True, tag=6):
    authority: str
    rank: int
    area: str
    public_key: bytes = b""


class RegistryRefused(Fact, frozen=True, array_like=True, tag=7):
    subject: str
    reason: int


# ---- zone ----------------------------------------------------------------------------------


class ZoneOpened(Fact, frozen=True, array_like=True, tag=10):
    zone: str
    network_sha256: bytes
    first_slot: int
    rules: ZoneRules


class GatewayAdmitted(Fact, frozen=True, array_like=True, tag=11):
    zone: str
    device: DeviceId
    account: AccountId
    node: int


class GatewayExpelled(Fact, frozen=True, array_like=True, tag=12):
    zone: str
    device: DeviceId


class BatchAccepted(Fact, frozen=True, array_like=True, tag=13):
    """An envelope is durable and applied. `link` is its hash; the payload stays in the journal."""

    zone: str
    device: DeviceId
    seq: int
    link: bytes
    readings: int
    offers: int


class BatchRefused(Fact, frozen=True, array_like=True, tag=14):
    zone: str
    device: DeviceId
    seq: int
    reason: int


class Telemetry(Fact, frozen=True, array_like=True, tag=15):
    """A home's newest signed power, once a batch. Too plentiful to be worth a leaf each.

    Voltage (of the lowest and the highest live phase) and frequency are -1 where no meter has them.
    """

    LOGGED: ClassVar[bool] = False

    zone: str
    device: DeviceId
    account: AccountId
    at_ns: int
    grid_w: int
    pv_w: int
    battery_w: int
    load_w: int
    soc_per_mille: int
    capacity_wh: int
    max_charge_w: int
    max_discharge_w: int
    voltage_low_mv: int = -1
    voltage_high_mv: int = -1
    frequency_mhz: int = -1


class OfferRested(Fact, frozen=True, array_like=True, tag=16):
    """What of an offer waits in the book."""

    zone: str
    slot: int
    device: DeviceId
    number: int
    account: AccountId
    side: int
    energy_wh: int
    price_micro_per_kwh: int


class Traded(Fact, frozen=True, array_like=True, tag=17):
    """Two offers met. `trade` counts from 1 in its zone; the price is the resting side's.

    In an auction it is the seller's node's, and the congestion rent is what the energy costs more
    at the buyer's node. The wheeling fee is what the zone's rules ask between their two areas.
    """

    zone: str
    slot: int
    trade: int
    energy_wh: int
    price_micro_per_kwh: int
    buyer: AccountId
    buyer_device: DeviceId
    buyer_number: int
    seller: AccountId
    seller_device: DeviceId
    seller_number: int
    rent_micro: int = 0
    wheeling_micro_per_kwh: int = 0


class OfferRefused(Fact, frozen=True, array_like=True, tag=18):
    zone: str
    slot: int
    device: DeviceId
    number: int
    energy_wh: int
    reason: int


class OfferCancelled(Fact, frozen=True, array_like=True, tag=19):
    """What was left of an offer is gone. `reason` 0 means its owner asked for it."""

    zone: str
    slot: int
    device: DeviceId
    number: int
    energy_wh: int
    reason: int


class OfferReduced(Fact, frozen=True, array_like=True, tag=150):
    """A part of an offer is gone without a trade, because it met an offer of the same account."""

    zone: str
    slot: int
    device: DeviceId
    number: int
    energy_wh: int
    left_wh: int


class ElementFlow(msgspec.Struct, frozen=True, array_like=True):
    """Power through a network element, positive towards the customers, against its limit."""

    element: int
    power_w: int
    limit_w: int


class GateClosed(Fact, frozen=True, array_like=True, tag=20):
    """No more trading for this slot. The flows are the most loaded elements with all trades in."""

    zone: str
    slot: int
    trades: int
    volume_wh: int
    last_price_micro_per_kwh: int
    flows: tuple[ElementFlow, ...]


class SlotMetered(Fact, frozen=True, array_like=True, tag=21):
    zone: str
    slot: int
    revision: int
    meters: tuple[MeterSlot, ...]


class LimitOverridden(Fact, frozen=True, array_like=True, tag=22):
    zone: str
    element: int
    limit_w: int
    authority: str
    reason: str
    until_ns: int
    starts_ns: int = 0
    order_id: str = ""


class ZoneRefused(Fact, frozen=True, array_like=True, tag=23):
    """An operator's or authority's command that was not carried out."""

    zone: str
    subject: str
    reason: int


class CurtailmentPlanned(Fact, frozen=True, array_like=True, tag=24):
    zone: str
    order_id: str
    element: int
    limit_w: int
    starts_ns: int
    ends_ns: int
    authority: str
    reason: str
    gateways: int


class LeaseIssued(Fact, frozen=True, array_like=True, tag=25):
    """A setpoint for one gateway; the gate's dispatch lane carries it. Absent values are None."""

    lease_id: str
    device: DeviceId
    not_before_ns: int
    expires_ns: int
    ramp_w_per_s: int
    power_w: int | None
    export_limit_w: int | None
    reason: str
    import_limit_w: int | None = None


class LeaseReported(Fact, frozen=True, array_like=True, tag=26):
    zone: str
    device: DeviceId
    lease_id: str
    state: int
    at_ns: int
    applied_w: int
    measured_w: int


class RefereeRecorded(Fact, frozen=True, array_like=True, tag=27):
    zone: str
    slot: int
    converged: bool
    worst_element: int
    worst_loading_per_mille: int
    voltage_min_per_mille: int
    voltage_max_per_mille: int


class EdgePrice(msgspec.Struct, frozen=True, array_like=True):
    """By how much energy is dearer below an element than above it, and how full that was."""

    element: int
    step_micro_per_kwh: int
    loading_per_mille: int


class PricesIndicated(Fact, frozen=True, array_like=True, tag=28):
    """The steps that are not zero. A signal before the gate; `is_final` says they were paid."""

    LOGGED: ClassVar[bool] = False

    zone: str
    slot: int
    steps: tuple[EdgePrice, ...]
    is_final: bool = False


class OverrideContested(Fact, frozen=True, array_like=True, tag=29):
    """Two authorities' limits for one element contradict; `by` rank, area or time one holds."""

    zone: str
    element: int
    holds: str
    holds_limit_w: int
    yields: str
    yields_limit_w: int
    by: str


# ---- bank ----------------------------------------------------------------------------------


class AccountOpened(Fact, frozen=True, array_like=True, tag=30):
    account: AccountId
    kind: str
    zone: str


class AllowanceChanged(Fact, frozen=True, array_like=True, tag=31):
    """What the account may owe in its zone from now on."""

    account: AccountId
    zone: str
    allowance_micro: int


class Posted(Fact, frozen=True, array_like=True, tag=32):
    """One double-entry posting: `amount` of `asset` left `debit` and entered `credit`."""

    transfer_id: str
    debit: AccountId
    credit: AccountId
    asset: str
    amount: int
    code: str
    slot: int


class TradesReserved(Fact, frozen=True, array_like=True, tag=33):
    zone: str
    slot: int
    trades: tuple[TradeTerms, ...]
    escrow_micro: int


class BankRefused(Fact, frozen=True, array_like=True, tag=34):
    subject: str
    reason: int


class Statement(Fact, frozen=True, array_like=True, tag=35):
    """One account's slot: the leaf that a household's receipt proves. Money is what changed.

    `wheeling_micro` is the part of the fees that was paid for the way between two areas; `banked_wh`
    the unsold export that stays with the account as tokens.
    """

    zone: str
    slot: int
    revision: int
    account: AccountId
    import_wh: int
    export_wh: int
    bought_wh: int
    sold_wh: int
    delivered_bought_wh: int
    delivered_sold_wh: int
    minted_wh: int
    burned_wh: int
    money_micro: int
    fees_micro: int
    wheeling_micro: int = 0
    banked_wh: int = 0


class SlotSettled(Fact, frozen=True, array_like=True, tag=36):
    zone: str
    slot: int
    revision: int
    trades: int
    sold_wh: int
    delivered_wh: int
    minted_wh: int
    burned_wh: int
    fees_micro: int
    conservation_error_wh: int
    accounts: tuple[AccountId, ...]
    grouped: bool = False


class BlockSealed(Fact, frozen=True, array_like=True, tag=37):
    """The root over the first `size` leaves. It is itself the next leaf."""

    number: int
    size: int
    root: bytes
    at_ns: int


class SupplyOpened(Fact, frozen=True, array_like=True, tag=38):
    rules: StakeRules


class ValidatorRegistered(Fact, frozen=True, array_like=True, tag=39):
    account: AccountId
    key: str


class StakeBonded(Fact, frozen=True, array_like=True, tag=40):
    """`bonded` is all that is now bound to the validator."""

    account: AccountId
    validator: AccountId
    amount: int
    bonded: int


class StakeUnbonding(Fact, frozen=True, array_like=True, tag=41):
    account: AccountId
    validator: AccountId
    amount: int
    release_ns: int


class StakeReleased(Fact, frozen=True, array_like=True, tag=42):
    """Less than was asked for, if it was slashed meanwhile."""

    account: AccountId
    validator: AccountId
    amount: int


class StakeSlashed(Fact, frozen=True, array_like=True, tag=43):
    """Burned for two roots of one size; the two signed statements stand here for everybody."""

    validator: AccountId
    size: int
    amount: int
    first: str
    second: str


class SupplyInflated(Fact, frozen=True, array_like=True, tag=44):
    year: int
    amount: int
    outstanding: int


class RewardsPaid(Fact, frozen=True, array_like=True, tag=45):
    reward_id: str
    asset: str
    amount: int
    accounts: tuple[AccountId, ...]


class RecordCommitted(Fact, frozen=True, array_like=True, tag=46):
    commitment: bytes
    purpose: str


class RecordsErased(Fact, frozen=True, array_like=True, tag=47):
    """Nobody can read these records any more; what else the log proves still holds."""

    commitments: tuple[bytes, ...]
    ground: str


class TransfersPosted(Fact, frozen=True, array_like=True, tag=48):
    """A batch of transfers was done, but for those refused: (index, reason), in order.

    `root` is the RFC 6962 root over the batch in leaves of 16 records, with their outcomes as u16
    behind them; `posted` counts those that were not done before.
    """

    hour: int
    records: int
    posted: int
    root: bytes
    refused: tuple[tuple[int, int], ...]


class BatchPosted(Fact, frozen=True, array_like=True, tag=180):
    """A batch of transfers of which each can be proven by itself (`cloud.ledger.transfer_proofs`).

    `root` is the RFC 6962 root over the records, one a leaf, each with its outcome as u16 behind it;
    `posted` counts those that were done and not done before. `TransfersRefused` follows if any was.
    """

    hour: int
    records: int
    posted: int
    root: bytes


class TransfersRefused(Fact, frozen=True, array_like=True, tag=181):
    """Which transfers of the batch before were refused: (index, reason), in order.

    A leaf of its own, right behind the batch's, which must stay small to be proven.
    """

    hour: int
    refused: tuple[tuple[int, int], ...]


class TransfersExpired(Fact, frozen=True, array_like=True, tag=49):
    """Reservations whose time passed; what they held is free again."""

    transfer_ids: tuple[bytes, ...]


class PseudonymsAssigned(Fact, frozen=True, array_like=True, tag=123):
    """So many accounts and devices have other names in the leaves from here on."""

    period: int
    count: int


class AllowancesChanged(Fact, frozen=True, array_like=True, tag=120):
    """AllowanceChanged for many accounts. No leaf: postings and statements prove the balances."""

    LOGGED: ClassVar[bool] = False

    zone: str
    accounts: tuple[AccountId, ...]
    allowances_micro: tuple[int, ...]


class TradesRefused(Fact, frozen=True, array_like=True, tag=121):
    """Trades that the zone made and the bank could not reserve for, and why. Parallel columns."""

    zone: str
    slot: int
    trades: tuple[int, ...]
    reasons: tuple[int, ...]


class TradeVoided(Fact, frozen=True, array_like=True, tag=122):
    """A trade did not come about. What it took of the grid is free again, if the gate is open."""

    zone: str
    slot: int
    trade: int
    energy_wh: int
    buyer_device: DeviceId
    buyer_number: int
    seller_device: DeviceId
    seller_number: int
    reason: int


# ---- desk ----------------------------------------------------------------------------------


class DeskOpened(Fact, frozen=True, array_like=True, tag=50):
    power_max_w: int
    exposure_max_micro: int
    power_min_w: int


class PriceObserved(Fact, frozen=True, array_like=True, tag=51):
    LOGGED: ClassVar[bool] = False

    venue: str
    node: str
    market: str
    starts_ns: int
    duration_ns: int
    price_micro_per_mwh: int


class StorageSaid(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What a bid says of the batteries behind it, all of them taken as one store.

    `stored_wh` is the energy expected in them when the hour starts, and the bounds are what it may
    be used between, the owners' reserves below and the limits above being kept: 0 <= minimum <=
    stored <= maximum. `ramp_w_per_min` is how fast their power can change; 0 is a bid of an older
    journal, which says nothing. By keyword, so that they stand at the end of every kind of bid.
    """

    stored_wh: int = 0
    soc_min_wh: int = 0
    soc_max_wh: int = 0
    ramp_w_per_min: int = 0


class BidPrepared(Fact, StorageSaid, frozen=True, array_like=True, tag=52):
    """A bid that passed the risk limits and is to be submitted before its gate."""

    bid_id: str
    venue: str
    node: str
    market: str
    starts_ns: int
    duration_ns: int
    gate_ns: int
    curve: tuple[CurveSegment, ...]

    @property
    def product(self) -> str:
        """What is sold: EN is energy."""
        return "EN"


class ReservePrepared(BidPrepared, frozen=True, array_like=True, tag=191):
    """An offer of reserve capacity, to be submitted like any bid. Its curve has one step, from 0 to
    the capacity; `call_s` is how long the venue may call it.
    """

    reserve: str
    call_s: int

    @property
    def product(self) -> str:
        return self.reserve


class BidHeldBack(Fact, frozen=True, array_like=True, tag=53):
    """No bid for this hour, and why."""

    venue: str
    starts_ns: int
    reason: int


class BidAnswered(Fact, frozen=True, array_like=True, tag=54):
    bid_id: str
    accepted: bool
    venue_reference: str
    reason: str


class Awarded(Fact, frozen=True, array_like=True, tag=55):
    bid_id: str
    venue: str
    starts_ns: int
    duration_ns: int
    power_w: int
    price_micro_per_mwh: int


class AwardMetered(Fact, frozen=True, array_like=True, tag=56):
    """What the fleet really did, from its own reports, and what that is worth."""

    bid_id: str
    awarded_wh: int
    delivered_wh: int
    revenue_micro: int
    starts_ns: int = 0


class DeskRefused(Fact, frozen=True, array_like=True, tag=57):
    """A command to the desk that was not carried out."""

    subject: str
    reason: int


class BidSubmitted(Fact, frozen=True, array_like=True, tag=58):
    bid_id: str


class BidCancelled(Fact, frozen=True, array_like=True, tag=59):
    bid_id: str
    rebid: bool


class BidSettled(Fact, frozen=True, array_like=True, tag=60):
    """The statement's word on a bid, beside what the fleet's own meters make of it."""

    bid_id: str
    version: int
    amount_micro: int
    expected_micro: int


class DeskHalted(Fact, frozen=True, array_like=True, tag=61):
    """The kill switch was turned."""

    is_halted: bool
    reason: str


class DayLimited(Fact, frozen=True, array_like=True, tag=62):
    deviation_max_wh: int
    loss_max_micro: int
    soc_min_per_mille: int
    soc_max_per_mille: int


class SharingSet(Fact, frozen=True, array_like=True, tag=63):
    rules: ShareRules


class RevenueStated(Fact, frozen=True, array_like=True, tag=64):
    """What a statement pays for a bid, in the zones' currency, and which homes delivered for it."""

    LOGGED: ClassVar[bool] = False

    venue: str
    bid_id: str
    version: int
    amount_micro: int
    owners_per_mille: int
    deliveries: tuple[Delivery, ...]


class FirmPromised(Fact, frozen=True, array_like=True, tag=65):
    is_on: bool


class StorageStated(Fact, frozen=True, array_like=True, tag=210):
    """From here on bids say their storage, or no longer."""

    is_on: bool


class EnergyValued(Fact, frozen=True, array_like=True, tag=220):
    """The hour's bid will follow a worth of energy that was told, between these two."""

    venue: str
    node: str
    starts_ns: int
    lowest_micro: int
    highest_micro: int


class ReserveCalled(Fact, frozen=True, array_like=True, tag=192):
    """An awarded reserve delivers power from now on; the leases follow."""

    bid_id: str
    starts_ns: int
    duration_ns: int
    power_w: int


class ReserveMetered(Fact, frozen=True, array_like=True, tag=193):
    """What became of an awarded interval of reserve: capacity held, energy called and delivered, and
    its money, which for regulation is in proportion to the performance.
    """

    bid_id: str
    starts_ns: int
    capacity_wh: int
    called_wh: int
    delivered_wh: int
    performance_per_mille: int
    revenue_micro: int


class CurrenciesDeclared(Fact, frozen=True, array_like=True, tag=190):
    zones: str
    venues: str
    rate_micro: int


class RevenueShared(Fact, frozen=True, array_like=True, tag=140):
    """A venue's payment reached the homes' accounts; what a correction took back is still owed."""

    venue: str
    bid_id: str
    version: int
    amount_micro: int
    owners_micro: int
    owed_micro: int
    homes: int


# ---- the zone's grid -------------------------------------------------------------------------


class GridRulesSet(Fact, frozen=True, array_like=True, tag=110):
    zone: str
    rules: GridRules


class OutageChanged(Fact, frozen=True, array_like=True, tag=111):
    """An element seems to have failed, or its homes are heard again. While it lasts the homes
    below it do not trade for the slots that are near.
    """

    zone: str
    element: int
    is_out: bool
    gateways: int
    gasps: int
    since_ns: int


class QualityAlarm(Fact, frozen=True, array_like=True, tag=112):
    """Frequency (mHz) or a home's voltage (per mille of rated) has changed its level.

    `subject` is "frequency" or a device; levels are those of cloud.grid.quality, 0 is normal.
    """

    zone: str
    subject: str
    level: int
    value: int
    at_ns: int


class HomeEnvelope(msgspec.Struct, frozen=True, array_like=True):
    """The most a home may draw and feed in, in W, whatever the others do."""

    device: DeviceId
    import_limit_w: int
    export_limit_w: int


class EnvelopesSet(Fact, frozen=True, array_like=True, tag=113):
    """The operating envelopes of a slot whose gate has closed. Leases enforce what binds."""

    LOGGED: ClassVar[bool] = False

    zone: str
    slot: int
    homes: tuple[HomeEnvelope, ...]


class HomeCompensation(msgspec.Struct, frozen=True, array_like=True):
    """What a home is kept from by a re-dispatch, and what keeps it whole. Positive power is feed-in
    that is taken back, negative a draw that its battery meets.
    """

    device: DeviceId
    account: AccountId
    power_w: int
    energy_wh: int
    compensation_micro: int


class Redispatched(Fact, frozen=True, array_like=True, tag=114):
    """A closed slot was beyond a limit by AC power flow, and is brought back; both figures stand
    here. The trades stand; the grid operator owes the compensation.
    """

    zone: str
    slot: int
    element: int
    exporting: bool
    before_per_mille: int
    after_per_mille: int
    homes: tuple[HomeCompensation, ...]


class ReserveActivated(Fact, frozen=True, array_like=True, tag=115):
    """Tertiary reserve was called. `activated_w` is what the batteries below could give."""

    zone: str
    order_id: str
    element: int
    power_w: int
    activated_w: int
    starts_ns: int
    ends_ns: int
    authority: str
    reason: str
    gateways: int


class SignalFollowed(Fact, frozen=True, array_like=True, tag=116):
    """Where the fleet was set after a signal of secondary reserve. Too frequent for leaves."""

    LOGGED: ClassVar[bool] = False

    zone: str
    element: int
    power_w: int
    set_w: int
    gateways: int


class ResponseHome(msgspec.Struct, frozen=True, array_like=True):
    """A home in a demand response event: what it drew before, and by how much less it is asked."""

    device: DeviceId
    baseline_w: int
    reduction_w: int


class ResponseCalled(Fact, frozen=True, array_like=True, tag=117):
    """A demand response event, with every home's baseline as it is settled by."""

    zone: str
    order_id: str
    element: int
    reduction_w: int
    starts_ns: int
    ends_ns: int
    authority: str
    reason: str
    homes: tuple[ResponseHome, ...]


class ResponseEnded(Fact, frozen=True, array_like=True, tag=118):
    """What came of an event: mean reduction against the baselines while it ran, by home."""

    zone: str
    order_id: str
    asked_w: int
    reduced_w: int
    homes: tuple[ResponseHome, ...]


class StateEstimated(Fact, frozen=True, array_like=True, tag=119):
    """The grid as the telemetry shows it: see RecordState."""

    LOGGED: ClassVar[bool] = False

    zone: str
    slot: int
    converged: bool
    measured: int
    assumed: int
    voltage_min_per_mille: int
    voltage_max_per_mille: int
    flows: tuple[tuple[int, int, int], ...]
    rejected: tuple[DeviceId, ...]


class LoopsChecked(Fact, frozen=True, array_like=True, tag=160):
    """An open slot of a network with loops by AC power flow; the room follows it. See CheckLoops."""

    LOGGED: ClassVar[bool] = False

    zone: str
    slot: int
    trades: int
    converged: bool
    worst_loading_per_mille: int
    voltage_min_per_mille: int
    voltage_max_per_mille: int


AnyFact = (
    SiteCreated
    | TokenIssued
    | DeviceEnrolled
    | EnrolmentRefused
    | DeviceRevoked
    | AuthorityRegistered
    | RegistryRefused
    | ZoneOpened
    | GatewayAdmitted
    | GatewayExpelled
    | BatchAccepted
    | BatchRefused
    | Telemetry
    | OfferRested
    | Traded
    | OfferRefused
    | OfferCancelled
    | GateClosed
    | SlotMetered
    | LimitOverridden
    | ZoneRefused
    | CurtailmentPlanned
    | LeaseIssued
    | LeaseReported
    | RefereeRecorded
    | LoopsChecked
    | PricesIndicated
    | OverrideContested
    | AccountOpened
    | AllowanceChanged
    | Posted
    | TradesReserved
    | BankRefused
    | Statement
    | SlotSettled
    | BlockSealed
    | SupplyOpened
    | ValidatorRegistered
    | StakeBonded
    | StakeUnbonding
    | StakeReleased
    | StakeSlashed
    | SupplyInflated
    | RewardsPaid
    | RecordCommitted
    | RecordsErased
    | TransfersPosted
    | BatchPosted
    | TransfersRefused
    | TransfersExpired
    | PseudonymsAssigned
    | AllowancesChanged
    | TradesRefused
    | TradeVoided
    | DeskOpened
    | PriceObserved
    | BidPrepared
    | BidHeldBack
    | BidAnswered
    | Awarded
    | AwardMetered
    | DeskRefused
    | BidSubmitted
    | BidCancelled
    | BidSettled
    | DeskHalted
    | DayLimited
    | SharingSet
    | RevenueStated
    | FirmPromised
    | StorageStated
    | EnergyValued
    | CurrenciesDeclared
    | ReservePrepared
    | ReserveCalled
    | ReserveMetered
    | RevenueShared
    | GridRulesSet
    | OutageChanged
    | QualityAlarm
    | EnvelopesSet
    | Redispatched
    | ReserveActivated
    | SignalFollowed
    | ResponseCalled
    | ResponseEnded
    | StateEstimated
    | OfferReduced
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyFact] = msgspec.msgpack.Decoder(AnyFact)


def encode_fact(fact: Fact) -> bytes:
    """The fact's bytes, which any MessagePack reader can open."""
    return _encode_as(type(fact))(fact)


def fact_values(fact: Fact) -> list[Any]:
    """Tag and values as they are written, before they are bytes."""
    return _values_as(type(fact))(fact)


def fact_heads(kind: type[Fact]) -> list[bytes]:
    """How the bytes of such a fact may begin: an array's length, by what is left out, and the tag."""
    most = len(kind.__struct_fields__) + 1
    least = most - len(kind.__struct_defaults__)
    tag = _encoder.encode(kind.__struct_config__.tag)
    return [_array_head(length) + tag for length in range(least, most + 1)]


@cache
def _encode_as(kind: type[msgspec.Struct]) -> Callable[[msgspec.Struct], bytes]:
    """The quickest way to the bytes of a kind of fact."""
    if any(map(_may_grow, _records_in(kind).values())):
        values_of = _values_as(kind)
        return lambda fact: _encoder.encode(values_of(fact))
    if kind.__struct_defaults__:
        return _encode_short(kind)
    return _encoder.encode


def _encode_short(kind: type[msgspec.Struct]) -> Callable[[msgspec.Struct], bytes]:
    """The bytes of the whole fact, cut where its defaults begin, under the shorter length."""
    defaults = kind.__struct_defaults__
    last = list(zip(kind.__struct_fields__[-len(defaults) :], defaults, strict=True))[::-1]
    length = len(kind.__struct_fields__) + 1
    skip = len(_array_head(length))
    heads = [_array_head(length - left_out) for left_out in range(len(last) + 1)]
    tails = [0]
    for _, default in last:
        tails.append(tails[-1] + len(_encoder.encode(default)))

    def encode(fact: msgspec.Struct) -> bytes:
        body = _encoder.encode(fact)
        left_out = 0
        for name, default in last:
            if getattr(fact, name) != default:
                break
            left_out += 1
        if not left_out:
            return body
        return heads[left_out] + body[skip : len(body) - tails[left_out]]

    return encode


def _array_head(length: int) -> bytes:
    """MessagePack's beginning of an array."""
    return bytes((0x90 | length,)) if length < 16 else b"\xdc" + length.to_bytes(2, "big")


@cache
def _values_as(kind: type[msgspec.Struct]) -> Callable[[msgspec.Struct], list[Any]]:
    """Makes the list of a record's values, its tag first where it has one."""
    values_of = attrgetter(*kind.__struct_fields__, "__class__")
    tag = kind.__struct_config__.tag
    head = [] if tag is None else [tag]
    defaults = kind.__struct_defaults__
    required = len(kind.__struct_fields__) - len(defaults)
    inner = {place: _values_as(one) for place, one in _records_in(kind).items()}

    def values(record: msgspec.Struct) -> list[Any]:
        *found, _ = values_of(record)
        kept = len(found)
        while kept > required and found[kept - 1] == defaults[kept - 1 - required]:
            kept -= 1
        for place, of in inner.items():
            one = found[place]
            found[place] = [*map(of, one)] if isinstance(one, tuple) else of(one)
        return head + found[:kept]

    return values


def _may_grow(kind: type[msgspec.Struct]) -> bool:
    return bool(kind.__struct_defaults__) or any(map(_may_grow, _records_in(kind).values()))


def _records_in(kind: type[msgspec.Struct]) -> dict[int, type[msgspec.Struct]]:
    """By place the fields that are records themselves, or tuples of them."""
    found = {}
    for place, field in enumerate(msgspec.structs.fields(kind)):
        for one in (field.type, *get_args(field.type)):
            if isinstance(one, type) and issubclass(one, msgspec.Struct):
                found[place] = one
    return found


def decode_fact(data: bytes) -> AnyFact:
    return _decoder.decode(data)
