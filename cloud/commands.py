"""Everything that can be asked of the four machines. A command is journaled before it is applied.

The tag of a command and the order of its fields are in journals for good: a field is only ever
added at the end, with a default, and a tag is never used again. Commands carry no time of their
own; the writer's journal time comes with each.
"""

import msgspec

from protos.ids import AccountId, DeviceId, SiteId
from protos.limits import PRICE_MICRO_PER_KWH_MAX


class Command(msgspec.Struct, frozen=True, array_like=True):
    """One request to one machine. `stream` says which."""

    @property
    def stream(self) -> str:
        raise NotImplementedError


class RegistryCommand(Command, frozen=True, array_like=True):
    @property
    def stream(self) -> str:
        return "registry"


class ZoneCommand(Command, frozen=True, array_like=True):
    zone: str

    @property
    def stream(self) -> str:
        return f"zone/{self.zone}"


class BankCommand(Command, frozen=True, array_like=True):
    @property
    def stream(self) -> str:
        return "bank"


class DeskCommand(Command, frozen=True, array_like=True):
    @property
    def stream(self) -> str:
        return "desk"


# ---- registry ------------------------------------------------------------------------------


class CreateSite(RegistryCommand, frozen=True, array_like=True, tag=1):
    """A home: where it hangs on the network and whose account it trades for."""

    site: SiteId
    zone: str
    node: int
    account: AccountId


class IssueToken(RegistryCommand, frozen=True, array_like=True, tag=2):
    """A one-time enrolment token, by its hash; the token itself is never stored."""

    token_sha256: bytes
    site: SiteId


class EnrolDevice(RegistryCommand, frozen=True, array_like=True, tag=3):
    token_sha256: bytes
    public_key: bytes


class RevokeDevice(RegistryCommand, frozen=True, array_like=True, tag=4):
    device: DeviceId
    reason: str


class RegisterAuthority(RegistryCommand, frozen=True, array_like=True, tag=5):
    """A grid operator. A lower rank overrides a higher one: transmission 0, distribution 1.

    `public_key` checks its orders: the certificate's P-256 key, DER SubjectPublicKeyInfo.
    """

    authority: str
    rank: int
    area: str
    public_key: bytes = b""


# ---- zone ----------------------------------------------------------------------------------


class GridArea(msgspec.Struct, frozen=True, array_like=True):
    """A part of a zone's grid with fees of its own: the node and all below it, unless another area
    begins there.
    """

    name: str
    node: int


class ZoneRules(msgspec.Struct, frozen=True, array_like=True):
    """The market rules of a zone. Prices in micro-units per kWh, rates in ten-thousandths.

    In the last `auction_s` before a gate, offers gather and are cleared together when it closes.
    In the first `opening_s` of a slot's market, a day before delivery, likewise when they are over.
    With `power_flow` an AC power flow of the slot has the last word on every fill; with `three_phase`
    it is unbalanced in the low-voltage grids whose file says which phase a home hangs from.
    An auction whose fills the flow refuses is cleared again within that, up to `auction_rounds` times.
    Past `orders_free` offers an account and slot, a trade is asked for `orders_per_trade_max` of
    them; 0 in either is no limit. The thresholds are our own, as data.
    """

    currency: str = "THB"
    tick_micro_per_kwh: int = 1_000
    fallback_export_micro_per_kwh: int = 2_200_000
    fallback_import_micro_per_kwh: int = 5_800_000
    gate_closure_s: int = 300
    metering_deadline_s: int = 900
    grid_fee_bps: int = 500
    trading_fee_bps: int = 10
    position_max_wh: int = 1_000_000
    auction_s: int = 0
    grid_fee_micro_per_kwh: int = 0
    """Beside the share of the value: what physical transport costs, whatever the energy costs."""
    vat_bps: int = 0
    """Contained in prices and fees; statements say how much of what was paid it is."""
    power_flow: bool = False
    orders_free: int = 500
    orders_per_trade_max: int = 100
    opening_s: int = 0
    three_phase: bool = False
    auction_rounds: int = 0
    bank_unsold: bool = False
    """Whether unsold metered export stays with the home as tokens (net billing), instead of being
    bought at the fallback tariff and burned."""
    areas: tuple[GridArea, ...] = ()
    wheeling_micro_per_kwh: tuple[tuple[int, ...], ...] = ()
    """What a delivered kWh pays the grid operator besides, by the seller's area (row) and the
    buyer's (column); the first of each is the grid outside all `areas`. Empty: nothing."""
    post_rounding: bool = False
    """Whether a micro-unit that a margin lacks by rounding is borne by the zone's rounding account,
    where everybody sees it, instead of by the utility."""

    @property
    def wheeling_is_sound(self) -> bool:
        """Whether the matrix, where there is one, has a price for each area with each."""
        matrix, width = self.wheeling_micro_per_kwh, len(self.areas) + 1
        fees = [fee for row in matrix for fee in row]
        return not matrix or (
            len(matrix) == width
            and all(len(row) == width for row in matrix)
            and all(0 <= fee <= PRICE_MICRO_PER_KWH_MAX for fee in fees)
        )


class OpenZone(ZoneCommand, frozen=True, array_like=True, tag=10):
    """The zone's birth. The network it trades on is named by the SHA-256 of its data file."""

    network_sha256: bytes
    first_slot: int
    rules: ZoneRules


class AdmitGateway(ZoneCommand, frozen=True, array_like=True, tag=11):
    device: DeviceId
    account: AccountId
    node: int


class ExpelGateway(ZoneCommand, frozen=True, array_like=True, tag=12):
    device: DeviceId


class AppendSealed(ZoneCommand, frozen=True, array_like=True, tag=13):
    """One envelope whose signature the gate has checked; kept whole, because it is the evidence."""

    device: DeviceId
    seq: int
    previous: bytes
    payload: bytes
    signature: bytes


class AdvanceZone(ZoneCommand, frozen=True, array_like=True, tag=14):
    """Time passed: gates close, slots end, metering deadlines expire."""


class GrantAllowance(ZoneCommand, frozen=True, array_like=True, tag=15):
    """How much money the bank lets this account owe from now on, in all open slots together."""

    account: AccountId
    allowance_micro: int


class ReleaseReservation(ZoneCommand, frozen=True, array_like=True, tag=16):
    """The bank has settled a slot: what the account had reserved for it is free again."""

    account: AccountId
    slot: int


class OverrideLimit(ZoneCommand, frozen=True, array_like=True, tag=17):
    """An authority's other limit for one element, for a while. Physics still applies.

    Rank and area are the authority's as it is registered; the strongest are the lowest rank and
    the area that is the zone's name. `signed` is the order as the authority wrote and signed it.
    """

    element: int
    limit_w: int
    authority: str
    reason: str
    until_ns: int
    rank: int = 0
    area: str = ""
    starts_ns: int = 0
    order_id: str = ""
    signed: bytes = b""
    signature: bytes = b""


class OrderCurtailment(ZoneCommand, frozen=True, array_like=True, tag=18):
    """Keep the flow out of an element's subtree below a limit by capping feed-in, for a while."""

    order_id: str
    element: int
    limit_w: int
    starts_ns: int
    ends_ns: int
    authority: str
    reason: str
    signed: bytes = b""
    signature: bytes = b""


class RecordReferee(ZoneCommand, frozen=True, array_like=True, tag=19):
    """What an independent AC power flow says of a closed slot. Ratios in per mille."""

    slot: int
    converged: bool
    worst_element: int
    worst_loading_per_mille: int
    voltage_min_per_mille: int
    voltage_max_per_mille: int


class CheckLoops(ZoneCommand, frozen=True, array_like=True, tag=160):
    """What an AC power flow says of an open slot of a network with loops. By branch of the loops, in
    W: what flows beside the factors' sum, and how much may flow either way. Ratios in per mille;
    `trades` is how many the slot had when it was asked.
    """

    slot: int
    trades: int
    offset_w: tuple[int, ...]
    cap_w: tuple[int, ...]
    converged: bool
    worst_loading_per_mille: int
    voltage_min_per_mille: int
    voltage_max_per_mille: int


# ---- bank ----------------------------------------------------------------------------------


class TradeTerms(msgspec.Struct, frozen=True, array_like=True):
    """One trade as the bank needs it. The buyer also owes the grid operator the rent, and the
    wheeling fee between the two areas for what is delivered.
    """

    trade: int
    buyer: AccountId
    seller: AccountId
    energy_wh: int
    price_micro_per_kwh: int
    rent_micro: int = 0
    wheeling_micro_per_kwh: int = 0


class MeterSlot(msgspec.Struct, frozen=True, array_like=True):
    """What one billing meter counted in one slot. An estimate settles money but never mints."""

    account: AccountId
    import_wh: int
    export_wh: int
    estimated: bool


class OpenAccount(BankCommand, frozen=True, array_like=True, tag=30):
    account: AccountId
    kind: str
    zone: str


class Deposit(BankCommand, frozen=True, array_like=True, tag=31):
    """Money that a licensed provider holds for the account. The id is made by the sender."""

    deposit_id: str
    account: AccountId
    amount_micro: int


class OpenLedger(BankCommand, frozen=True, array_like=True, tag=32):
    """The fee and tariff policy under which a zone's trades are settled."""

    zone: str
    rules: ZoneRules


class ReserveTrades(BankCommand, frozen=True, array_like=True, tag=33):
    """Pending transfers for new trades: the buyer's price and grid fee, the seller's margin."""

    zone: str
    slot: int
    trades: tuple[TradeTerms, ...]
    voidable: bool = False
    """Whether the zone hears of the trades that the bank refuses, and undoes them."""


class SettleSlot(BankCommand, frozen=True, array_like=True, tag=34):
    """Post what was delivered. A later revision posts only the differences."""

    zone: str
    slot: int
    revision: int
    meters: tuple[MeterSlot, ...]
    grouped: bool = False
    """Whether what follows for all accounts comes in one fact, and not in one each."""


class SealBlock(BankCommand, frozen=True, array_like=True, tag=35):
    """Make the root of the transparency log as it stands."""


class StakeSlice(msgspec.Struct, frozen=True, array_like=True):
    """A part of the genesis supply of GTX, in per cent."""

    name: str
    share: int


class StakeRules(msgspec.Struct, frozen=True, array_like=True):
    """The supply table of GTX in millionths, and how its validators are held to their word."""

    genesis_micro: int = 1_000_000_000_000
    cap_micro: int = 10_000_000_000_000
    slices: tuple[StakeSlice, ...] = (
        StakeSlice("founders", 5),
        StakeSlice("treasury", 10),
        StakeSlice("validators", 5),
        StakeSlice("community", 80),
    )
    inflation_bps: int = 500
    decay_per_mille: int = 900
    slash_per_mille: int = 50
    unbonding_s: int = 21 * 24 * 3_600


class OpenSupply(BankCommand, frozen=True, array_like=True, tag=36):
    """GTX comes into being, once."""

    rules: StakeRules


class RegisterValidator(BankCommand, frozen=True, array_like=True, tag=37):
    """Whose cosignatures stand for this account: a witness key, name+hash+base64."""

    account: AccountId
    key: str


class GrantStake(BankCommand, frozen=True, array_like=True, tag=38):
    """GTX from a slice of the genesis supply to an account. The id is made by the sender."""

    grant_id: str
    slice_name: str
    account: AccountId
    amount: int


class BondStake(BankCommand, frozen=True, array_like=True, tag=39):
    """Binds an account's GTX to a validator."""

    bond_id: str
    account: AccountId
    validator: AccountId
    amount: int


class UnbondStake(BankCommand, frozen=True, array_like=True, tag=40):
    """Asks for bound GTX back; it comes after the waiting time."""

    unbond_id: str
    account: AccountId
    validator: AccountId
    amount: int


class SlashStake(BankCommand, frozen=True, array_like=True, tag=41):
    """Evidence that a validator cosigned two roots of one size (see cloud/ledger/evidence.py)."""

    validator: AccountId
    kind: str
    first: str
    second: str


class InflateSupply(BankCommand, frozen=True, array_like=True, tag=42):
    """Makes the GTX of one year, counted from 1 at the supply's opening, once it is over."""

    year: int


class PayRewards(BankCommand, frozen=True, array_like=True, tag=43):
    """Shares out what the validators' fund has of an asset, by bound stake."""

    reward_id: str
    asset: str


StakeCommand = (
    OpenSupply
    | RegisterValidator
    | GrantStake
    | BondStake
    | UnbondStake
    | SlashStake
    | InflateSupply
    | PayRewards
)


class CommitRecord(BankCommand, frozen=True, array_like=True, tag=44):
    """A salted commitment to a record about a person; the record itself is in the vault."""

    commitment: bytes
    purpose: str


class RecordErasure(BankCommand, frozen=True, array_like=True, tag=45):
    """The key of these records was destroyed, and on which ground."""

    commitments: tuple[bytes, ...]
    ground: str


class RetireTokens(BankCommand, frozen=True, array_like=True, tag=180):
    """Tokens that their holder banked are burned for energy it took. The id makes it happen once."""

    retire_id: str
    account: AccountId
    energy_wh: int


class PostTransfers(BankCommand, frozen=True, array_like=True, tag=46):
    """A batch of transfers, 56 bytes each (see cloud/ledger/transfers.py).

    `hour` counts from 1970 and is the one in which the ids were made: they are unique in it, and
    the batch is taken in that hour and the ones beside it. With `provable` each record is a leaf of
    its own under the batch's root, so that one transfer can be proven without showing another.
    """

    hour: int
    records: bytes
    provable: bool = False


class HomePayment(msgspec.Struct, frozen=True, array_like=True):
    """What one home is owed."""

    device: DeviceId
    account: AccountId
    amount_micro: int


class CompensateHomes(BankCommand, frozen=True, array_like=True, tag=161):
    """The grid operator's payment to homes whose trades of a slot were taken back."""

    zone: str
    slot: int
    homes: tuple[HomePayment, ...]


class AssignPseudonyms(BankCommand, frozen=True, array_like=True, tag=120):
    """Under which names these accounts and devices stand in the leaves of a billing period.

    Parallel columns. The journal, which validators read, has both; the public log only the latter.
    """

    period: int
    names: tuple[str, ...]
    pseudonyms: tuple[str, ...]


class GrantAllowances(ZoneCommand, frozen=True, array_like=True, tag=47):
    """GrantAllowance for many accounts at once."""

    accounts: tuple[AccountId, ...]
    allowances_micro: tuple[int, ...]


class ReleaseSlot(ZoneCommand, frozen=True, array_like=True, tag=48):
    """ReleaseReservation for all accounts that a slot was settled for."""

    slot: int
    accounts: tuple[AccountId, ...]


class VoidTrades(ZoneCommand, frozen=True, array_like=True, tag=49):
    """The bank could not reserve for these trades: they did not come about."""

    slot: int
    trades: tuple[int, ...]
    reasons: tuple[int, ...]


# ---- desk ----------------------------------------------------------------------------------


class OpenDesk(DeskCommand, frozen=True, array_like=True, tag=50):
    """The desk's risk limits. Power in W, money in micro-units of the venue's currency."""

    power_max_w: int
    exposure_max_micro: int
    power_min_w: int


class ObservePrice(DeskCommand, frozen=True, array_like=True, tag=51):
    """One interval's price as published. Exact: micro-units of currency per MWh."""

    venue: str
    node: str
    market: str
    starts_ns: int
    duration_ns: int
    price_micro_per_mwh: int


class ObserveFleet(DeskCommand, frozen=True, array_like=True, tag=52):
    """One battery's state, as its gateway signed it."""

    device: DeviceId
    zone: str
    soc_per_mille: int
    capacity_wh: int
    max_charge_w: int
    max_discharge_w: int
    battery_w: int
    account: AccountId = AccountId("")


class AdvanceDesk(DeskCommand, frozen=True, array_like=True, tag=53):
    """Time passed: prepare bids before their gates, dispatch awards, meter finished ones."""


class RecordReply(DeskCommand, frozen=True, array_like=True, tag=54):
    """What the venue answered to a bid."""

    bid_id: str
    accepted: bool
    venue_reference: str
    reason: str


class RecordAward(DeskCommand, frozen=True, array_like=True, tag=55):
    """What the venue bought or sold. Positive power is discharge."""

    bid_id: str
    starts_ns: int
    duration_ns: int
    power_w: int
    price_micro_per_mwh: int


class RecordLease(DeskCommand, frozen=True, array_like=True, tag=56):
    """A gateway's signed word on a setpoint lease."""

    device: DeviceId
    lease_id: str
    state: int
    measured_w: int


class RecordSubmission(DeskCommand, frozen=True, array_like=True, tag=57):
    """A bid is about to leave: from here on the venue may know it."""

    bid_id: str


class RecordCancellation(DeskCommand, frozen=True, array_like=True, tag=58):
    """The venue confirmed before its gate that a bid is withdrawn; `rebid` frees its hour."""

    bid_id: str
    rebid: bool


class StatementLine(msgspec.Struct, frozen=True, array_like=True):
    """One line of a venue's statement. Positive amounts are paid to us."""

    charge_code: str
    bid_id: str
    starts_ns: int
    quantity_wh: int
    price_micro_per_mwh: int
    amount_cents: int


class Statement(msgspec.Struct, frozen=True, array_like=True):
    """One version of a venue's account of one trade day; a later version replaces it whole."""

    venue: str
    day: str
    version: int
    lines: tuple[StatementLine, ...]

    @property
    def total_cents(self) -> int:
        return sum(line.amount_cents for line in self.lines)


class RecordStatement(DeskCommand, frozen=True, array_like=True, tag=59):
    """What one version of the venue's statement pays for a bid's awards; later versions replace."""

    bid_id: str
    version: int
    amount_micro: int


class HaltDesk(DeskCommand, frozen=True, array_like=True, tag=60):
    """The kill switch: while it is on the desk makes no bid and issues no new lease."""

    is_halted: bool
    reason: str


class LimitDay(DeskCommand, frozen=True, array_like=True, tag=61):
    """What a UTC day of delivery may go wrong by; 0 is no limit.

    `deviation_max_wh` is sold or bought energy that was not delivered, summed without signs;
    `loss_max_micro` is what the day's metered awards may have lost in all; `soc_min_per_mille` and
    `soc_max_per_mille` bound the stored energy of every battery that is counted on.
    """

    deviation_max_wh: int
    loss_max_micro: int
    soc_min_per_mille: int = 0
    soc_max_per_mille: int = 1_000


class ShareRules(msgspec.Struct, frozen=True, array_like=True):
    """How a venue's payment reaches the homes: their part, and what a unit of the venue's currency
    is in the zones' currency, in millionths.
    """

    owners_per_mille: int
    rate_micro: int


class SetSharing(DeskCommand, frozen=True, array_like=True, tag=62):
    """From the next statement on."""

    rules: ShareRules


class CurveSegment(msgspec.Struct, frozen=True, array_like=True):
    """One step of an offer curve. Positive power discharges, negative charges."""

    power_w: int
    price_micro_per_mwh: int


class BidAhead(DeskCommand, frozen=True, array_like=True, tag=63):
    """An offer for one hour of a day-ahead market, made by the operator or a planner of theirs.

    The desk makes none by itself. `gate_ns` is when that market closes for the hour's day.
    """

    venue: str
    starts_ns: int
    gate_ns: int
    curve: tuple[CurveSegment, ...]


class ForecastHomes(DeskCommand, frozen=True, array_like=True, tag=64):
    """What the homes' own use is expected to take from their batteries and to put into them.

    One entry a slot from `start_slot`, Wh, each the unfavourable bound of what may come.
    """

    start_slot: int
    drawn_wh: tuple[int, ...]
    charged_wh: tuple[int, ...]


class PromiseFirm(DeskCommand, frozen=True, array_like=True, tag=65):
    """Whether the desk bids with the fleet's firm power or with all of it. Off in journals that
    are older than this command, whose bids must come out as they did.
    """

    is_on: bool


class StateStorage(DeskCommand, frozen=True, array_like=True, tag=210):
    """Whether bids say their storage and must be within what it can hold and how fast it can turn,
    and whether what running awards stray by counts at once against the day's limit. Off in journals
    that are older than this command, whose bids must come out as they did.
    """

    is_on: bool


class ValueEnergy(DeskCommand, frozen=True, array_like=True, tag=220):
    """What stored energy is worth after a step of the hour at `starts_ns`, whoever found it out.

    `prices_micro` rise; `worth_micro` has for each of them the worth of equal parts of the battery's
    energy, the first part lowest in the battery, falling. Micro-units per MWh. Replaces what was
    told of the hour before.
    """

    venue: str
    node: str
    starts_ns: int
    prices_micro: tuple[int, ...]
    worth_micro: tuple[tuple[int, ...], ...]


class DeclareCurrencies(DeskCommand, frozen=True, array_like=True, tag=190):
    """Which money the zones and the venues count in, and what the rate between them is.

    `rate_micro` is one unit of the venues' currency in the zones', in millionths; 0 is unknown: where
    the two differ nothing is then shared with the homes until `SetSharing` or this command says a
    rate. From here on the desk also remembers paid bids for late statements. Journals older than
    this command share one to one, and forget a bid after a fortnight, as they did.
    """

    zones: str
    venues: str
    rate_micro: int = 0


class OfferReserve(DeskCommand, frozen=True, array_like=True, tag=191):
    """An offer of reserve capacity for one hour, planned outside and rounded: SPIN, REG_UP, REG_DOWN
    or REG (up and down alike). The price is for a MW held for an hour. With `alone` nothing else
    may be offered for that hour yet, and no energy is bid beside it: a battery that follows a signal
    holds no other power.
    """

    venue: str
    product: str
    starts_ns: int
    capacity_w: int
    price_micro_per_mw_h: int
    alone: bool = False


class CallReserve(DeskCommand, frozen=True, array_like=True, tag=192):
    """The venue calls power out of an awarded reserve; positive discharges. 0 ends a call."""

    bid_id: str
    starts_ns: int
    duration_ns: int
    power_w: int


class RecordPerformance(DeskCommand, frozen=True, array_like=True, tag=193):
    """How well an awarded regulation followed its signal, from samples of four seconds; per mille."""

    bid_id: str
    starts_ns: int
    accuracy: int
    delay: int
    precision: int


# ---- venue money ---------------------------------------------------------------------------


class Delivery(msgspec.Struct, frozen=True, array_like=True):
    """What one home delivered for a bid, an amount > 0."""

    account: AccountId
    energy_wh: int


class ShareRevenue(BankCommand, frozen=True, array_like=True, tag=140):
    """A statement's version pays `amount_micro` for a bid in all; owners get their part of it.

    Money in micro-units of the zones' currency. A later version replaces an earlier one: the
    difference is posted.
    """

    venue: str
    bid_id: str
    version: int
    amount_micro: int
    owners_per_mille: int
    deliveries: tuple[Delivery, ...]


# ---- the zone's grid -------------------------------------------------------------------------


class GridRules(msgspec.Struct, frozen=True, array_like=True):
    """What of a zone's grid is alarming, and what follows from it. Frequency in mHz, voltages in
    per mille of the rated phase voltage, powers in W, times in s. The `back` values are how far
    inside its band a value must be again. A home that is silent for `silent_s`, and three of its
    usual pauses, may have lost its grid; it then may not trade the next `suspend_slots`. With
    `envelopes` those operating envelopes are sent to the homes that allow less feed-in than
    `connection_export_w`, or less draw than `connection_import_w` (0: no limit of draw is sent).
    With `storage` batteries make room on a transformer before a slot that would be beyond its limit.
    """

    frequency_critical_low_mhz: int = 47_000
    frequency_low_mhz: int = 49_500
    frequency_high_mhz: int = 50_500
    frequency_critical_high_mhz: int = 52_000
    frequency_back_mhz: int = 50
    frequency_hold_s: int = 2
    voltage_rated_mv: int = 230_000
    voltage_critical_low: int = 850
    voltage_low: int = 900
    voltage_high: int = 1_100
    voltage_critical_high: int = 1_150
    voltage_back: int = 10
    voltage_hold_s: int = 60
    silent_s: int = 90
    suspend_slots: int = 8
    envelopes: bool = False
    connection_export_w: int = 10_000
    connection_import_w: int = 0
    storage: bool = False


class SetGridRules(ZoneCommand, frozen=True, array_like=True, tag=110):
    """From here on the zone's grid is watched by these rules."""

    rules: GridRules


class SurveyGrid(ZoneCommand, frozen=True, array_like=True, tag=111):
    """Look at all gateways together: who is silent, what the meters say, what room homes have."""


class HomeCut(msgspec.Struct, frozen=True, array_like=True):
    """What a re-dispatch takes from a home's trades in a slot: W of feed-in; negative, of draw."""

    device: DeviceId
    power_w: int


class Redispatch(ZoneCommand, frozen=True, array_like=True, tag=112):
    """The referee found a closed slot beyond a limit; with these cuts it found it so much better.

    `exporting` says which way the worst element is overloaded. Ratios in per mille.
    """

    slot: int
    element: int
    exporting: bool
    before_per_mille: int
    after_per_mille: int
    cuts: tuple[HomeCut, ...]


class OrderReserve(ZoneCommand, frozen=True, array_like=True, tag=113):
    """Tertiary reserve: the batteries give (positive) or take so much for a while, cheapest first."""

    order_id: str
    element: int
    power_w: int
    starts_ns: int
    ends_ns: int
    authority: str
    reason: str
    signed: bytes = b""
    signature: bytes = b""


class FollowSignal(ZoneCommand, frozen=True, array_like=True, tag=114):
    """Secondary reserve: where the fleet below an element is wanted now, sent every few seconds."""

    element: int
    power_w: int
    authority: str


class OrderDemandResponse(ZoneCommand, frozen=True, array_like=True, tag=115):
    """Draw less (positive) below an element than the homes do now, for a while."""

    order_id: str
    element: int
    reduction_w: int
    starts_ns: int
    ends_ns: int
    authority: str
    reason: str
    signed: bytes = b""
    signature: bytes = b""


class OptOut(ZoneCommand, frozen=True, array_like=True, tag=116):
    """A home takes no part in reserves and demand response any more, or does again."""

    device: DeviceId
    is_out: bool


class RecordState(ZoneCommand, frozen=True, array_like=True, tag=117):
    """What the state estimator makes of the telemetry: the elements that matter, and the voltages.

    `flows` are (element, W, per mille of the limit); `rejected` are the gateways whose readings
    contradict the others.
    """

    slot: int
    converged: bool
    measured: int
    assumed: int
    voltage_min_per_mille: int
    voltage_max_per_mille: int
    flows: tuple[tuple[int, int, int], ...]
    rejected: tuple[DeviceId, ...]


AnyCommand = (
    CreateSite
    | IssueToken
    | EnrolDevice
    | RevokeDevice
    | RegisterAuthority
    | OpenZone
    | AdmitGateway
    | ExpelGateway
    | AppendSealed
    | AdvanceZone
    | GrantAllowance
    | ReleaseReservation
    | OverrideLimit
    | OrderCurtailment
    | RecordReferee
    | CheckLoops
    | OpenAccount
    | Deposit
    | OpenLedger
    | ReserveTrades
    | SettleSlot
    | SealBlock
    | OpenSupply
    | RegisterValidator
    | GrantStake
    | BondStake
    | UnbondStake
    | SlashStake
    | InflateSupply
    | PayRewards
    | CommitRecord
    | RecordErasure
    | PostTransfers
    | RetireTokens
    | AssignPseudonyms
    | GrantAllowances
    | ReleaseSlot
    | VoidTrades
    | OpenDesk
    | ObservePrice
    | ObserveFleet
    | AdvanceDesk
    | RecordReply
    | RecordAward
    | RecordLease
    | RecordSubmission
    | RecordCancellation
    | RecordStatement
    | HaltDesk
    | LimitDay
    | SetSharing
    | BidAhead
    | ForecastHomes
    | PromiseFirm
    | StateStorage
    | ValueEnergy
    | DeclareCurrencies
    | OfferReserve
    | CallReserve
    | RecordPerformance
    | ShareRevenue
    | CompensateHomes
    | SetGridRules
    | SurveyGrid
    | Redispatch
    | OrderReserve
    | FollowSignal
    | OrderDemandResponse
    | OptOut
    | RecordState
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyCommand] = msgspec.msgpack.Decoder(AnyCommand)

RULES_VERSION = 1
"""Stands in every journal record: old commands are replayed under the rules they were made under."""


def encode_command(command: Command) -> bytes:
    return _encoder.encode(command)


def decode_command(data: bytes) -> AnyCommand:
    """Raises msgspec.ValidationError or msgspec.DecodeError on anything but a known command."""
    return _decoder.decode(data)
