"""Transfers in bulk: a batch of fixed 56-byte records, each posted, reserved, captured or refused.

Decides record by record whether it may happen, in order, on the same columns as everything else of
the ledger. A record is plain, pending (it reserves), a post of a pending one (in whole or in part;
the rest is void) or a void. Records that are linked happen together or not at all, and no account
ends a group under its floor. A record's id makes it happen once: the same bytes again do nothing,
other bytes under the id are refused. Must never touch an account of the bank's own but the money
provider's and the issuer's, and never a claim.

`post_in_python` is the readable form; `ext/post` is the same in C, equal in every number.

    id 16 | pending id 16 | amount i64 | debit u32 | credit u32 | timeout s u32 | code u16 |
    asset u8 | flags u8, little-endian; debit and credit are account numbers in opening order
"""

import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from hashlib import sha256
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

from cloud.ledger.columns import AMOUNT_MAX, ASSET_NUMBER, ASSETS, CLAIM, MONEY, Columns
from cloud.ledger.log import TransparencyLog
from protos.messages import Refusal

RECORD = struct.Struct("<16s16sqIIIHBB")
ID_BYTES = 16
NO_ID = bytes(ID_BYTES)
TRANSFERS_PER_BATCH_MAX = 4_096
RECORDS_PER_LEAF = 16
TIMEOUT_S_MAX = 40 * 24 * 3_600
PENDINGS_MAX = 1_000_000
IDS_PER_HOUR_MAX = 2_000_000
"""Ids are remembered for the hour they name and the one after; so many, and the batch is refused."""

HOUR_NS = 3_600_000_000_000
SECOND_NS = 1_000_000_000


class Flag(IntFlag):
    """What a record is. At most one of the last three; LINKED joins it to the next record."""

    LINKED = 1
    PENDING = 2
    POST = 4
    VOID = 8


Held = tuple[int, int, int, int]
"""A reservation: debit row, credit row, amount, and the second at which it ends."""


NOT_HELD: Held = (0, 0, 0, -1)


class Outcome(NamedTuple):
    """`refused` are (index, reason), in order; `touched` the accounts whose money moved."""

    posted: int
    refused: list[tuple[int, int]]
    reserved: list[tuple[int, bytes]]
    """(expiry second, id) of each new reservation that still stands."""
    touched: list[int]


class Post(Protocol):
    """Applies a batch at a second of the journal's time. `usable` has a byte an account, `known`
    the ids of the batch's hour with the rest of their records, `elsewhere` those of other hours.
    """

    def __call__(
        self,
        body: bytes,
        columns: Columns,
        usable: bytearray,
        held: dict[bytes, Held],
        known: dict[bytes, bytes],
        elsewhere: Sequence[dict[bytes, bytes]],
        now_s: int,
    ) -> tuple[int, list[tuple[int, int]], list[tuple[int, bytes]], list[int]]: ...


def pack(
    transfer_id: bytes,
    debit: int,
    credit: int,
    amount: int,
    asset: str = MONEY,
    *,
    flags: int = 0,
    pending_id: bytes = NO_ID,
    timeout_s: int = 0,
    code: int = 0,
) -> bytes:
    """One record. Raises KeyError for an unknown asset, struct.error for what does not fit."""
    return RECORD.pack(
        transfer_id, pending_id, amount, debit, credit, timeout_s, code, ASSET_NUMBER[asset], flags
    )


def record_leaves(
    body: bytes, refused: Sequence[tuple[int, int]], per_leaf: int = 1
) -> list[bytes]:
    """What a batch's root is over: so many records a leaf, then their outcomes (u16, 0 for done)."""
    outcomes = array("H", bytes(2 * (len(body) // RECORD.size)))
    for index, reason in refused:
        outcomes[index] = reason
    if sys.byteorder != "little":
        outcomes.byteswap()
    size, width, said = per_leaf * RECORD.size, 2 * per_leaf, outcomes.tobytes()
    return [
        body[n * size : (n + 1) * size] + said[n * width : (n + 1) * width]
        for n in range(-(-len(body) // size))
    ]


def records_root(
    body: bytes, refused: Sequence[tuple[int, int]], per_leaf: int = RECORDS_PER_LEAF
) -> bytes:
    """RFC 6962 root over the batch. Sixteen records a leaf are a sixteenth of the hashes; one a
    leaf lets a single transfer be proven in 2 kB, and shows nobody else's.
    """
    tree = TransparencyLog()
    tree.extend(record_leaves(body, refused, per_leaf))
    return tree.root()


def post_in_python(
    body: bytes,
    columns: Columns,
    usable: bytearray,
    held: dict[bytes, Held],
    known: dict[bytes, bytes],
    elsewhere: Sequence[dict[bytes, bytes]],
    now_s: int,
) -> Outcome:
    """The batch, group by group."""
    size = RECORD.size
    records = [body[at : at + size] for at in range(0, len(body), size)]
    batch = _Batch(columns, usable, held, known, elsewhere, now_s)
    first = 0
    while first < len(records):
        last = first
        while last < len(records) and records[last][-1] & Flag.LINKED:
            last += 1
        batch.group(first, records[first : last + 1], is_open=last == len(records))
        first = last + 1
    return Outcome(batch.posted, batch.refused, batch.standing(), list(batch.touched))


class _Batch:
    """One call's work: what was done so far, and what the group in hand can be undone by."""

    def __init__(
        self,
        columns: Columns,
        usable: bytearray,
        held: dict[bytes, Held],
        known: dict[bytes, bytes],
        elsewhere: Sequence[dict[bytes, bytes]],
        now_s: int,
    ) -> None:
        self.columns = columns
        self.usable = usable
        self.held = held
        self.known = known
        self.elsewhere = elsewhere
        self.now_s = now_s
        self.posted = 0
        self.refused: list[tuple[int, int]] = []
        self.touched: dict[int, None] = {}
        self._made: list[bytes] = []
        self._undo: list[tuple[array[int], int, int]] = []
        self._ids: list[bytes] = []
        self._taken: list[tuple[bytes, Held]] = []
        self._given: list[bytes] = []
        self._rows: list[int] = []

    def standing(self) -> list[tuple[int, bytes]]:
        return [(self.held[name][3], name) for name in self._made if name in self.held]

    def group(self, first: int, records: Sequence[bytes], *, is_open: bool) -> None:
        """All of them or none. `is_open` says that the batch ended before the group did."""
        for work in (self._undo, self._ids, self._taken, self._given, self._rows):
            work.clear()
        repeated = 0
        refusal = Refusal.MALFORMED if is_open else None
        for record in records:
            if refusal is not None:
                break
            if self._is_done(record):
                repeated += 1
            else:
                refusal = self._do(record)
        if refusal is None and 0 < repeated < len(records):
            refusal = Refusal.CHANGED_REPLAY
        if refusal is None:
            refusal = self._unsound()
        if refusal is None:
            self._keep(len(records) - repeated)
        else:
            self._take_back()
            self.refused += [(first + number, int(refusal)) for number in range(len(records))]

    def _is_done(self, record: bytes) -> bool:
        name, rest = record[:ID_BYTES], record[ID_BYTES:]
        return any(ids.get(name) == rest for ids in (self.known, *self.elsewhere))

    def _do(self, record: bytes) -> Refusal | None:
        name, pending_id, amount, debit, credit, timeout_s, _, asset, flags = RECORD.unpack(record)
        kind = flags & ~int(Flag.LINKED)
        if name == NO_ID or kind not in {0, Flag.PENDING, Flag.POST, Flag.VOID} or debit == credit:
            return Refusal.MALFORMED
        if name in self.known or any(name in ids for ids in self.elsewhere):
            return Refusal.CHANGED_REPLAY
        if asset >= ASSET_NUMBER[CLAIM]:
            return Refusal.WRONG_ASSET
        count = len(self.usable)
        if not (debit < count and credit < count and self.usable[debit] and self.usable[credit]):
            return Refusal.UNKNOWN_ACCOUNT
        rows = debit * len(ASSETS) + asset, credit * len(ASSETS) + asset
        if not (self.columns.holds[rows[0]] and self.columns.holds[rows[1]]):
            return Refusal.WRONG_ASSET
        if kind in {Flag.POST, Flag.VOID}:
            refusal = self._end(pending_id, rows, amount, timeout_s, is_void=kind == Flag.VOID)
        else:
            refusal = self._begin(name, pending_id, rows, amount, timeout_s, is_pending=bool(kind))
        if refusal is None:
            self.known[name] = record[ID_BYTES:]
            self._ids.append(name)
            self._rows += rows
        return refusal

    def _begin(
        self,
        name: bytes,
        pending_id: bytes,
        rows: tuple[int, int],
        amount: int,
        timeout_s: int,
        *,
        is_pending: bool,
    ) -> Refusal | None:
        if amount <= 0 or pending_id != NO_ID:
            return Refusal.MALFORMED
        columns = self.columns
        if not is_pending:
            if timeout_s:
                return Refusal.MALFORMED
            return self._add(columns.debits_posted, columns.credits_posted, rows, amount)
        if not 0 < timeout_s <= TIMEOUT_S_MAX:
            return Refusal.BAD_INTERVAL
        if len(self.held) >= PENDINGS_MAX:
            return Refusal.TOO_LARGE
        if name in self.held:
            # Its id is older than ids are remembered, and it still stands.
            return Refusal.CHANGED_REPLAY
        refusal = self._add(columns.debits_pending, columns.credits_pending, rows, amount)
        if refusal is None:
            self.held[name] = (*rows, amount, self.now_s + timeout_s)
            self._given.append(name)
        return refusal

    def _end(
        self,
        pending_id: bytes,
        rows: tuple[int, int],
        amount: int,
        timeout_s: int,
        *,
        is_void: bool,
    ) -> Refusal | None:
        if timeout_s or (amount if is_void else amount <= 0):
            return Refusal.MALFORMED
        held = self.held.get(pending_id)
        if held is None:
            return Refusal.OVER_POSTED
        *held_rows, reserved, _ = held
        if [*rows] != held_rows:
            return Refusal.WRONG_ASSET
        if amount > reserved:
            return Refusal.OVER_POSTED
        columns = self.columns
        if amount:
            refusal = self._add(columns.debits_posted, columns.credits_posted, rows, amount)
            if refusal is not None:
                return refusal
        for column, row in zip(
            (columns.debits_pending, columns.credits_pending), rows, strict=True
        ):
            column[row] -= reserved
            self._undo.append((column, row, reserved))
        del self.held[pending_id]
        self._taken.append((pending_id, held))
        return None

    def _add(
        self, paid: "array[int]", received: "array[int]", rows: tuple[int, int], amount: int
    ) -> Refusal | None:
        debit, credit = rows
        if max(paid[debit], received[credit]) + amount > AMOUNT_MAX:
            return Refusal.BAD_PRICE
        for column, row in ((paid, debit), (received, credit)):
            column[row] += amount
            self._undo.append((column, row, -amount))
        return None

    def _unsound(self) -> Refusal | None:
        if not all(map(self.columns.fits, self._rows)):
            return Refusal.BAD_PRICE
        if not all(map(self.columns.is_sound, self._rows)):
            return Refusal.INSUFFICIENT_FUNDS
        return None

    def _keep(self, count: int) -> None:
        self.posted += count
        self._made += self._given
        money = ASSET_NUMBER[MONEY]
        for row in self._rows:
            number, asset = divmod(row, len(ASSETS))
            if asset == money:
                self.touched[number] = None

    def _take_back(self) -> None:
        for column, row, amount in reversed(self._undo):
            column[row] += amount
        for name in self._ids:
            del self.known[name]
        for name, held in self._taken:
            self.held[name] = held
        for name in self._given:
            self.held.pop(name, None)


@dataclass(slots=True)
class Transfers:
    """Which transfers happened lately, and which reservations stand."""

    held: dict[bytes, Held] = field(default_factory=dict)
    _known: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    _deadlines: list[tuple[int, bytes]] = field(default_factory=list)

    def refuse(self, hour: int, body: bytes, at_ns: int) -> Refusal | None:
        """Why nothing of this batch can be looked at."""
        if not body or len(body) % RECORD.size:
            return Refusal.MALFORMED
        if len(body) > TRANSFERS_PER_BATCH_MAX * RECORD.size:
            return Refusal.TOO_LARGE
        now = at_ns // HOUR_NS
        if hour < now - 1:
            return Refusal.TOO_OLD
        if hour > now + 1:
            return Refusal.TOO_EARLY
        if len(self._known.get(hour, ())) + len(body) // RECORD.size > IDS_PER_HOUR_MAX:
            return Refusal.TOO_LARGE
        return None

    def post(
        self, columns: Columns, usable: bytearray, hour: int, body: bytes, at_ns: int
    ) -> Outcome:
        """Does the batch; columns and usable accounts are the ledger's."""
        known = self._known.setdefault(hour, {})
        elsewhere = [ids for other, ids in self._known.items() if other != hour]
        outcome = Outcome(
            *post(body, columns, usable, self.held, known, elsewhere, at_ns // SECOND_NS)
        )
        for deadline in outcome.reserved:
            heappush(self._deadlines, deadline)
        return outcome

    def expire(self, columns: Columns, at_ns: int) -> list[bytes]:
        """Ends what has timed out, the oldest first, and forgets ids that can no longer come."""
        ended: list[bytes] = []
        now_s = at_ns // SECOND_NS
        while self._deadlines and self._deadlines[0][0] <= now_s:
            expires_s, name = heappop(self._deadlines)
            debit, credit, amount, ends_s = self.held.get(name, NOT_HELD)
            if ends_s == expires_s:
                del self.held[name]
                columns.debits_pending[debit] -= amount
                columns.credits_pending[credit] -= amount
                ended.append(name)
        for hour in [hour for hour in self._known if hour < at_ns // HOUR_NS - 1]:
            del self._known[hour]
        return ended

    def state(self) -> object:
        return {
            "held": {name.hex(): list(held) for name, held in sorted(self.held.items())},
            "known": [
                [hour, sha256(b"".join(map(b"".join, known.items()))).digest()]
                for hour, known in self._known.items()
            ],
        }


try:
    from ext.post import post as post_in_c

    post: Post = post_in_c
except ImportError:
    post = post_in_python
