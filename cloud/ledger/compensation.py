"""What homes are paid because the grid operator took trades of theirs back.

The trades stand and are settled as they were; on top the operator's account pays each home what it
lost. That account has no floor, so that no home waits for it; a home that the ledger does not know
is named and the others are paid. Decides nothing else; must never pay a slot twice.
"""

from collections import deque

from cloud.commands import CompensateHomes
from cloud.facts import BankRefused, Fact, Posted
from cloud.ledger.accounts import Ledger, Replay
from cloud.ledger.books import ZoneAccounts
from cloud.ledger.columns import AMOUNT_MAX, MONEY
from protos.ids import effect_id
from protos.messages import Refusal

CODE = "re-dispatch"
SLOTS_MAX = 10_000
"""Slots whose payment is remembered, oldest forgotten first: a hundred days of one zone."""


class Compensations:
    """All zones'."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._paid: deque[str] = deque()

    def apply(self, command: CompensateHomes, zone: ZoneAccounts | None) -> list[Fact]:
        """The postings, and a refusal for each home that is no customer of the zone."""
        subject = f"{command.zone}/{command.slot}"
        if zone is None:
            return [BankRefused(subject, Refusal.UNKNOWN_ACCOUNT)]
        if any(not 0 < home.amount_micro <= AMOUNT_MAX // 4 for home in command.homes):
            return [BankRefused(subject, Refusal.BAD_PRICE)]
        group = effect_id("redispatch", command.zone, command.slot)
        terms = [(home.device, home.account, home.amount_micro) for home in command.homes]
        cause = effect_id("redispatch", *[term for home in terms for term in home])
        replay = self._ledger.replay(group, cause)
        if replay is not Replay.NEW:
            same = replay is Replay.SAME
            return [] if same else [BankRefused(subject, Refusal.CHANGED_REPLAY)]
        facts: list[Fact] = []
        postings: list[Posted] = []
        for home in command.homes:
            if not self._ledger.is_customer(home.account, command.zone):
                facts.append(BankRefused(f"{subject}/{home.device}", Refusal.UNKNOWN_ACCOUNT))
                continue
            posting_id = effect_id("redispatch", command.zone, command.slot, home.device)
            amount = home.amount_micro
            postings.append(
                Posted(posting_id, zone.utility, home.account, MONEY, amount, CODE, command.slot)
            )
        refusal = self._ledger.link(postings)
        if refusal is not None:
            return [BankRefused(subject, refusal)]
        self._remember(group, cause)
        return [*postings, *facts]

    def _remember(self, group: str, cause: str) -> None:
        self._ledger.remember(group, cause)
        self._paid.append(group)
        while len(self._paid) > SLOTS_MAX:
            self._ledger.forget([self._paid.popleft()])

    def state(self) -> object:
        return list(self._paid)
