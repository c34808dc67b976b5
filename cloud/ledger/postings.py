"""The transfers of one settlement run: what the new outcome differs by from what was posted.

Decides which accounts move what, one transfer an account and purpose however many trades it had;
money and tokens pass through the zone's clearing account, which is empty before and after. Where a
correction asks more of an account than it has, the utility advances the rest and holds a claim, so
that nobody else waits for the money. Must never post twice: all amounts are new less old, and a
negative difference runs the other way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cloud.facts import Posted
from cloud.ledger.accounts import Capture, Step
from cloud.ledger.books import FURNACE, MINT, ZoneAccounts, fund
from cloud.ledger.columns import CLAIM, GT, MONEY
from cloud.ledger.settlement import FUND_SHARES, NOTHING, Outcome, Totals, fund_split
from protos.ids import AccountId, effects_of
from protos.units import val

Spendable = Callable[[AccountId, str], int]
"""How much of an asset an account could pay now, beyond all reservations."""


@dataclass(frozen=True, slots=True)
class Run:
    """One settlement run: its place, the bank's accounts for the zone, and how to make a transfer."""

    group_id: str
    slot: int
    accounts: ZoneAccounts
    effects: dict[str, Callable[[str | int], str]] = field(default_factory=dict)
    """How the ids of each code are made."""

    def move(
        self, code: str, debit: AccountId, credit: AccountId, asset: str, amount: int, party: str
    ) -> Posted:
        """`amount` from debit to credit, or back where it is negative."""
        if amount < 0:
            debit, credit, amount = credit, debit, -amount
        effect = self.effects.get(code)
        if effect is None:
            effect = self.effects[code] = effects_of(self.group_id, code)
        return Posted(effect(party), debit, credit, asset, amount, code, self.slot)


def steps(
    run: Run,
    holds: Mapping[AccountId, Sequence[str]],
    old: Outcome,
    new: Outcome,
    spendable: Spendable,
) -> Iterator[Step]:
    """All steps of the run, customers first, in account order."""
    names = sorted({*old.accounts, *new.accounts})
    for name in names:
        before = old.accounts.get(name, NOTHING)
        after = new.accounts.get(name, NOTHING)
        net = after.money_micro - before.money_micro
        held = tuple(holds.get(name, ()))
        if held or net:
            yield from _money(run, name, net, held, spendable)
    for name in names:
        before = old.accounts.get(name, NOTHING)
        after = new.accounts.get(name, NOTHING)
        if before is not after:
            yield from _tokens(run, name, before, after)
            yield from _missing_tokens(run, name, after.banked_wh - before.banked_wh, spendable)
    yield from _closing(run, old, new)


def posted_in(all_steps: Sequence[Step]) -> Iterator[Posted]:
    """The transfers among these steps."""
    for step in all_steps:
        posted = step.posted if isinstance(step, Capture) else step
        if isinstance(posted, Posted):
            yield posted


def _money(
    run: Run, name: AccountId, net: int, holds: tuple[str, ...], spendable: Spendable
) -> Iterator[Step]:
    clearing, utility = run.accounts.clearing, run.accounts.utility
    if holds:
        # What an account owes at first settlement never exceeds what it reserved (settlement.py).
        paid = run.move("settle", name, clearing, MONEY, -net, name) if net < 0 else None
        yield Capture(holds, paid)
    elif net < 0:
        own = min(-net, max(0, spendable(name, MONEY)))
        if own:
            yield run.move("settle", name, clearing, MONEY, own, name)
        if own < -net:
            yield run.move("advance", utility, clearing, MONEY, -net - own, name)
            yield run.move("claim", name, utility, CLAIM, -net - own, name)
    if net > 0:
        yield run.move("settle", clearing, name, MONEY, net, name)


def _tokens(run: Run, name: AccountId, before: Totals, after: Totals) -> Iterator[Step]:
    """Made on metered export, moved with the trade, burned on consumption; of the rest the home
    keeps what is banked, and the utility gets what it bought.
    """
    clearing, utility = run.accounts.clearing, run.accounts.utility
    verified = after.verified_wh - before.verified_wh
    sold = after.tokens_sold_wh - before.tokens_sold_wh
    bought = after.tokens_bought_wh - before.tokens_bought_wh
    unsold = verified - sold - (after.banked_wh - before.banked_wh)
    if verified:
        yield run.move("mint", MINT, name, GT, verified, name)
    if sold:
        yield run.move("sold", name, clearing, GT, sold, name)
    if unsold:
        yield run.move("unsold", name, utility, GT, unsold, name)
    if bought:
        yield run.move("bought", clearing, name, GT, bought, name)
        yield run.move("burn", name, FURNACE, GT, bought, name)


def _missing_tokens(run: Run, name: AccountId, banked: int, spendable: Spendable) -> Iterator[Step]:
    """A correction takes banked tokens back that the home no longer has: the utility stands in, and
    holds a claim for what supplying those Wh costs it.
    """
    missing = -banked - max(0, spendable(name, GT)) if banked < 0 else 0
    if missing > 0:
        utility = run.accounts.utility
        yield run.move("token advance", utility, name, GT, missing, name)
        cost = val(missing, run.accounts.rules.fallback_import_micro_per_kwh)
        if cost:
            yield run.move("token claim", name, utility, CLAIM, cost, name)


def _closing(run: Run, old: Outcome, new: Outcome) -> Iterator[Step]:
    """The bank's own accounts: fees to their takers, the utility's part, its tokens burned."""
    accounts = run.accounts
    grid = new.grid_fee_micro - old.grid_fee_micro
    if grid:
        yield run.move("grid_fee", accounts.clearing, accounts.grid, MONEY, grid, "")
    shares = zip(
        FUND_SHARES,
        fund_split(new.trading_fee_micro),
        fund_split(old.trading_fee_micro),
        strict=True,
    )
    for name, after, before in shares:
        if after != before:
            amount = after - before
            yield run.move("trading_fee", accounts.clearing, fund(name), MONEY, amount, name)
    balancing = new.utility_micro - old.utility_micro
    if balancing:
        yield run.move("balancing", accounts.clearing, accounts.utility, MONEY, balancing, "")
    rounding = new.rounding_micro - old.rounding_micro
    if rounding:
        yield run.move("rounding", accounts.clearing, accounts.rounding, MONEY, rounding, "")
    unsold = new.unsold_wh - old.unsold_wh
    if unsold:
        yield run.move("burn", accounts.utility, FURNACE, GT, unsold, accounts.utility)
