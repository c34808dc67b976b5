"""What a settlement run says: which meters it took, one statement an account, one line for the slot.

Decides nothing about money. Energy in a statement is the slot as it now stands; money, fees and
tokens are what this revision changed, so that an account's statements add up to its balance. Must
never leave out an account that was settled.
"""

from collections.abc import Iterator

from cloud.commands import MeterSlot, SettleSlot
from cloud.facts import BankRefused, SlotSettled, Statement
from cloud.ledger.accounts import Ledger
from cloud.ledger.books import Meters
from cloud.ledger.settlement import NOTHING, Outcome, conservation_error_wh
from protos.limits import OFFER_ENERGY_WH_MAX
from protos.messages import Refusal


def accepted_meters(command: SettleSlot, ledger: Ledger) -> tuple[Meters, list[BankRefused]]:
    """The meters by account, and those that stand for nobody or count what no home can."""
    accepted: Meters = {}
    refused = []
    for meter in command.meters:
        if not ledger.is_customer(meter.account, command.zone):
            refused.append(BankRefused(meter.account, int(Refusal.UNKNOWN_ACCOUNT)))
        elif not _is_plausible(meter):
            refused.append(BankRefused(meter.account, int(Refusal.BAD_ENERGY)))
        else:
            accepted.setdefault(meter.account, []).append(meter)
    return accepted, refused


def verified_wh(meters: Meters) -> int:
    """Export that was read and not estimated: what may be minted."""
    return sum(
        meter.export_wh for group in meters.values() for meter in group if not meter.estimated
    )


def statements(command: SettleSlot, before: Outcome, after: Outcome) -> Iterator[Statement]:
    """One statement for each account that this run settled differently than the one before."""
    for account in sorted({*before.accounts, *after.accounts}):
        was = before.accounts.get(account)
        now = after.accounts.get(account, NOTHING)
        if was == now:
            continue
        old = was or NOTHING
        yield Statement(
            command.zone,
            command.slot,
            command.revision,
            account,
            now.import_wh,
            now.export_wh,
            now.bought_wh,
            now.sold_wh,
            now.delivered_bought_wh,
            now.delivered_sold_wh,
            now.verified_wh - old.verified_wh,
            now.tokens_bought_wh - old.tokens_bought_wh,
            now.money_micro - old.money_micro,
            now.fees_micro - old.fees_micro,
            now.wheeling_micro - old.wheeling_micro,
            now.banked_wh - old.banked_wh,
        )


def slot_settled(command: SettleSlot, before: Outcome, after: Outcome) -> SlotSettled:
    """The slot's summary. Minted Wh are burned, by buyers or by the utility that took them, but for
    those that homes keep.
    """
    minted = after.minted_wh - before.minted_wh
    burned = minted - (after.banked_wh - before.banked_wh)
    return SlotSettled(
        command.zone,
        command.slot,
        command.revision,
        after.trades,
        after.sold_wh,
        after.delivered_wh,
        minted,
        burned,
        after.fees_micro - before.fees_micro,
        conservation_error_wh(after, command.meters),
        tuple(sorted({*before.accounts, *after.accounts})),
        command.grouped,
    )


def _is_plausible(meter: MeterSlot) -> bool:
    return (
        0 <= meter.import_wh <= OFFER_ENERGY_WH_MAX and 0 <= meter.export_wh <= OFFER_ENERGY_WH_MAX
    )
