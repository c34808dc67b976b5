"""The bank: the machine that reserves, settles, makes and burns, and seals what happened.

Decides whether money moves. It answers commands with facts and refuses with a reason; it never
raises for bad input and never lets anybody owe what was not reserved. After every command: each
asset's balances sum to zero, no account is under its floor, and the tokens outstanding are the
verified export less what was burned. Anything else is a defect and stops the writer.

An account's allowance is its posted money balance. Its zone reserves against that number before
it trades and frees a slot's reservation when the slot is settled; the bank names the new allowance
in the facts before that one, so that between the two the zone can only be too careful.
"""

from array import array
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import compress

import msgspec

from cloud.commands import (
    AssignPseudonyms,
    Command,
    CommitRecord,
    CompensateHomes,
    Deposit,
    OpenAccount,
    OpenLedger,
    PostTransfers,
    RecordErasure,
    ReserveTrades,
    RetireTokens,
    SealBlock,
    SettleSlot,
    ShareRevenue,
    StakeCommand,
    TradeTerms,
)
from cloud.facts import (
    AccountOpened,
    AllowanceChanged,
    AllowancesChanged,
    BankRefused,
    BlockSealed,
    Fact,
    Posted,
    TransfersExpired,
)
from cloud.ledger.accounts import Ledger, Replay
from cloud.ledger.books import (
    FURNACE,
    ISSUER,
    MINT,
    PROVIDER,
    RESERVED_PREFIX,
    SlotBook,
    ZoneAccounts,
    final_ns,
    fund,
    pack,
    unpack,
    zone_accounts,
)
from cloud.ledger.columns import CLAIM, GT, MONEY, changed_money
from cloud.ledger.compensation import Compensations
from cloud.ledger.kinds import FUND_KINDS, OPENABLE, Kind
from cloud.ledger.log import TransparencyLog
from cloud.ledger.payments import batch_facts, deposit, retire
from cloud.ledger.postings import Run, posted_in, steps
from cloud.ledger.privacy_log import Commitments
from cloud.ledger.pseudonyms import Pseudonyms
from cloud.ledger.reserving import Reserving, refuse_trades
from cloud.ledger.settlement import FUND_SHARES, Outcome, rules_are_sound, settle
from cloud.ledger.stake import Stakes
from cloud.ledger.statements import accepted_meters, slot_settled, statements, verified_wh
from cloud.ledger.transfers import Transfers
from cloud.ledger.venue_share import VenueShares, homes_paid
from protos.clock import slot_at, slot_end_ns
from protos.ids import AccountId, effect_id
from protos.limits import SLOTS_AHEAD_MAX
from protos.messages import Refusal


class Bank:
    """One ledger for all zones, and the log of everything that happened in all machines."""

    def __init__(self) -> None:
        self.log = TransparencyLog()
        self._ledger = Ledger()
        self.stakes = Stakes(self._ledger)
        self.commitments = Commitments()
        self.venue_shares = VenueShares(self._ledger)
        self.compensations = Compensations(self._ledger)
        self.pseudonyms = Pseudonyms()
        self._transfers = Transfers()
        self._zones: dict[str, ZoneAccounts] = {}
        self._books: dict[tuple[str, int], SlotBook] = {}
        self._finals: list[tuple[int, str, int]] = []
        self._allowances = array("q")
        self._verified_wh = 0
        self._blocks = 0
        self._ledger.open(PROVIDER, Kind.PROVIDER, "")
        self._ledger.open(MINT, Kind.MINT, "")
        self._ledger.open(FURNACE, Kind.FURNACE, "")
        for name in FUND_SHARES:
            self._ledger.open(fund(name), FUND_KINDS[name], "")
        self._ledger.open(ISSUER, Kind.ISSUER, "")

    @property
    def minted_wh(self) -> int:
        """All tokens ever made, corrections taken off, in Wh."""
        return -self._ledger.balance(MINT, GT)

    @property
    def burned_wh(self) -> int:
        """All tokens ever burned, corrections taken off, in Wh."""
        return self._ledger.balance(FURNACE, GT)

    def sums(self) -> dict[str, int]:
        """Each asset's balances added up over all accounts: always zero."""
        return self._ledger.sums()

    def balances(self, account: AccountId) -> dict[str, int]:
        """The posted balances of an account by asset; empty for one that never held anything."""
        return self._ledger.balances(account)

    def reserved_micro(self, account: AccountId) -> int:
        """Money of the account that is set aside for trades not yet settled."""
        return self._ledger.balance(account, MONEY) - self._ledger.spendable(account, MONEY)

    def apply(self, command: Command, at_ns: int) -> list[Fact]:
        """The facts that follow from this command at this journal time."""
        facts = self._finalise(at_ns)
        match command:
            case OpenLedger():
                facts += self._open_ledger(command)
            case OpenAccount():
                facts += self._open_account(command)
            case Deposit():
                facts += self._deposit(command)
            case RetireTokens():
                facts += retire(self._ledger, command)
            case PostTransfers():
                facts += self._post_transfers(command, at_ns)
            case ReserveTrades():
                facts += self._reserve(command, at_ns)
            case SettleSlot():
                facts += self._settle_slot(command, at_ns)
            case SealBlock():
                facts += self._seal(at_ns)
            case ShareRevenue() | CompensateHomes():
                facts += self._pay_homes(command)
            case CommitRecord() | AssignPseudonyms() | RecordErasure():
                facts += self._keep_private(command)
            case _ if isinstance(command, StakeCommand):
                facts += self.stakes.apply(command, at_ns)
                facts += self._new_allowances(facts)
            case _:
                raise AssertionError(f"{type(command).__name__} is no command of the bank")
        self._ledger.check()
        assert self.minted_wh == self._verified_wh, "tokens were made without a verified export"
        return facts

    def _pay_homes(self, command: ShareRevenue | CompensateHomes) -> list[Fact]:
        """What a venue earned, or the grid operator owes."""
        if isinstance(command, ShareRevenue):
            shared = self.venue_shares.apply(command)
            return shared + self._new_allowances(homes_paid(shared))
        paid = self.compensations.apply(command, self._zones.get(command.zone))
        return paid + self._new_allowances(paid)

    def _keep_private(self, command: CommitRecord | AssignPseudonyms | RecordErasure) -> list[Fact]:
        match command:
            case CommitRecord():
                return self.commitments.commit(command)
            case AssignPseudonyms():
                return self.pseudonyms.assign(command)
            case RecordErasure():
                return self.commitments.erase(command)

    def state(self) -> object:
        return {
            "ledger": self._ledger.state(),
            "zones": {zone: msgspec.to_builtins(z.rules) for zone, z in self._zones.items()},
            "books": {f"{zone}/{slot}": book.state() for (zone, slot), book in self._books.items()},
            "allowances": list(self._allowances),
            "verified_wh": self._verified_wh,
            "blocks": self._blocks,
            "transfers": self._transfers.state(),
            "stakes": self.stakes.state(),
            "pseudonyms": self.pseudonyms.state(),
            "commitments": self.commitments.state(),
            "venue_shares": self.venue_shares.state(),
            "compensations": self.compensations.state(),
            "log": self.log.state(),
        }

    # ---- accounts ----------------------------------------------------------------------------

    def _open_ledger(self, command: OpenLedger) -> list[Fact]:
        known = self._zones.get(command.zone)
        if known is not None:
            return (
                []
                if known.rules == command.rules
                else _refuse(command.zone, Refusal.CHANGED_REPLAY)
            )
        if not rules_are_sound(command.rules):
            return _refuse(command.zone, Refusal.MALFORMED)
        zone = self._zones[command.zone] = zone_accounts(command.zone, command.rules)
        facts: list[Fact] = []
        kinds = [
            (zone.utility, Kind.UTILITY),
            (zone.grid, Kind.GRID),
            (zone.clearing, Kind.CLEARING),
        ]
        if command.rules.post_rounding:
            kinds.append((zone.rounding, Kind.ROUNDING))
        for account, kind in kinds:
            self._ledger.open(account, kind, command.zone)
            facts.append(AccountOpened(account, kind.value, command.zone))
        return facts

    def _open_account(self, command: OpenAccount) -> list[Fact]:
        if command.account.startswith(RESERVED_PREFIX) or command.kind not in OPENABLE:
            return _refuse(command.account, Refusal.MALFORMED)
        is_new = command.account not in self._ledger.owners
        refusal = self._ledger.open(command.account, Kind(command.kind), command.zone)
        if refusal is not None:
            return _refuse(command.account, refusal)
        return [AccountOpened(command.account, command.kind, command.zone)] if is_new else []

    def _deposit(self, command: Deposit) -> list[Fact]:
        facts = deposit(self._ledger, command)
        if not facts or isinstance(facts[0], BankRefused):
            return facts
        facts += self._collect(command.account, effect_id("bank/deposit", command.deposit_id), 0)
        facts += self._allowance(command.account)
        return facts

    def customers(self) -> list[AccountId]:
        """All accounts that belong to somebody, in opening order."""
        owners = self._ledger.owners
        return [name for name in self._ledger.names if owners[name].kind in OPENABLE]

    def kind_of(self, account: AccountId) -> Kind | None:
        """What the account is for; None for one that is not open."""
        owner = self._ledger.owners.get(account)
        return None if owner is None else owner.kind

    def account_number(self, account: AccountId) -> int | None:
        """What stands for the account in a packed transfer; None for one that is not open."""
        owner = self._ledger.owners.get(account)
        return None if owner is None else owner.number

    def _post_transfers(self, command: PostTransfers, at_ns: int) -> list[Fact]:
        refusal = self._transfers.refuse(command.hour, command.records, at_ns)
        if refusal is not None:
            return _refuse(f"transfers/{command.hour}", refusal)
        ledger = self._ledger
        done = self._transfers.post(
            ledger.columns, ledger.usable, command.hour, command.records, at_ns
        )
        if not done.posted and not done.refused:
            return []
        return [*batch_facts(command, done), *self._grouped_allowances(done.touched)]

    def _grouped_allowances(self, numbers: list[int]) -> list[Fact]:
        """The allowances that changed among accounts given by number, one fact a zone."""
        changed, balances = changed_money(self._ledger.columns, numbers, self._known_allowances())
        names, zone_of = self._ledger.names, self._ledger.zones
        zones = list(map(zone_of.__getitem__, changed))
        facts: list[Fact] = []
        for zone in dict.fromkeys(zones):
            here = zones if zones.count(zone) == len(zones) else [one == zone for one in zones]
            if zone:
                accounts = map(names.__getitem__, compress(changed, here))
                facts.append(
                    AllowancesChanged(zone, tuple(accounts), tuple(compress(balances, here)))
                )
        return facts

    def _known_allowances(self) -> "array[int]":
        """What the zones were told last, by account number; nothing yet of new accounts."""
        fresh = len(self._ledger.names) - len(self._allowances)
        if fresh:
            self._allowances.extend([0] * fresh)
        return self._allowances

    def _collect(self, account: AccountId, cause: str, slot: int) -> list[Posted]:
        """Pays back what the utility advanced, as far as the account can."""
        owed = -self._ledger.balance(account, CLAIM)
        amount = min(owed, self._ledger.spendable(account, MONEY))
        if amount <= 0:
            return []
        utility = self._zones[self._ledger.owners[account].zone].utility
        money = effect_id(cause, "arrears", account)
        claim = effect_id(cause, "claim paid", account)
        postings = [
            Posted(money, account, utility, MONEY, amount, "arrears", slot),
            Posted(claim, utility, account, CLAIM, amount, "claim", slot),
        ]
        refusal = self._ledger.link(postings)
        assert refusal is None, f"arrears of {account} could not be collected: {refusal!r}"
        return postings

    def _allowance(self, account: AccountId) -> list[Fact]:
        """The account's new allowance, if it changed."""
        owner = self._ledger.owners[account]
        known, allowance = self._known_allowances(), self._ledger.balance(account, MONEY)
        if known[owner.number] == allowance:
            return []
        known[owner.number] = allowance
        return [AllowanceChanged(account, owner.zone, allowance)]

    def _new_allowances(self, facts: list[Fact]) -> list[Fact]:
        """Rewards in money raise what their takers may owe."""
        takers = [f.credit for f in facts if isinstance(f, Posted) and f.asset == MONEY]
        return [fact for account in takers for fact in self._allowance(account)]

    # ---- slots -------------------------------------------------------------------------------

    def _book(self, zone: str, slot: int) -> SlotBook:
        book = self._books.get((zone, slot))
        if book is None:
            book = self._books[zone, slot] = SlotBook(zone, slot)
            heappush(self._finals, (final_ns(slot), zone, slot))
        return book

    def _reserve(self, command: ReserveTrades, at_ns: int) -> list[Fact]:
        zone = self._zones.get(command.zone)
        if zone is None:
            return refuse_trades(command, command.trades, Refusal.UNKNOWN_ACCOUNT)
        if command.slot > slot_at(at_ns) + 2 * SLOTS_AHEAD_MAX:
            return refuse_trades(command, command.trades, Refusal.UNKNOWN_SLOT)
        if at_ns >= final_ns(command.slot):
            return refuse_trades(command, command.trades, Refusal.TOO_OLD)
        book = self._book(command.zone, command.slot)
        if book.is_settled:
            known = {*unpack(book.archive, self._ledger.names)[0]}
            late = [terms for terms in command.trades if terms not in known]
            return refuse_trades(command, late, Refusal.GATE_CLOSED) if late else []
        return Reserving(self._ledger, zone, book).reserve(command)

    def _settle_slot(self, command: SettleSlot, at_ns: int) -> list[Fact]:
        subject = f"{command.zone}/{command.slot}"
        if command.zone not in self._zones:
            return _refuse(subject, Refusal.UNKNOWN_ACCOUNT)
        if at_ns < slot_end_ns(command.slot):
            return _refuse(subject, Refusal.TOO_EARLY)
        if at_ns >= final_ns(command.slot):
            return _refuse(subject, Refusal.TOO_OLD)
        if command.revision < 0:
            return _refuse(subject, Refusal.MALFORMED)
        book = self._book(command.zone, command.slot)
        group_id = book.group_id(command.revision)
        replay = self._ledger.replay(group_id, _fingerprint(command))
        if replay is not Replay.NEW:
            same = replay is Replay.SAME
            return [] if same else _refuse(subject, Refusal.CHANGED_REPLAY)
        if command.revision <= book.revision:
            return _refuse(subject, Refusal.TOO_OLD)
        return self._run(book, command)

    def _run(self, book: SlotBook, command: SettleSlot) -> list[Fact]:
        """Settles the slot on these meters and posts what that changes."""
        zone = self._zones[command.zone]
        meters, refused = accepted_meters(command, self._ledger)
        trades, before = self._posted_so_far(book, zone)
        after = settle(trades, meters, zone.rules)
        group_id = book.group_id(command.revision)
        run = Run(group_id, command.slot, zone)
        all_steps = list(steps(run, book.holds, before, after, self._ledger.spendable))
        refusal = self._ledger.link(all_steps)
        if refusal is not None:
            assert refusal is Refusal.BAD_PRICE, f"{group_id}: a settlement was refused {refusal!r}"
            return _refuse(f"{command.zone}/{command.slot}", refusal)
        facts: list[Fact] = [*refused, *posted_in(all_steps)]
        facts += self._after_run(
            group_id,
            command.slot,
            sorted({*before.accounts, *after.accounts}),
            grouped=command.grouped,
        )
        self._ledger.remember(group_id, _fingerprint(command))
        verified = verified_wh(meters)
        self._verified_wh += verified - book.verified_wh
        book.close_run(command.revision, pack(trades, meters, self._ledger.owners), verified)
        self._audit(zone)
        facts += statements(command, before, after)
        facts.append(slot_settled(command, before, after))
        return facts

    def _posted_so_far(
        self, book: SlotBook, zone: ZoneAccounts
    ) -> tuple[list[TradeTerms], Outcome]:
        """The slot's trades by id, and what its last run came to, settled once more."""
        if not book.is_settled:
            return sorted(book.trades.values(), key=lambda terms: terms.trade), Outcome()
        trades, meters = unpack(book.archive, self._ledger.names)
        return trades, settle(trades, meters, zone.rules)

    def _after_run(
        self, group_id: str, slot: int, accounts: list[AccountId], *, grouped: bool
    ) -> list[Fact]:
        """Arrears that can now be paid, then the new allowances."""
        collected: list[Fact] = []
        if grouped:
            for account in accounts:
                collected += self._collect(account, group_id, slot)
            owners = self._ledger.owners
            return collected + self._grouped_allowances([owners[name].number for name in accounts])
        allowances: list[Fact] = []
        for account in accounts:
            collected += self._collect(account, group_id, slot)
            allowances += self._allowance(account)
        return collected + allowances

    def _finalise(self, at_ns: int) -> list[Fact]:
        """Slots whose last day has come: what nobody metered is void, and the books close."""
        facts = self.stakes.release(at_ns)
        ended = self._transfers.expire(self._ledger.columns, at_ns)
        if ended:
            facts.append(TransfersExpired(tuple(ended)))
        if not self._finals or self._finals[0][0] > at_ns:
            return facts
        self._ledger.expire(at_ns)
        while self._finals and self._finals[0][0] <= at_ns:
            _, zone, slot = heappop(self._finals)
            book = self._books.pop((zone, slot))
            if not book.is_settled and book.trades:
                book.holds = {}
                facts += self._run(book, SettleSlot(zone, slot, 0, ()))
            self._ledger.forget(book.group_id(revision) for revision in book.revisions)
        return facts

    # ---- proofs ------------------------------------------------------------------------------

    def _seal(self, at_ns: int) -> list[Fact]:
        self._ledger.audit()
        self._blocks += 1
        return [BlockSealed(self._blocks, self.log.size, self.log.root(), at_ns)]

    def _audit(self, zone: ZoneAccounts) -> None:
        """After a settlement: everything from the accounts, and nothing left in clearing."""
        self._ledger.audit()
        rest = self._ledger.balances(zone.clearing)
        assert not any(rest.values()), f"{zone.clearing} kept {rest}"


def _refuse(subject: str, reason: Refusal) -> list[Fact]:
    return [BankRefused(subject, int(reason))]


def _fingerprint(command: SettleSlot) -> str:
    """What a replay of this settlement must be equal to."""
    return blake2b(msgspec.msgpack.encode(command.meters), digest_size=16).hexdigest()
