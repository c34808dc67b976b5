"""What follows from what: the journeys of the house, read top to bottom in one match.

A fact of one machine becomes a command to another. There is no state here and no arithmetic; an
arm that needs either belongs into a machine. The writer journals the commands before they are
applied, and after a crash asks this module again, so the answer must depend on the fact alone.
"""

from collections.abc import Sequence

from cloud.commands import (
    AdmitGateway,
    Command,
    CompensateHomes,
    ExpelGateway,
    GrantAllowance,
    GrantAllowances,
    HomePayment,
    ObserveFleet,
    OpenAccount,
    OpenLedger,
    RecordLease,
    ReleaseReservation,
    ReleaseSlot,
    ReserveTrades,
    SettleSlot,
    ShareRevenue,
    TradeTerms,
    VoidTrades,
)
from cloud.facts import (
    AllowanceChanged,
    AllowancesChanged,
    BatchAccepted,
    DeviceEnrolled,
    DeviceRevoked,
    Fact,
    LeaseReported,
    OfferRested,
    Posted,
    Redispatched,
    RevenueStated,
    SiteCreated,
    SlotMetered,
    SlotSettled,
    Statement,
    Telemetry,
    Traded,
    TradesRefused,
    ZoneOpened,
)

PLENTIFUL = frozenset({BatchAccepted, OfferRested, Posted, Statement})
"""Facts of which readings, offers and settled slots bring thousands, and from which nothing follows."""


def follow(facts: Sequence[Fact]) -> list[Command]:
    """The commands that one step's facts ask for, in the order of the facts."""
    commands: list[Command] = []
    has_trades = False
    for fact in facts:
        if type(fact) in PLENTIFUL:
            continue
        has_trades = has_trades or isinstance(fact, Traded)
        commands.extend(_follow(fact))
    return commands + _reservations(facts) if has_trades else commands


def _follow(fact: Fact) -> list[Command]:
    match fact:
        # The fleet's batteries are what the desk can bid with. First, because it comes with every
        # batch.
        case Telemetry():
            return _observed(fact)
        # A home appears, its device is enrolled, and it may trade.
        case ZoneOpened(zone=zone, rules=rules):
            return [OpenLedger(zone, rules)]
        case SiteCreated(account=account, zone=zone):
            return [OpenAccount(account, "prosumer", zone)]
        case DeviceEnrolled(zone=zone, device=device, account=account, node=node):
            return [AdmitGateway(zone, device, account, node)]
        case DeviceRevoked(zone=zone, device=device):
            return [ExpelGateway(zone, device)]
        # Readings become slot energy, slot energy becomes money and tokens.
        case SlotMetered(zone=zone, slot=slot, revision=revision, meters=meters):
            return [SettleSlot(zone, slot, revision, meters, True)]
        case LeaseReported(device=device, lease_id=lease, state=state, measured_w=measured_w):
            return [RecordLease(device, lease, state, measured_w)]
        # What a venue pays for a bid reaches the homes that delivered for it.
        case RevenueStated(venue=venue, bid_id=bid, version=version):
            terms = (fact.amount_micro, fact.owners_per_mille, fact.deliveries)
            return [ShareRevenue(venue, bid, version, *terms)]
        # What the grid operator takes back of a home's trades it pays for.
        case Redispatched(zone=zone, slot=slot, homes=homes):
            owed = [HomePayment(h.device, h.account, h.compensation_micro) for h in homes]
            paid = tuple(home for home in owed if home.amount_micro)
            return [CompensateHomes(zone, slot, paid)] if paid else []
    return _follow_bank(fact)


def _follow_bank(fact: Fact) -> list[Command]:
    """What the bank says to the zones: how much may be owed, what is free, what is void."""
    match fact:
        case AllowanceChanged(zone=zone, account=account, allowance_micro=allowance):
            return [GrantAllowance(zone, account, allowance)] if zone else []
        case AllowancesChanged(zone=zone, accounts=accounts, allowances_micro=allowances):
            return [GrantAllowances(zone, accounts, allowances)]
        case SlotSettled(zone=zone, slot=slot, revision=0, accounts=accounts, grouped=True):
            return [ReleaseSlot(zone, slot, accounts)] if accounts else []
        case SlotSettled(zone=zone, slot=slot, revision=0, accounts=accounts):
            return [ReleaseReservation(zone, account, slot) for account in accounts]
        case TradesRefused(zone=zone, slot=slot, trades=trades, reasons=reasons):
            return [VoidTrades(zone, slot, trades, reasons)]
    return []


def _observed(fact: Telemetry) -> list[Command]:
    if fact.capacity_wh <= 0:
        return []
    return [
        ObserveFleet(
            fact.device,
            fact.zone,
            fact.soc_per_mille,
            fact.capacity_wh,
            fact.max_charge_w,
            fact.max_discharge_w,
            fact.battery_w,
            fact.account,
        )
    ]


def _reservations(facts: Sequence[Fact]) -> list[Command]:
    """All trades of one step and slot are reserved together: one command, not one each."""
    trades: dict[tuple[str, int], list[TradeTerms]] = {}
    for fact in facts:
        if isinstance(fact, Traded):
            terms = TradeTerms(
                fact.trade,
                fact.buyer,
                fact.seller,
                fact.energy_wh,
                fact.price_micro_per_kwh,
                fact.rent_micro,
                fact.wheeling_micro_per_kwh,
            )
            trades.setdefault((fact.zone, fact.slot), []).append(terms)
    return [ReserveTrades(zone, slot, tuple(group), True) for (zone, slot), group in trades.items()]
