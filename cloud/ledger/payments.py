"""Money that comes in, tokens that their holder burns for energy it took, and batches of transfers.

Decides whether a deposit or a retirement happens, lets each id do so once, and says what a batch did. Must never move
anything of an account that does not belong to a customer.
"""

from cloud.commands import Deposit, PostTransfers, RetireTokens
from cloud.facts import BankRefused, BatchPosted, Fact, Posted, TransfersPosted, TransfersRefused
from cloud.ledger.accounts import Ledger, Replay
from cloud.ledger.books import FURNACE, PROVIDER
from cloud.ledger.columns import GT, MONEY
from cloud.ledger.kinds import OPENABLE
from cloud.ledger.transfers import RECORD, Outcome, records_root
from protos.ids import AccountId, effect_id
from protos.messages import Refusal


def deposit(ledger: Ledger, command: Deposit) -> list[Fact]:
    """Money that the provider holds for an account."""
    transfer_id = effect_id("bank/deposit", command.deposit_id)
    fingerprint = effect_id("bank/deposit", command.account, command.amount_micro)
    posted = Posted(
        transfer_id, PROVIDER, command.account, MONEY, command.amount_micro, "deposit", 0
    )
    return _once(ledger, command.deposit_id, command.account, posted, fingerprint)


def retire(ledger: Ledger, command: RetireTokens) -> list[Fact]:
    """Banked tokens are burned for energy that their holder took from the grid."""
    transfer_id = effect_id("bank/retire", command.retire_id)
    fingerprint = effect_id("bank/retire", command.account, command.energy_wh)
    posted = Posted(transfer_id, command.account, FURNACE, GT, command.energy_wh, "retire", 0)
    return _once(ledger, command.retire_id, command.account, posted, fingerprint)


def batch_facts(command: PostTransfers, done: Outcome) -> list[Fact]:
    """The batch's leaf, and with provable transfers the refusals beside it."""
    count, refused = len(command.records) // RECORD.size, tuple(done.refused)
    if not command.provable:
        root = records_root(command.records, refused)
        return [TransfersPosted(command.hour, count, done.posted, root, refused)]
    root = records_root(command.records, refused, per_leaf=1)
    facts: list[Fact] = [BatchPosted(command.hour, count, done.posted, root)]
    if refused:
        facts.append(TransfersRefused(command.hour, refused))
    return facts


def _once(
    ledger: Ledger, subject: str, account: AccountId, posted: Posted, fingerprint: str
) -> list[Fact]:
    owner = ledger.owners.get(account)
    if owner is None or owner.kind not in OPENABLE:
        return _refused(subject, Refusal.UNKNOWN_ACCOUNT)
    if posted.amount <= 0:
        return _refused(subject, Refusal.MALFORMED)
    replay = ledger.replay(posted.transfer_id, fingerprint)
    if replay is not Replay.NEW:
        same = replay is Replay.SAME
        return [] if same else _refused(subject, Refusal.CHANGED_REPLAY)
    refusal = ledger.link([posted])
    if refusal is not None:
        return _refused(subject, refusal)
    ledger.remember(posted.transfer_id, fingerprint)
    return [posted]


def _refused(subject: str, reason: Refusal) -> list[Fact]:
    return [BankRefused(subject, int(reason))]
