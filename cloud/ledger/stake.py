"""GTX, the stake token: its supply, who has bound how much of it, and what becomes of it.

Decides bonding, unbonding, slashing, inflation and rewards. GTX exists by the supply table alone:
the genesis amount split once, then a yearly inflation that decays, never beyond the cap. Bound
stake lies in its validator's own account; it can be slashed until the day it is released. Must
never slash without evidence that convicts the validator's key, and never twice for one size.

Units: millionths of a GTX; rates in ten-thousandths, shares and decay in per mille.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from cloud.commands import (
    BondStake,
    GrantStake,
    InflateSupply,
    OpenSupply,
    PayRewards,
    RegisterValidator,
    SlashStake,
    StakeCommand,
    StakeRules,
    UnbondStake,
)
from cloud.facts import (
    BankRefused,
    Fact,
    Posted,
    RewardsPaid,
    StakeBonded,
    StakeReleased,
    StakeSlashed,
    StakeUnbonding,
    SupplyInflated,
    SupplyOpened,
    ValidatorRegistered,
)
from cloud.ledger.accounts import Ledger, Replay
from cloud.ledger.books import FURNACE, MINT, fund
from cloud.ledger.columns import AMOUNT_MAX, GTX, MONEY
from cloud.ledger.evidence import Evidence, EvidenceError, check_evidence
from cloud.ledger.kinds import OPENABLE, Kind
from protos.clock import MINUTE_NS, SECOND_NS
from protos.ids import AccountId, effect_id
from protos.messages import Refusal
from protos.receipt import ReceiptError, parse_key
from protos.units import BPS, PER_MILLE, largest_remainder
from protos.witness import COSIGNATURE

YEAR_NS = 365 * 24 * 60 * MINUTE_NS
YEARS_MAX = 200
VALIDATORS = fund("validators")
"""Takes the validators' share of the trading fee, and what inflation makes; rewards come from it."""


def slice_account(name: str) -> AccountId:
    """Where one slice of the genesis supply lies until it is granted."""
    return AccountId(f"@stake/{name}")


def bonded_account(validator: AccountId) -> AccountId:
    """Where the stake bound to a validator lies, also while it is being released."""
    return AccountId(f"@bonded/{validator}")


@dataclass(slots=True)
class Release:
    """Stake on its way back to its owner; slashable until then."""

    release_id: str
    account: AccountId
    validator: AccountId
    amount: int
    release_ns: int


@dataclass(slots=True)
class Stakes:
    """The supply and all bonds."""

    ledger: Ledger
    rules: StakeRules | None = None
    opened_ns: int = 0
    years: int = 0
    keys: dict[AccountId, str] = field(default_factory=dict)
    bonds: dict[AccountId, dict[AccountId, int]] = field(default_factory=dict)
    releases: list[Release] = field(default_factory=list)
    convicted: dict[AccountId, int] = field(default_factory=dict)

    @property
    def outstanding(self) -> int:
        """All GTX in existence: made less burned."""
        return -self.ledger.balance(MINT, GTX) - self.ledger.balance(FURNACE, GTX)

    def weights(self) -> dict[str, int]:
        """Bound stake by validator key, for a policy; a convicted validator has none."""
        return {
            key: sum(self.bonds.get(account, {}).values())
            for account, key in self.keys.items()
            if account not in self.convicted
        }

    def policy_text(self) -> str:
        """The validators and their stake as lines of a policy file."""
        lines = []
        for key, amount in self.weights().items():
            name = key.partition("+")[0]
            lines += [f"witness {name} {key}", f"stake {name} {amount}"]
        return "".join(f"{line}\n" for line in lines)

    def apply(self, command: StakeCommand, at_ns: int) -> list[Fact]:
        """The facts of one command about GTX."""
        match command:
            case OpenSupply():
                return self._open(command, at_ns)
            case _ if self.rules is None:
                return _refuse("GTX", Refusal.UNKNOWN_ACCOUNT)
            case RegisterValidator():
                return self._register(command)
            case GrantStake():
                return self._grant(command)
            case BondStake():
                return self._bond(command)
            case UnbondStake():
                return self._unbond(command, self.rules, at_ns)
            case SlashStake():
                return self._slash(command, self.rules)
            case InflateSupply():
                return self._inflate(command, self.rules, at_ns)
            case PayRewards():
                return self._pay(command)
        raise AssertionError(f"{type(command).__name__} is no command about stake")

    def release(self, at_ns: int) -> list[Fact]:
        """Stake whose waiting time is over goes back to its owner."""
        facts: list[Fact] = []
        while self.releases and self.releases[0].release_ns <= at_ns:
            due = self.releases.pop(0)
            if due.amount:
                facts += self._move(
                    due.release_id, bonded_account(due.validator), due.account, due.amount, "unbond"
                )
            facts.append(StakeReleased(due.account, due.validator, due.amount))
        return facts

    def state(self) -> object:
        return {
            "rules": msgspec.to_builtins(self.rules),
            "opened_ns": self.opened_ns,
            "years": self.years,
            "keys": dict(self.keys),
            "bonds": {validator: dict(bonds) for validator, bonds in self.bonds.items()},
            "releases": [
                [r.release_id, r.account, r.validator, r.amount, r.release_ns]
                for r in self.releases
            ],
            "convicted": dict(self.convicted),
        }

    def _open(self, command: OpenSupply, at_ns: int) -> list[Fact]:
        if self.rules is not None:
            same = self.rules == command.rules
            return [] if same else _refuse("GTX", Refusal.CHANGED_REPLAY)
        if not rules_are_sound(command.rules):
            return _refuse("GTX", Refusal.MALFORMED)
        rules = self.rules = command.rules
        self.opened_ns = at_ns
        facts: list[Fact] = [SupplyOpened(rules)]
        parts = largest_remainder(rules.genesis_micro, [part.share for part in rules.slices])
        for part, amount in zip(rules.slices, parts, strict=True):
            account = slice_account(part.name)
            self.ledger.open(account, Kind.FUND, "")
            if amount:
                facts += self._move(
                    effect_id("gtx/genesis", account), MINT, account, amount, "mint"
                )
        return facts

    def _register(self, command: RegisterValidator) -> list[Fact]:
        if not self._is_customer(command.account):
            return _refuse(command.account, Refusal.UNKNOWN_ACCOUNT)
        try:
            parse_key(command.key, COSIGNATURE)
        except ReceiptError:
            return _refuse(command.account, Refusal.MALFORMED)
        known = self.keys.get(command.account)
        if known == command.key:
            return []
        if known is not None or command.key in self.keys.values():
            return _refuse(command.account, Refusal.CHANGED_REPLAY)
        self.keys[command.account] = command.key
        self.ledger.open(bonded_account(command.account), Kind.FUND, "")
        return [ValidatorRegistered(command.account, command.key)]

    def _grant(self, command: GrantStake) -> list[Fact]:
        refused = self._replayed(command.grant_id, command)
        if refused is not None:
            return refused
        if not self._is_customer(command.account):
            return _refuse(command.grant_id, Refusal.UNKNOWN_ACCOUNT)
        source = slice_account(command.slice_name)
        if source not in self.ledger.owners:
            return _refuse(command.grant_id, Refusal.UNKNOWN_ACCOUNT)
        return self._try(command.grant_id, command, source, command.account, "grant")

    def _bond(self, command: BondStake) -> list[Fact]:
        refused = self._replayed(command.bond_id, command)
        if refused is not None:
            return refused
        if not self._is_customer(command.account) or command.validator not in self.keys:
            return _refuse(command.bond_id, Refusal.UNKNOWN_ACCOUNT)
        if command.validator in self.convicted:
            return _refuse(command.bond_id, Refusal.NOT_AUTHORISED)
        to = bonded_account(command.validator)
        facts = self._try(command.bond_id, command, command.account, to, "bond")
        if isinstance(facts[0], Posted):
            bonds = self.bonds.setdefault(command.validator, {})
            bonds[command.account] = bonds.get(command.account, 0) + command.amount
            total = sum(bonds.values())
            facts.append(StakeBonded(command.account, command.validator, command.amount, total))
        return facts

    def _unbond(self, command: UnbondStake, rules: StakeRules, at_ns: int) -> list[Fact]:
        refused = self._replayed(command.unbond_id, command)
        if refused is not None:
            return refused
        bonds = self.bonds.get(command.validator, {})
        if command.account not in bonds:
            return _refuse(command.unbond_id, Refusal.UNKNOWN_ACCOUNT)
        if not 0 < command.amount <= AMOUNT_MAX:
            return _refuse(command.unbond_id, Refusal.MALFORMED)
        if command.amount > bonds[command.account]:
            return _refuse(command.unbond_id, Refusal.INSUFFICIENT_FUNDS)
        bonds[command.account] -= command.amount
        if not bonds[command.account]:
            del bonds[command.account]
        due_ns = at_ns + rules.unbonding_s * SECOND_NS
        self.releases.append(
            Release(
                effect_id("gtx", command.unbond_id),
                command.account,
                command.validator,
                command.amount,
                due_ns,
            )
        )
        self._remember(command.unbond_id, command)
        return [StakeUnbonding(command.account, command.validator, command.amount, due_ns)]

    def _slash(self, command: SlashStake, rules: StakeRules) -> list[Fact]:
        key = self.keys.get(command.validator)
        if key is None:
            return _refuse(command.validator, Refusal.UNKNOWN_ACCOUNT)
        try:
            size = check_evidence(Evidence(command.kind, key, command.first, command.second))
        except EvidenceError:
            return _refuse(command.validator, Refusal.BAD_SIGNATURE)
        slash_id = effect_id("gtx/slash", command.validator, size)
        if self.ledger.replay(slash_id, "") is not Replay.NEW:
            return []
        self.ledger.remember(slash_id, "")
        self.convicted.setdefault(command.validator, size)
        amount = sum(self._cut(command.validator, rules.slash_per_mille))
        facts: list[Fact] = []
        if amount:
            from_account = bonded_account(command.validator)
            facts += self._move(slash_id, from_account, FURNACE, amount, "slash")
        facts.append(StakeSlashed(command.validator, size, amount, command.first, command.second))
        return facts

    def _cut(self, validator: AccountId, per_mille: int) -> Iterator[int]:
        """Takes a share off everything bound to the validator, and off what is being released."""
        bonds = self.bonds.get(validator, {})
        for account, bound in bonds.items():
            cut = bound * per_mille // PER_MILLE
            bonds[account] = bound - cut
            yield cut
        for release in self.releases:
            if release.validator == validator:
                cut = release.amount * per_mille // PER_MILLE
                release.amount -= cut
                yield cut

    def _inflate(self, command: InflateSupply, rules: StakeRules, at_ns: int) -> list[Fact]:
        if 0 < command.year <= self.years:
            return []
        subject = f"GTX/{command.year}"
        if command.year != self.years + 1 or command.year > YEARS_MAX:
            return _refuse(subject, Refusal.MALFORMED)
        if at_ns < self.opened_ns + command.year * YEAR_NS:
            return _refuse(subject, Refusal.TOO_EARLY)
        self.years = command.year
        amount = inflation(self.outstanding, command.year, rules)
        facts: list[Fact] = []
        if amount:
            facts += self._move(
                effect_id("gtx/inflation", command.year), MINT, VALIDATORS, amount, "inflation"
            )
        facts.append(SupplyInflated(command.year, amount, self.outstanding))
        return facts

    def _pay(self, command: PayRewards) -> list[Fact]:
        refused = self._replayed(command.reward_id, command)
        if refused is not None:
            return refused
        if command.asset not in {MONEY, GTX}:
            return _refuse(command.reward_id, Refusal.WRONG_ASSET)
        shares = self._shares()
        pot = self.ledger.spendable(VALIDATORS, command.asset)
        if not shares or pot <= 0:
            return _refuse(command.reward_id, Refusal.INSUFFICIENT_FUNDS)
        names = sorted(shares)
        parts = largest_remainder(pot, [shares[name] for name in names])
        postings = [
            Posted(
                effect_id("gtx/reward", command.reward_id, name),
                VALIDATORS,
                name,
                command.asset,
                part,
                "reward",
                0,
            )
            for name, part in zip(names, parts, strict=True)
            if part
        ]
        refusal = self.ledger.link(postings)
        if refusal is not None:
            return _refuse(command.reward_id, refusal)
        self._remember(command.reward_id, command)
        return [*postings, RewardsPaid(command.reward_id, command.asset, pot, tuple(names))]

    def _shares(self) -> dict[AccountId, int]:
        """Bound stake by owner, over all validators that were not convicted."""
        shares: dict[AccountId, int] = {}
        for validator, bonds in self.bonds.items():
            if validator not in self.convicted:
                for account, amount in bonds.items():
                    shares[account] = shares.get(account, 0) + amount
        return shares

    def _try(
        self,
        sender_id: str,
        command: GrantStake | BondStake,
        debit: AccountId,
        credit: AccountId,
        code: str,
    ) -> list[Fact]:
        """One transfer, if the amount is one and the account has it; remembered by its id."""
        if not 0 < command.amount <= AMOUNT_MAX:
            return _refuse(sender_id, Refusal.MALFORMED)
        posted = Posted(effect_id("gtx", sender_id), debit, credit, GTX, command.amount, code, 0)
        refusal = self.ledger.link([posted])
        if refusal is not None:
            return _refuse(sender_id, refusal)
        self._remember(sender_id, command)
        return [posted]

    def _move(
        self, transfer_id: str, debit: AccountId, credit: AccountId, amount: int, code: str
    ) -> Sequence[Fact]:
        posted = Posted(transfer_id, debit, credit, GTX, amount, code, 0)
        refusal = self.ledger.link([posted])
        assert refusal is None, f"{posted} was refused: {refusal!r}"
        return [posted]

    def _is_customer(self, account: AccountId) -> bool:
        owner = self.ledger.owners.get(account)
        return owner is not None and owner.kind in OPENABLE

    def _replayed(self, sender_id: str, command: StakeCommand) -> list[Fact] | None:
        """What to answer to a command that came before; None for a new one."""
        known = self.ledger.replay(effect_id("gtx", sender_id), _fingerprint(command))
        if known is Replay.NEW:
            return None
        return [] if known is Replay.SAME else _refuse(sender_id, Refusal.CHANGED_REPLAY)

    def _remember(self, sender_id: str, command: StakeCommand) -> None:
        self.ledger.remember(effect_id("gtx", sender_id), _fingerprint(command))


def inflation(outstanding: int, year: int, rules: StakeRules) -> int:
    """What is made in that year (from 1): the first year's rate times decay to the year before,
    of what is outstanding, and never beyond the cap.
    """
    decay: int = rules.decay_per_mille ** (year - 1)
    whole: int = PER_MILLE ** (year - 1)
    amount = outstanding * rules.inflation_bps * decay // (BPS * whole)
    return max(0, min(amount, rules.cap_micro - outstanding))


def rules_are_sound(rules: StakeRules) -> bool:
    """Whether the table adds up and every rate is one."""
    names = [part.name for part in rules.slices]
    return (
        0 < rules.genesis_micro <= rules.cap_micro <= AMOUNT_MAX
        and 0 < len(names) == len(set(names)) <= 16
        and all(part.share >= 0 for part in rules.slices)
        and sum(part.share for part in rules.slices) == 100
        and 0 <= rules.inflation_bps <= BPS
        and 0 <= rules.decay_per_mille <= PER_MILLE
        and 0 <= rules.slash_per_mille <= PER_MILLE
        and 0 <= rules.unbonding_s <= 10 * YEAR_NS // SECOND_NS
    )


def _fingerprint(command: StakeCommand) -> str:
    return effect_id("gtx/command", msgspec.msgpack.encode(command).hex())


def _refuse(subject: str, reason: Refusal) -> list[Fact]:
    return [BankRefused(subject, int(reason))]
