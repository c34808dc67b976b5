"""Machine: one zone. Its gateways' evidence, its slots' markets, its meters.

Decides nothing itself: it orders the parts. `streams` says what is next in a chain, `trading` what
becomes of an offer, `slots` when a gate closes, `cloud.metering` what a slot's energy is. It must
never apply an envelope twice or out of order, and never look at anything but its commands.

Its time is the journal's and never runs backwards: a command that is dated before an earlier one is
applied at the earlier one's time.
"""

from collections.abc import Iterable

from cloud.commands import (
    AdmitGateway,
    AdvanceZone,
    AppendSealed,
    Command,
    ExpelGateway,
    GrantAllowance,
    GrantAllowances,
    OpenZone,
    ReleaseReservation,
    ReleaseSlot,
    VoidTrades,
    ZoneRules,
)
from cloud.facts import (
    BatchAccepted,
    BatchRefused,
    ElementFlow,
    Fact,
    GatewayAdmitted,
    GatewayExpelled,
    LeaseReported,
    Telemetry,
    ZoneOpened,
    ZoneRefused,
)
from cloud.grid.network import Network
from cloud.market.gridside import GridSide
from cloud.market.indication import Indication
from cloud.market.risk import Purses
from cloud.market.slots import Markets
from cloud.market.streams import (
    Gateway,
    link_of,
    open_payload,
    refuse_batch,
    refuse_position,
)
from cloud.market.trading import TICKS_MAX, Trading
from cloud.market.wheeling import areas_are_sound
from cloud.metering.columns import MapPlan, plan_columns
from cloud.metering.reports import Home, SlotReports
from cloud.metering.telemetry import Snapshot, newest_ms, observe
from protos.clock import SECOND_NS, SLOTS_PER_DAY, SLOTS_PER_HOUR, slot_at
from protos.codec import ColumnDecoder, decode_columns
from protos.ids import AccountId, DeviceId, is_device_id
from protos.limits import PRICE_MICRO_PER_KWH_MAX, READING_AGE_NS_MAX, SLOTS_AHEAD_MAX
from protos.messages import (
    LeaseReports,
    OfferBatch,
    Payload,
    Refusal,
    RegisterMap,
    SweepBatch,
)
from protos.seal import GENESIS
from protos.units import BPS, PER_MILLE

SECONDS_PER_DAY = 86_400
AUCTION_ROUNDS_MAX = 64
_NS_PER_MS = SECOND_NS // 1_000


class Zone:
    """One zone's machine. `columns` decodes readings; all decoders give the same result."""

    def __init__(
        self, name: str, network: Network, columns: ColumnDecoder = decode_columns
    ) -> None:
        self.name = name
        self.network = network
        self.columns = columns
        self._now_ns = 0
        self._gateways: dict[DeviceId, Gateway] = {}
        self._purses = Purses()
        self._markets = Markets(name, network)
        self._trading = Trading(name, self._markets, self._purses)
        self._reports = SlotReports(name)
        self._indication = Indication(name, network, self._markets)
        self._grid = GridSide(name, network, self._markets, self._trading, self._gateways)

    # ---- what others may ask without changing anything ------------------------------------

    @property
    def rules(self) -> ZoneRules:
        """The rules the zone was opened with; the defaults until then."""
        return self._markets.rules

    def knows(self, device: DeviceId) -> bool:
        """Whether the gateway is admitted and was not expelled."""
        gateway = self._gateways.get(device)
        return gateway is not None and not gateway.expelled

    def devices(self) -> dict[DeviceId, AccountId]:
        """Every gateway ever admitted, and whose it is."""
        return {gateway.device: gateway.account for gateway in self._gateways.values()}

    def durable(self, device: DeviceId) -> tuple[int, bytes]:
        """The last sequence taken from a gateway, and its link. (0, 32 zero bytes) at first."""
        gateway = self._gateways.get(device)
        return (gateway.seq, gateway.link) if gateway else (0, GENESIS)

    def plan(self, device: DeviceId, map_id: int) -> MapPlan | None:
        """The register map that a gateway has named so, if it has."""
        gateway = self._gateways.get(device)
        return gateway.maps.get(map_id) if gateway else None

    def snapshot(self, device: DeviceId) -> Snapshot:
        """The newest powers that a gateway's chain has brought."""
        gateway = self._gateways.get(device)
        return gateway.snapshot if gateway else Snapshot()

    def suspect_values(self, device: DeviceId) -> int:
        """How many billing values of a gateway were not believed so far."""
        gateway = self._gateways.get(device)
        return gateway.home.meter.ignored() if gateway else 0

    @property
    def is_open(self) -> bool:
        """Whether OpenZone was applied."""
        return self._markets.is_begun

    def element_flows(self, slot: int) -> list[ElementFlow]:
        """Every element's flow in an open or lately closed slot, baseline and trades together."""
        return self._markets.flows(slot)

    @property
    def indication(self) -> Indication:
        """The indicative prices of the slot whose gate closes next. Only to be read."""
        return self._indication

    @property
    def grid(self) -> GridSide:
        """Outages, alarms, envelopes and calls. Only to be read."""
        return self._grid

    @property
    def gateways(self) -> Iterable[Gateway]:
        """All that were ever admitted. Only to be read."""
        return self._gateways.values()

    def injections_w(self, slot: int) -> dict[int, int]:
        """Mean power that trades put into each node (positive) or draw from it in a slot."""
        return {
            node: -energy_wh * SLOTS_PER_HOUR
            for node, energy_wh in sorted(self._markets.traded_wh(slot).items())
        }

    def trades(self, slot: int) -> int:
        """How many trades an open slot has."""
        market = self._markets.open.get(slot)
        return market.trades if market else 0

    def loop_fullness_per_mille(self, slot: int) -> int:
        """How far the fullest branch of the network's loops is filled in an open slot."""
        market = self._markets.open.get(slot)
        flow = market.flow if market else None
        if flow is None or not flow.loop_caps_w:
            return 0
        pairs = zip(flow.loop_flows_w, flow.loop_caps_w, strict=True)
        return max(abs(power) * PER_MILLE // max(1, cap) for power, cap in pairs)

    def open_slots(self, at_ns: int) -> range:
        """The slots for which offers are taken at this instant."""
        return self._markets.tradable(max(at_ns, self._now_ns))

    def state(self) -> object:
        return {
            "name": self.name,
            "now_ns": self._now_ns,
            "rules": tuple(getattr(self.rules, field) for field in ZoneRules.__struct_fields__),
            "gateways": [gateway.state() for gateway in self._gateways.values()],
            "purses": self._purses.state(),
            "markets": self._markets.state(),
            "trading": self._trading.state(),
            "reports": self._reports.state(),
            "indication": self._indication.state(),
            "grid": self._grid.state(),
        }

    # ---- commands -------------------------------------------------------------------------

    def apply(self, command: Command, at_ns: int) -> list[Fact]:
        self._now_ns = now_ns = max(at_ns, self._now_ns)
        # Openings end and gates close by time, whichever command brings the time.
        facts = [*self._trading.end_openings(now_ns), *self._close_gates(now_ns)]
        match command:
            case AppendSealed():
                facts += self._append(command, at_ns, now_ns)
            case AdvanceZone():
                facts += self._advance(now_ns)
            case (
                GrantAllowance()
                | GrantAllowances()
                | ReleaseReservation()
                | ReleaseSlot()
                | VoidTrades()
            ):
                facts += self._hear_bank(command)
            case OpenZone():
                facts += self._open(command, now_ns)
            case AdmitGateway():
                facts += self._admit(command, now_ns)
            case ExpelGateway():
                facts += self._expel(command, now_ns)
            case _:
                facts += self._grid.apply(command, now_ns)
        return facts

    def _hear_bank(
        self,
        command: GrantAllowance | GrantAllowances | ReleaseReservation | ReleaseSlot | VoidTrades,
    ) -> list[Fact]:
        """How much may be owed, which slots are settled, and which trades it refused."""
        purse = self._purses.of
        facts: list[Fact] = []
        match command:
            case GrantAllowance():
                facts = self._trading.grant(purse(command.account), command.allowance_micro)
            case GrantAllowances():
                granted = zip(command.accounts, command.allowances_micro, strict=True)
                for account, allowance in granted:
                    one = purse(account)
                    one.allowance_micro = allowance
                    if one.reserved_micro > allowance:
                        facts += self._trading.grant(one, allowance)
            case ReleaseReservation():
                purse(command.account).release(command.slot)
            case ReleaseSlot():
                for account in command.accounts:
                    purse(account).release(command.slot)
            case VoidTrades():
                facts = self._trading.void(command)
        return facts

    def _open(self, command: OpenZone, now_ns: int) -> list[Fact]:
        markets = self._markets
        if markets.is_begun:
            same = (command.first_slot, command.rules) == (markets.first_slot, markets.rules)
            same = same and command.network_sha256 == self.network.sha256
            return [] if same else [self._refused("zone", Refusal.CHANGED_REPLAY)]
        if command.network_sha256 != self.network.sha256:
            return [self._refused("network", Refusal.UNKNOWN_ELEMENT)]
        areas_fit = areas_are_sound(command.rules, self.network.size)
        if not areas_fit or not _are_sound(command.rules):
            return [self._refused("rules", Refusal.BAD_PRICE)]
        if not 0 <= command.first_slot <= slot_at(now_ns) + SLOTS_PER_DAY:
            return [self._refused("first slot", Refusal.UNKNOWN_SLOT)]
        markets.begin(command.first_slot, command.rules, now_ns)
        self._trading.begin(_ticks(command.rules))
        self._reports.begin(max(command.first_slot, slot_at(now_ns)))
        return [ZoneOpened(self.name, command.network_sha256, command.first_slot, command.rules)]

    def _admit(self, command: AdmitGateway, now_ns: int) -> list[Fact]:
        device = command.device
        known = self._gateways.get(device)
        if known is not None:
            if known.expelled:
                return [self._refused(device, Refusal.REVOKED_DEVICE)]
            same = (known.account, known.node) == (command.account, command.node)
            return [] if same else [self._refused(device, Refusal.CHANGED_REPLAY)]
        if not is_device_id(device):
            return [self._refused(device, Refusal.UNKNOWN_DEVICE)]
        if not 0 <= command.node < self.network.size:
            return [self._refused(device, Refusal.UNKNOWN_ELEMENT)]
        # The running slot is known only in part and cannot be traded any more.
        home = Home(command.account, slot_at(now_ns) + 1)
        index = len(self._gateways)
        self._gateways[device] = Gateway(index, device, command.account, command.node, home)
        self._reports.homes.append(home)
        return [GatewayAdmitted(self.name, device, command.account, command.node)]

    def _expel(self, command: ExpelGateway, now_ns: int) -> list[Fact]:
        gateway = self._gateways.get(command.device)
        if gateway is None:
            return [self._refused(command.device, Refusal.UNKNOWN_DEVICE)]
        if gateway.expelled:
            return []
        facts = self._trading.withdraw(gateway, Refusal.REVOKED_DEVICE)
        gateway.expelled = True
        # What it has traded already is still to be delivered, so it is counted until then.
        gateway.home.last_slot = slot_at(now_ns) + SLOTS_AHEAD_MAX
        return [*facts, GatewayExpelled(self.name, command.device)]

    def _advance(self, now_ns: int) -> list[Fact]:
        if not self._markets.is_begun:
            return []
        self._markets.expire(now_ns)
        reported = self._reports.advance(now_ns, self.rules.metering_deadline_s * SECOND_NS)
        return [*reported, *self._indication.advance()]

    def _close_gates(self, now_ns: int) -> list[Fact]:
        facts: list[Fact] = []
        for slot in self._markets.due(now_ns):
            facts += self._trading.close(slot)
            facts.append(self._markets.close(slot))
        return facts

    # ---- envelopes ------------------------------------------------------------------------

    def _append(self, envelope: AppendSealed, at_ns: int, now_ns: int) -> list[Fact]:
        device, seq = envelope.device, envelope.seq
        gateway = self._gateways.get(device)
        refusal = refuse_position(gateway, envelope)
        if refusal is not None or gateway is None:
            return [BatchRefused(self.name, device, seq, refusal or Refusal.UNKNOWN_DEVICE)]
        gateway.take(seq, link_of(envelope))
        gateway.hear(now_ns)
        payload = open_payload(envelope.payload, self.columns)
        if isinstance(payload, SweepBatch):
            payload = refuse_batch(gateway, payload, at_ns, now_ns) or payload
        if isinstance(payload, Refusal):
            return [BatchRefused(self.name, device, seq, payload)]
        return self._use(gateway, payload, at_ns, now_ns)

    def _use(self, gateway: Gateway, payload: Payload, at_ns: int, now_ns: int) -> list[Fact]:
        match payload:
            case SweepBatch():
                return [
                    self._accepted(gateway, payload.readings, 0),
                    *self._read(gateway, payload, at_ns),
                ]
            case OfferBatch():
                return [
                    self._accepted(gateway, 0, len(payload.offers)),
                    *self._trade(gateway, payload, now_ns),
                ]
            case LeaseReports():
                return [self._accepted(gateway, 0, 0), *self._report(gateway, payload)]
            case RegisterMap():
                gateway.learn(payload.map_id, plan_columns(payload))
                return [self._accepted(gateway, 0, 0)]

    def _read(self, gateway: Gateway, batch: SweepBatch, at_ns: int) -> list[Fact]:
        plan = gateway.maps[batch.map_id]
        if plan.is_metered:
            oldest_ms = (at_ns - READING_AGE_NS_MAX) // _NS_PER_MS
            gateway.home.meter.record(plan, batch, oldest_ms)
        if newest_ms(batch) * _NS_PER_MS <= gateway.snapshot.at_ns:
            return []
        gateway.snapshot = now = observe(plan, batch, gateway.snapshot)
        return [
            Telemetry(
                self.name,
                gateway.device,
                gateway.account,
                now.at_ns,
                now.grid_w,
                now.pv_w,
                now.battery_w,
                now.load_w,
                now.soc_per_mille,
                now.capacity_wh,
                now.max_charge_w,
                now.max_discharge_w,
                now.voltage_low_mv,
                now.voltage_high_mv,
                now.frequency_mhz,
            )
        ]

    def _trade(self, gateway: Gateway, batch: OfferBatch, now_ns: int) -> list[Fact]:
        """Withdrawals first: they make room for what is offered anew."""
        facts: list[Fact] = []
        for cancel in batch.cancels:
            facts += self._trading.cancel(gateway, cancel.number)
        for offer in batch.offers:
            if self._grid.suspends(gateway.node, offer.slot, now_ns):
                facts.append(self._grid.refuse(gateway, offer))
            else:
                facts += self._trading.place(gateway, offer, now_ns)
        return facts

    def _report(self, gateway: Gateway, batch: LeaseReports) -> list[Fact]:
        return [
            LeaseReported(
                self.name,
                gateway.device,
                report.lease_id,
                report.state,
                report.at_ns,
                report.applied_w,
                report.measured_w,
            )
            for report in batch.reports
        ]

    def _accepted(self, gateway: Gateway, readings: int, offers: int) -> BatchAccepted:
        return BatchAccepted(self.name, gateway.device, gateway.seq, gateway.link, readings, offers)

    def _refused(self, subject: str, reason: Refusal) -> ZoneRefused:
        return ZoneRefused(self.name, subject, reason)


def _ticks(rules: ZoneRules) -> int:
    """How many prices the band has, both ends in."""
    band = rules.fallback_import_micro_per_kwh - rules.fallback_export_micro_per_kwh
    return band // rules.tick_micro_per_kwh + 1


def _are_sound(rules: ZoneRules) -> bool:
    """Whether a market can be run by these rules."""
    if rules.tick_micro_per_kwh <= 0 or not 1 <= _ticks(rules) <= TICKS_MAX:
        return False
    band = rules.fallback_import_micro_per_kwh - rules.fallback_export_micro_per_kwh
    return (
        band % rules.tick_micro_per_kwh == 0
        and abs(rules.fallback_import_micro_per_kwh) <= PRICE_MICRO_PER_KWH_MAX
        and abs(rules.fallback_export_micro_per_kwh) <= PRICE_MICRO_PER_KWH_MAX
        and 0 <= rules.gate_closure_s <= SECONDS_PER_DAY
        and 0 <= rules.auction_s <= SECONDS_PER_DAY
        and 0 <= rules.metering_deadline_s <= 7 * SECONDS_PER_DAY
        and 0 <= rules.grid_fee_bps <= BPS
        and 0 <= rules.grid_fee_micro_per_kwh <= PRICE_MICRO_PER_KWH_MAX
        and 0 <= rules.trading_fee_bps <= BPS
        and rules.position_max_wh > 0
        and rules.orders_free >= 0
        and rules.orders_per_trade_max >= 0
        and rules.opening_s >= 0
        and (rules.power_flow or not rules.three_phase)
        and 0 <= rules.auction_rounds <= AUCTION_ROUNDS_MAX
        # A market is open for a day, and between its auctions offers trade at once.
        and (not rules.opening_s or _closing_s(rules) + rules.opening_s <= SECONDS_PER_DAY)
    )


def _closing_s(rules: ZoneRules) -> int:
    """How long before delivery a slot's offers stop trading at once."""
    return rules.gate_closure_s + rules.auction_s
