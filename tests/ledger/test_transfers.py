"""Transfers in bulk: C, Python and a naive oracle agree, and every refusal leaves nothing behind."""

import random

import pytest

from cloud.commands import Deposit, OpenAccount, OpenLedger, PostTransfers, ReserveTrades, ZoneRules
from cloud.commands import TradeTerms as Terms
from cloud.core import Core
from cloud.facts import AllowancesChanged, BankRefused, TransfersExpired, TransfersPosted
from cloud.ledger import transfers as bulk
from cloud.ledger.accounts import Ledger
from cloud.ledger.bank import Bank
from cloud.ledger.books import ISSUER, PROVIDER
from cloud.ledger.columns import AMOUNT_MAX, ASSETS, GC, GT, GTX, MONEY, unsound_row_in_python
from cloud.ledger.kinds import FLOORS, Kind
from cloud.ledger.log import TransparencyLog
from cloud.ledger.transfers import HOUR_NS, RECORD, Flag, pack, post_in_python, records_root
from ext import post as kernel
from protos.clock import slot_start_ns
from protos.messages import Refusal
from tests.oracle.transfers import World

KINDS = [Kind.PROVIDER, Kind.ISSUER, Kind.CLEARING, *[Kind.PROSUMER] * 5]
HOUR = slot_start_ns(1_000_000) // HOUR_NS
NOW = HOUR * HOUR_NS


def some_id(number):
    return number.to_bytes(16, "big")


class Copy:
    """One implementation with a ledger of its own."""

    def __init__(self, post):
        self.post = post
        self.ledger = Ledger()
        for number, kind in enumerate(KINDS):
            self.ledger.open(f"a{number}", kind, "z")
        self.held, self.known = {}, {}

    def batch(self, body, now_s, elsewhere=()):
        ledger = self.ledger
        arguments = (ledger.columns, ledger.usable, self.held, self.known, elsewhere, now_s)
        return tuple(self.post(body, *arguments))

    def columns(self):
        columns = self.ledger.columns
        return [columns.state(row) for row in range(len(columns.floor))]


def random_batch(draw, names):
    """Transfers among few accounts, most of them sound; ids return, amounts collide with floors."""
    records = []
    for _ in range(draw.randint(1, 8)):
        flags = draw.choice((0, 0, 0, 2, 2, 4, 4, 8, 6, 64)) | (draw.random() < 0.3)
        record = pack(
            draw.choice(names + [bytes(16)] * (draw.random() < 0.05)),
            draw.randrange(9 if draw.random() < 0.1 else 8),
            draw.choice((0, 0, draw.randrange(8))),
            draw.choice((0, 1, 5, 50, 50, 100, -1, AMOUNT_MAX, AMOUNT_MAX // 2)),
            draw.choice((MONEY, MONEY, MONEY, GC, GT, "CLAIM")),
            flags=flags,
            pending_id=draw.choice(names) if flags & 12 else bytes(16),
            timeout_s=draw.choice((5, 60, 60, 0, 4_000_000)) if flags & 2 else 0,
        )
        records.append(draw.choice(records) if records and draw.random() < 0.1 else record)
    return b"".join(records)


def test_c_and_python_and_the_oracle_do_and_refuse_the_same():
    reasons = set()
    for seed in range(400):
        draw = random.Random(seed)
        names = [some_id(number) for number in range(1, draw.choice((4, 12, 40)))]
        slow, fast = Copy(post_in_python), Copy(kernel.post)
        floors = [
            {ASSETS.index(asset): floor for asset, floor in FLOORS[kind].items()} for kind in KINDS
        ]
        world = World(floors, slow.ledger.usable)
        for step in range(12):
            body = random_batch(draw, names)
            got, want = slow.batch(body, step), fast.batch(body, step)
            assert got == want, f"seed {seed}, step {step}"
            assert world.batch(body, step) == got[1], f"seed {seed}, step {step}"
            assert slow.columns() == fast.columns()
            assert (slow.held, slow.known) == (fast.held, fast.known)
            assert {name: (*held[:2],) for name, held in slow.held.items()} == {
                name: (debit * 6 + asset, credit * 6 + asset)
                for name, (debit, credit, asset, *_) in world.held.items()
            }
            fast.ledger.audit()
            reasons |= {reason for _, reason in got[1]}
    for number, kind in enumerate(KINDS):
        for asset in FLOORS[kind]:
            if asset != "CLAIM":
                balance = world.balance(number, ASSETS.index(asset))
                assert fast.ledger.balance(f"a{number}", asset) == balance
    assert reasons == {7, 21, 40, 41, 42, 43, 44, 53}, "every reason was met"


def test_the_kernel_names_refusals_as_the_treaty_does():
    names = [name for name in vars(kernel) if name.isupper()]
    assert len(names) == 9
    assert all(getattr(kernel, name) == Refusal[name] for name in names)
    assert (bulk.TIMEOUT_S_MAX, bulk.PENDINGS_MAX) == (3_456_000, 1_000_000)
    assert ASSETS[1] == MONEY
    assert len(ASSETS) == 6


def test_an_account_under_its_floor_is_found_by_both_audits():
    one = Copy(post_in_python).ledger
    for find in (unsound_row_in_python, kernel.unsound_row):
        assert find(one.columns) == -1
    row = one.row("a4", GTX)
    one.columns.debits_pending[row] = 1
    for find in (unsound_row_in_python, kernel.unsound_row):
        assert find(one.columns) == row


@pytest.mark.parametrize("post", [post_in_python, kernel.post])
def test_an_id_of_another_hour_is_not_used_again(post):
    copy, record = Copy(post), pack(some_id(1), 0, 3, 5)
    assert copy.batch(record, 0, [{some_id(1): b""}])[1] == [(0, Refusal.CHANGED_REPLAY)]
    assert copy.batch(record, 0, [{some_id(1): record[16:]}]) == (0, [], [], [])
    assert copy.batch(record, 0)[0] == 1


@pytest.fixture
def bank():
    bank = Bank()
    bank.apply(OpenLedger("z", ZoneRules()), NOW)
    for name in ("anna", "boon"):
        bank.apply(OpenAccount(name, "prosumer", "z"), NOW)
        bank.apply(Deposit(name, name, 1_000), NOW)
    return bank


def number(bank, name):
    return bank.account_number(name)


def send(bank, *records, at_ns=NOW, hour=HOUR):
    return bank.apply(PostTransfers(hour, b"".join(records)), at_ns)


def between(bank, debit, credit, amount, name=1, **more):
    return pack(some_id(name), number(bank, debit), number(bank, credit), amount, **more)


def test_a_batch_moves_money_and_tells_the_zone_both_allowances(bank):
    posted, allowances = send(bank, between(bank, "anna", "boon", 300))
    assert (posted.posted, posted.records, posted.refused) == (1, 1, ())
    assert allowances == AllowancesChanged("z", ("anna", "boon"), (700, 1_300))
    assert not any(bank.sums().values())


def test_a_batch_that_came_before_does_nothing_and_says_nothing(bank):
    record = between(bank, "anna", "boon", 300)
    send(bank, record)
    before = bank.state()
    assert send(bank, record) == []
    assert bank.state() == before


def test_what_was_refused_may_be_sent_again_once_it_can_be_done(bank):
    record = between(bank, "anna", "boon", 1_001)
    (posted,) = send(bank, record)
    assert posted.refused == ((0, Refusal.INSUFFICIENT_FUNDS),)
    bank.apply(Deposit("more", "anna", 1), NOW)
    assert send(bank, record)[0].posted == 1


def test_the_leaf_names_the_root_over_all_records_and_their_outcomes(bank):
    records = [between(bank, "anna", "boon", 5_000 if n == 3 else 1, n) for n in range(1, 40)]
    (posted, _) = send(bank, *records)
    assert posted.refused == ((2, Refusal.INSUFFICIENT_FUNDS),)
    log = TransparencyLog()
    for first in (0, 16, 32):
        part = records[first : first + 16]
        outcomes = [42 if first + n == 2 else 0 for n in range(len(part))]
        log.append(b"".join(part) + b"".join(o.to_bytes(2, "little") for o in outcomes))
    assert posted.root == log.root()
    assert records_root(b"", ()) == TransparencyLog().root()


def test_a_reservation_in_bulk_ends_by_itself_and_says_so(bank):
    pending = between(bank, "anna", "boon", 900, flags=Flag.PENDING, timeout_s=60)
    send(bank, pending)
    assert bank.reserved_micro("anna") == 900
    facts = bank.apply(OpenAccount("carl", "prosumer", "z"), NOW + 60 * 10**9)
    assert facts[0] == TransfersExpired((some_id(1),))
    assert bank.reserved_micro("anna") == 0


def test_money_held_for_trades_cannot_be_sent_away_in_bulk(bank):
    bank.apply(Deposit("rich", "anna", 10**9), NOW)
    terms = Terms(1, "anna", "boon", 100, 3_000_000)
    bank.apply(Deposit("rich2", "boon", 10**9), NOW)
    bank.apply(ReserveTrades("z", 1_000_010, (terms,)), NOW)
    free = bank.balances("anna")[MONEY] - bank.reserved_micro("anna")
    assert send(bank, between(bank, "anna", "boon", free + 1))[0].refused
    assert not send(bank, between(bank, "anna", "boon", free, 2))[0].refused


def test_certificates_come_from_the_issuer_and_go_back_to_it(bank):
    made = pack(some_id(1), number(bank, ISSUER), number(bank, "anna"), 500, GC)
    sold = pack(some_id(2), number(bank, "anna"), number(bank, "boon"), 200, GC)
    retired = pack(some_id(3), number(bank, "boon"), number(bank, ISSUER), 200, GC)
    assert send(bank, made, sold, retired)[0].posted == 3
    assert bank.balances("anna")[GC] == 300
    assert bank.balances(ISSUER)[GC] == -300


def test_the_banks_own_accounts_and_claims_are_out_of_reach(bank):
    for name in ("@mint", "@furnace", "@clearing/z", "@utility/z", "@grid/z", "@fund/treasury"):
        for way in (("anna", name), (name, "anna")):
            assert send(bank, between(bank, *way, 1, 9))[0].refused == (
                (0, Refusal.UNKNOWN_ACCOUNT),
            )
    claim = pack(some_id(4), number(bank, "anna"), number(bank, "boon"), 1, "CLAIM")
    assert send(bank, claim)[0].refused == ((0, Refusal.WRONG_ASSET),)
    token = pack(some_id(5), number(bank, PROVIDER), number(bank, "anna"), 1, GT)
    assert send(bank, token)[0].refused == ((0, Refusal.WRONG_ASSET),)


@pytest.mark.parametrize(
    ("hour", "body", "reason"),
    [
        (HOUR, b"", Refusal.MALFORMED),
        (HOUR, bytes(RECORD.size - 1), Refusal.MALFORMED),
        (HOUR, bytes(RECORD.size * 4_097), Refusal.TOO_LARGE),
        (HOUR - 2, bytes(RECORD.size), Refusal.TOO_OLD),
        (HOUR + 2, bytes(RECORD.size), Refusal.TOO_EARLY),
    ],
    ids=["empty", "torn", "too long", "too old", "too early"],
)
def test_a_batch_that_cannot_be_read_is_refused_whole(bank, hour, body, reason):
    assert bank.apply(PostTransfers(hour, body), NOW) == [
        BankRefused(f"transfers/{hour}", int(reason))
    ]


def test_ids_are_forgotten_only_when_their_hour_can_no_longer_be_named(bank):
    record = between(bank, "anna", "boon", 1)
    send(bank, record)
    assert send(bank, record, at_ns=NOW + HOUR_NS) == []
    late = NOW + 2 * HOUR_NS
    (refused,) = send(bank, record, at_ns=late)
    assert refused == BankRefused(f"transfers/{HOUR}", int(Refusal.TOO_OLD))
    assert bank.state()["transfers"]["known"] == []


def test_the_state_with_transfers_in_it_has_a_canonical_form():
    core = Core({})
    core.bank.apply(OpenAccount("anna", "prosumer", ""), NOW)
    before = core.state_hash()
    core.bank.apply(
        PostTransfers(HOUR, between(core.bank, PROVIDER, "anna", 5, flags=2, timeout_s=9)), NOW
    )
    assert core.state_hash() != before


def test_a_thousand_transfers_are_one_leaf(bank):
    records = [between(bank, "anna", "boon", 1, n) for n in range(1, 1_001)]
    (posted, *_) = send(bank, *records)
    assert isinstance(posted, TransfersPosted)
    assert posted.posted == 1_000
    assert bank.balances("boon")[MONEY] == 2_000
