"""The bank over HTTP: accounts and statements to read, and the operator's commands about money.

Deposits, transfers in bulk and everything about GTX. What the bank refuses is answered with status
409, the refusal's name and what to do about it; nothing is then changed. Decides nothing itself.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException
from fastapi.params import Depends
from pydantic import BaseModel, ConfigDict, Field

from cloud.commands import (
    BankCommand,
    BondStake,
    CommitRecord,
    Deposit,
    GrantStake,
    InflateSupply,
    OpenAccount,
    OpenSupply,
    PayRewards,
    PostTransfers,
    RecordErasure,
    RegisterValidator,
    RetireTokens,
    StakeRules,
    StakeSlice,
    UnbondStake,
)
from cloud.facts import BankRefused, BatchPosted, Fact, TransfersRefused
from cloud.gate.log_http import slashing
from cloud.ledger.columns import AMOUNT_MAX, ASSETS
from cloud.ledger.kinds import Kind, kind_record
from cloud.ledger.privacy import KeyStore, commitment
from cloud.ledger.transfers import (
    HOUR_NS,
    NO_ID,
    TIMEOUT_S_MAX,
    TRANSFERS_PER_BATCH_MAX,
    Flag,
    pack,
)
from cloud.writer import Writer
from protos.clock import Clock
from protos.ids import AccountId
from protos.messages import ADVICE, Refusal

NAME = r"^[a-z0-9@][a-z0-9@/.-]{0,62}$"
SENDER_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
TRANSFER_ID = r"^[0-9a-f]{32}$"
Amount = Annotated[int, Field(gt=0, le=AMOUNT_MAX)]
Whole = Annotated[int, Field(ge=0, le=AMOUNT_MAX)]
"""What fits into a journal's record; whether it makes sense is the bank's to say."""
KINDS = {"move": 0, "pending": Flag.PENDING, "post": Flag.POST, "void": Flag.VOID}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewDeposit(_Body):
    """Money that the provider holds for the account; the id makes it happen once."""

    deposit_id: str = Field(pattern=SENDER_ID)
    account: str = Field(pattern=NAME)
    amount_micro: Amount


class NewAccount(_Body):
    """An account that no site opens: a validator's, or a customer's in a zone."""

    account: str = Field(pattern=NAME)
    kind: str = Field(max_length=32)
    zone: str = Field(default="", max_length=63)


class NewRetirement(_Body):
    """Banked tokens (Wh) to burn; the id makes it happen once."""

    retire_id: str = Field(pattern=SENDER_ID)
    account: str = Field(pattern=NAME)
    energy_wh: Amount


class NewTransfer(_Body):
    """One transfer. `post` and `void` end the reservation that `pending_id` names."""

    id: str = Field(pattern=TRANSFER_ID)
    debit: str = Field(pattern=NAME)
    credit: str = Field(pattern=NAME)
    asset: str = "MONEY"
    amount: int = Field(ge=0, le=AMOUNT_MAX)
    kind: Literal["move", "pending", "post", "void"] = "move"
    pending_id: str | None = Field(default=None, pattern=TRANSFER_ID)
    timeout_s: int = Field(default=0, ge=0, le=TIMEOUT_S_MAX)
    linked: bool = False


class NewTransfers(_Body):
    """`hour` counts from 1970; default: the aggregator's own. Ids are remembered for two hours."""

    transfers: list[NewTransfer] = Field(min_length=1, max_length=TRANSFERS_PER_BATCH_MAX)
    hour: int | None = Field(default=None, ge=0, le=1 << 40)


class NewSupply(_Body):
    """GTX comes into being; what is not given is as the defaults have it. Shares in per cent."""

    genesis_micro: Amount = StakeRules().genesis_micro
    cap_micro: Amount = StakeRules().cap_micro
    slices: dict[str, Whole] | None = None
    inflation_bps: Whole = StakeRules().inflation_bps
    decay_per_mille: Whole = StakeRules().decay_per_mille
    slash_per_mille: Whole = StakeRules().slash_per_mille
    unbonding_s: Whole = StakeRules().unbonding_s


class NewValidator(_Body):
    account: str = Field(pattern=NAME)
    key: str = Field(max_length=256)


class NewGrant(_Body):
    grant_id: str = Field(pattern=SENDER_ID)
    slice_name: str = Field(pattern=NAME)
    account: str = Field(pattern=NAME)
    amount: Amount


class NewBond(_Body):
    """Binds GTX to a validator, or asks for it back."""

    id: str = Field(pattern=SENDER_ID)
    account: str = Field(pattern=NAME)
    validator: str = Field(pattern=NAME)
    amount: Amount


class NewSlash(_Body):
    """Evidence as a validator wrote it (see `cloud.ledger.evidence`)."""

    evidence: str = Field(max_length=24 * 1024)


class NewInflation(_Body):
    year: int = Field(ge=1, le=1_000)


class NewRewards(_Body):
    reward_id: str = Field(pattern=SENDER_ID)
    asset: Literal["MONEY", "GTX"] = "MONEY"


class NewErasure(_Body):
    """Destroys the secret behind an account's pseudonyms; the ground stands in the log."""

    account: str = Field(pattern=NAME)
    ground: str = Field(min_length=1, max_length=64)


def bank_router(
    writer: Writer, clock: Clock, keys: KeyStore, guarded: Sequence[Depends]
) -> APIRouter:
    """All routes; those that change something are guarded."""
    router = APIRouter(prefix="/api")
    _add_reading(router, writer)
    _add_money(router, writer, clock, guarded)
    _add_supply(router, writer, guarded)
    _add_bonds(router, writer, guarded)
    _add_erasure(router, writer, keys, guarded)
    return router


def _add_reading(router: APIRouter, writer: Writer) -> None:
    bank = writer.core.bank

    @router.get("/accounts/{account:path}")
    async def read_account(account: str) -> dict[str, Any]:
        """Balances by asset, and the money that is set aside for trades and pending transfers."""
        number = bank.account_number(AccountId(account))
        if number is None:
            raise HTTPException(404, f"no account {account!r} is open; a site opens one")
        return {
            "account": account,
            "number": number,
            **_kind(bank.kind_of(AccountId(account))),
            "balances": bank.balances(AccountId(account)),
            "reserved_micro": bank.reserved_micro(AccountId(account)),
        }

    @router.get("/account-kinds")
    async def read_kinds() -> list[dict[str, Any]]:
        """What accounts are there for: assets, floors, and what each kind may do."""
        return [kind_record(kind) for kind in Kind]

    @router.get("/stake")
    async def read_stake() -> dict[str, Any]:
        """The supply of GTX, the validators with their keys, bonds and convictions."""
        stakes = bank.stakes
        return {
            "is_open": stakes.rules is not None,
            "outstanding": stakes.outstanding,
            "validators": dict(stakes.keys),
            "bonds": {name: dict(bonds) for name, bonds in stakes.bonds.items()},
            "releases": [
                {"account": r.account, "validator": r.validator, "amount": r.amount,
                 "release_ns": r.release_ns}
                for r in stakes.releases
            ],
            "convicted": dict(stakes.convicted),
        }  # fmt: skip


def _kind(kind: Kind | None) -> dict[str, Any]:
    return {} if kind is None else kind_record(kind)


def _add_money(router: APIRouter, writer: Writer, clock: Clock, guarded: Sequence[Depends]) -> None:
    @router.post("/deposits", dependencies=guarded)
    async def deposit(new: NewDeposit) -> dict[str, Any]:
        command = Deposit(new.deposit_id, AccountId(new.account), new.amount_micro)
        return _done(await writer.submit(command))

    @router.post("/accounts", dependencies=guarded)
    async def open_account(new: NewAccount) -> dict[str, Any]:
        return await _submit(writer, OpenAccount(AccountId(new.account), new.kind, new.zone))

    @router.post("/retirements", dependencies=guarded)
    async def retire(new: NewRetirement) -> dict[str, Any]:
        """Banked tokens are burned for energy that their holder took."""
        account = AccountId(new.account)
        return await _submit(writer, RetireTokens(new.retire_id, account, new.energy_wh))

    @router.post("/transfers", dependencies=guarded)
    async def transfers(new: NewTransfers) -> dict[str, Any]:
        """Each is done or refused by itself; linked ones together. The same again does nothing."""
        hour = clock.now_ns() // HOUR_NS if new.hour is None else new.hour
        records = [_record(writer, index, one) for index, one in enumerate(new.transfers)]
        facts = await writer.submit(PostTransfers(hour, b"".join(records), True))
        _raise_refused(facts)
        done = next((f for f in facts if isinstance(f, BatchPosted)), None)
        refused = next((f.refused for f in facts if isinstance(f, TransfersRefused)), ())
        return {
            "hour": hour,
            "posted": done.posted if done else 0,
            "refused": [
                {"index": index, "id": new.transfers[index].id, **_reason(reason)}
                for index, reason in refused
            ],
        }


def _record(writer: Writer, index: int, new: NewTransfer) -> bytes:
    if new.asset not in ASSETS:
        raise HTTPException(422, f"transfer {index}: assets are {', '.join(ASSETS)}")
    return pack(
        bytes.fromhex(new.id),
        _number(writer, index, new.debit),
        _number(writer, index, new.credit),
        new.amount,
        new.asset,
        flags=KINDS[new.kind] | (Flag.LINKED if new.linked else 0),
        pending_id=bytes.fromhex(new.pending_id) if new.pending_id else NO_ID,
        timeout_s=new.timeout_s,
    )


def _number(writer: Writer, index: int, account: str) -> int:
    number = writer.core.bank.account_number(AccountId(account))
    if number is None:
        raise HTTPException(404, f"transfer {index}: no account {account!r} is open")
    return number


def _add_supply(router: APIRouter, writer: Writer, guarded: Sequence[Depends]) -> None:
    @router.post("/stake/supply", dependencies=guarded)
    async def open_supply(new: NewSupply) -> dict[str, Any]:
        slices = StakeRules().slices
        if new.slices is not None:
            slices = tuple(StakeSlice(name, share) for name, share in new.slices.items())
        rules = StakeRules(
            new.genesis_micro,
            new.cap_micro,
            slices,
            new.inflation_bps,
            new.decay_per_mille,
            new.slash_per_mille,
            new.unbonding_s,
        )
        return _done(await writer.submit(OpenSupply(rules)))

    @router.post("/stake/grants", dependencies=guarded)
    async def grant(new: NewGrant) -> dict[str, Any]:
        return await _submit(
            writer, GrantStake(new.grant_id, new.slice_name, AccountId(new.account), new.amount)
        )

    @router.post("/stake/inflation", dependencies=guarded)
    async def inflate(new: NewInflation) -> dict[str, Any]:
        return await _submit(writer, InflateSupply(new.year))

    @router.post("/stake/rewards", dependencies=guarded)
    async def reward(new: NewRewards) -> dict[str, Any]:
        return await _submit(writer, PayRewards(new.reward_id, new.asset))


def _add_bonds(router: APIRouter, writer: Writer, guarded: Sequence[Depends]) -> None:
    @router.post("/stake/validators", dependencies=guarded)
    async def register(new: NewValidator) -> dict[str, Any]:
        return await _submit(writer, RegisterValidator(AccountId(new.account), new.key))

    @router.post("/stake/bonds", dependencies=guarded)
    async def bond(new: NewBond) -> dict[str, Any]:
        account, validator = AccountId(new.account), AccountId(new.validator)
        return await _submit(writer, BondStake(new.id, account, validator, new.amount))

    @router.post("/stake/unbonds", dependencies=guarded)
    async def unbond(new: NewBond) -> dict[str, Any]:
        account, validator = AccountId(new.account), AccountId(new.validator)
        return await _submit(writer, UnbondStake(new.id, account, validator, new.amount))

    @router.post("/stake/slashes", dependencies=guarded)
    async def slash(new: NewSlash) -> dict[str, Any]:
        return await _submit(writer, slashing(writer, new.evidence))


def _add_erasure(
    router: APIRouter, writer: Writer, keys: KeyStore, guarded: Sequence[Depends]
) -> None:
    @router.post("/erasures", dependencies=guarded)
    async def erase(new: NewErasure) -> dict[str, Any]:
        """A commitment that only the secret opens goes into the log, then the secret is destroyed."""
        secret = keys.get(new.account)
        if secret is None:
            raise HTTPException(
                404, f"{new.account!r} has no secret here: it was erased, or the log is plain"
            )
        committed = commitment(secret, new.account.encode())
        await _submit(writer, CommitRecord(committed, "pseudonyms"))
        keys.destroy(new.account)
        return await _submit(writer, RecordErasure((committed,), new.ground))


async def _submit(writer: Writer, command: BankCommand) -> dict[str, Any]:
    return _done(await writer.submit(command))


def _done(facts: Sequence[Fact]) -> dict[str, Any]:
    """What was done, by the facts' names; nothing new where the same command came before."""
    _raise_refused(facts)
    return {"done": [type(fact).__name__ for fact in facts]}


def _raise_refused(facts: Iterable[Fact]) -> None:
    for fact in facts:
        if isinstance(fact, BankRefused):
            reason = _reason(fact.reason)
            raise HTTPException(409, f"{fact.subject}: {reason['reason']}: {reason['advice']}")


def _reason(number: int) -> dict[str, str]:
    reason = Refusal(number)
    return {"reason": reason.name, "advice": ADVICE[reason]}
