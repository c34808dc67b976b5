"""Envelopes on disk: sealed, chained and durable before anybody sees them, kept until receipted.

Every envelope names the one before it, so none is ever dropped, changed or sealed twice: when the
disk fills, fewer new ones are made (`stride`). The newest envelope stays even when it is receipted,
so that the chain goes on after a restart; notes (offer numbers, the map id) change in the same
transaction as the envelopes that use them.

Must never send, or let anyone read, an envelope whose transaction is not on the disk.
"""

import asyncio
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiosqlite

from edge.envelopes import ADD_PACKED, AFTER, INSERT, NEWEST, SCHEMA, from_row, to_row
from edge.keys import CannotSignError
from protos.seal import GENESIS, Sealed, Signer, link, seal

PAGE_BYTES = 1024
"""A commit writes whole pages of the log: ten seconds of ten meters fit into one of these, and
the kernel then writes 1.3 of its own pages a commit instead of the 2 that 4096 would take."""

RESERVED_PER_MILLE = 30
"""Kept from telemetry, so that offers, maps and lease reports still fit into a full outbox."""

STRIDE_MAX = 1 << 12
WAL_PAGES_MAX = 1024
_BALLAST_ROOM = 2
_SPACE = "select (select page_count from pragma_page_count)"
_FREE = "(select freelist_count from pragma_freelist_count)"


class OutboxError(Exception):
    """The disk did not take or give the envelopes. Nothing was sealed."""


class OutboxFull(OutboxError):
    """The bound is reached. Nothing was sealed; what is stored stays and can be sent."""


class ChainForked(Exception):
    """The cloud knows another chain under this key. Nothing may be sent any more."""


@dataclass(slots=True)
class _Entry:
    payloads: Sequence[bytes]
    notes: Mapping[str, int | str]
    done: asyncio.Future[int] = field(default_factory=asyncio.Future)


def stride(used: int, bound: int) -> int:
    """Which sweeps are still kept: every one until three quarters are used, then every second,
    fourth… as the outbox fills.

    Doubles each time half of what was left is used, so an outage is seen ever more coarsely and
    never becomes a gap. Billing counters are cumulative: coarser sampling loses no energy.
    """
    left = max(0, bound - used)
    result = 1
    while result < STRIDE_MAX and left * 4 * result <= bound:
        result *= 2
    return result


class Outbox:
    """The store of one gateway. One open outbox a file; made by `Outbox.open`."""

    def __init__(self, db: aiosqlite.Connection, signer: Signer, path: Path, size: int) -> None:
        self._db = db
        self._signer = signer
        self._path = path
        self._size_bytes = size
        self._pages_max = 1
        self._pages_used = 0
        self._seq = 0
        self._link = GENESIS
        self._first = 1
        self._trimmed_to = 0
        self._notes: dict[str, int | str] = {}
        self._lazy_notes: dict[str, int | str] = {}
        self._waiting: list[_Entry] = []
        self._wake = asyncio.Event()
        self._one_commit = asyncio.Lock()
        self._ballast_bytes = 0
        self._is_short = False
        self._committer: asyncio.Task[None] | None = None
        self.appended = asyncio.Event()
        self.commits = 0

    @classmethod
    async def open(
        cls, path: Path, signer: Signer, size_bytes: int, ballast_bytes: int = 0
    ) -> "Outbox":
        """Opens or makes the file and finds the end of the chain. Raises OutboxError."""
        try:
            db = await aiosqlite.connect(path, isolation_level=None, timeout=0.2)
            try:
                self = cls(db, signer, path, size_bytes)
                self._ballast_bytes = ballast_bytes
                await self._prepare()
            except BaseException:
                await db.close()
                raise
        except sqlite3.Error as error:
            raise OutboxError(
                f"{path}: {error}; is another agent using it, or is the disk damaged?"
            ) from error
        self._fill_ballast()
        self._committer = asyncio.create_task(self._commit_forever(), name="outbox")
        return self

    async def _prepare(self) -> None:
        # One agent a file: the lock is held as long as the connection lives.
        for pragma in (
            f"page_size={PAGE_BYTES}",
            "locking_mode=exclusive",
            "journal_mode=wal",
            "synchronous=full",
            f"wal_autocheckpoint={self._wal_pages}",
            f"journal_size_limit={self._wal_pages * PAGE_BYTES}",
            "cache_size=-256",
        ):
            await (await self._db.execute(f"pragma {pragma}")).close()
        # A file keeps the page size it was made with.
        for row in await self._db.execute_fetchall("pragma page_size"):
            self._pages_max = max(16, self._size_bytes // row[0])
        await (await self._db.execute(f"pragma max_page_count={self._pages_max}")).close()
        await self._db.executescript(SCHEMA)
        columns = await self._db.execute_fetchall("pragma table_info(envelope)")
        if "packed" not in {row[1] for row in columns}:
            await self._db.executescript(ADD_PACKED)
        await self._load()

    @property
    def _wal_pages(self) -> int:
        """So few that the ballast's room is enough to carry the log over into the file."""
        return max(16, min(WAL_PAGES_MAX, self._ballast_bytes // 2 // PAGE_BYTES or WAL_PAGES_MAX))

    async def _load(self) -> None:
        """State from the disk: after opening, and after a commit of unknown outcome."""
        rows = await self._db.execute_fetchall(NEWEST)
        for row in rows:
            newest = from_row(row)
            self._seq = newest.seq
            self._link = link(self._signer.device, newest)
        first = await self._db.execute_fetchall("select min(seq) from envelope")
        self._first = next((row[0] for row in first if row[0] is not None), self._seq + 1)
        self._notes = {
            row[0]: row[1] for row in await self._db.execute_fetchall("select * from note")
        }
        await self._measure()

    async def _measure(self) -> None:
        for row in await self._db.execute_fetchall(f"{_SPACE} - {_FREE}"):
            self._pages_used = int(row[0])

    @property
    def head_seq(self) -> int:
        """The newest durable envelope; 0 for none yet."""
        return self._seq

    @property
    def durable_seq(self) -> int:
        """The highest sequence the cloud has receipted to this process."""
        return self._trimmed_to

    @property
    def waiting(self) -> int:
        """Envelopes not receipted yet."""
        return self._seq - max(self._trimmed_to, self._first - 1)

    @property
    def used_per_mille(self) -> int:
        return min(1000, self._pages_used * 1000 // self._pages_max)

    @property
    def stride(self) -> int:
        return stride(self._pages_used, self._telemetry_pages)

    @property
    def has_telemetry_room(self) -> bool:
        """Whether sweeps may still be sealed. Not while the ballast is given up: what is left of
        the disk is for leases, offers and the trimming that makes room again.
        """
        return self._pages_used < self._telemetry_pages and not self._is_short

    @property
    def _telemetry_pages(self) -> int:
        return self._pages_max * (1000 - RESERVED_PER_MILLE) // 1000

    def note(self, name: str, default: int = 0) -> int:
        value = self._notes.get(name, default)
        return value if isinstance(value, int) else default

    def text_note(self, name: str) -> str:
        return str(self._notes.get(name, ""))

    async def append(
        self, payloads: Sequence[bytes], notes: Mapping[str, int | str] | None = None
    ) -> int:
        """Seals the payloads and returns the last sequence once all are on the disk.

        Callers that wait at the same time share one transaction. Raises OutboxFull, OutboxError.
        """
        entry = _Entry(payloads, notes or {})
        self._waiting.append(entry)
        self._wake.set()
        return await entry.done

    def keep_note(self, name: str, value: int | str) -> None:
        """A note without haste: it goes to the disk with the next commit."""
        self._lazy_notes[name] = value

    async def read(self, after_seq: int, count: int) -> list[Sealed]:
        """Up to `count` durable envelopes that follow `after_seq`. Raises OutboxError."""
        try:
            rows = await self._db.execute_fetchall(AFTER, (after_seq, self._seq, count))
            return [from_row(row) for row in rows]
        except sqlite3.Error as error:
            raise OutboxError(f"{self._path}: {error}; check the disk") from error

    def trim(self, durable_seq: int) -> None:
        """The cloud has everything up to here. Removed from the disk with the next commit, so a
        receipt costs no write of its own.
        """
        if durable_seq > self._seq:
            raise ChainForked(
                f"the cloud receipted number {durable_seq}, but {self._seq} is the newest here"
            )
        self._trimmed_to = max(self._trimmed_to, durable_seq)
        if self.stride > 1 or not self.has_telemetry_room:
            # Few or no sweeps come along to carry the trimming, so it goes alone.
            self._waiting.append(_Entry((), {}))
            self._wake.set()

    async def adopt(self, durable_seq: int, durable_link: bytes) -> None:
        """Compares the cloud's end of the chain with ours. Raises ChainForked, OutboxError."""
        if durable_seq > self._seq:
            raise ChainForked(
                f"the cloud holds {durable_seq} envelopes of this key, we {self._seq}"
            )
        if durable_seq < self._first - 1:
            raise ChainForked(
                f"the cloud holds {durable_seq} envelopes but receipted up to {self._first - 1}"
            )
        if durable_seq and durable_link != await self._link_of(durable_seq):
            raise ChainForked(f"envelope {durable_seq} is another one there than here")
        # Set, not raised: a cloud that came back from an older copy gets again what is still here.
        self._trimmed_to = durable_seq

    async def _link_of(self, seq: int) -> bytes:
        if seq == self._seq:
            return self._link
        following = await self.read(seq, 1)
        return following[0].previous

    async def close(self) -> None:
        if self._committer is not None:
            self._committer.cancel()
            await asyncio.gather(self._committer, return_exceptions=True)
        await self._commit_waiting()
        await self._db.close()

    async def _commit_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.shield(self._commit_waiting())

    async def _commit_waiting(self) -> None:
        async with self._one_commit:
            await self._commit_all()

    async def _commit_all(self) -> None:
        entries, self._waiting = self._waiting, []
        if not entries:
            return
        try:
            last = await self._commit(entries)
        except OutboxFull as error:
            await self._commit_one_by_one(entries, error)
        except OutboxError as error:
            for entry in entries:
                _fail(entry, error)
        else:
            for entry, seq in zip(entries, last, strict=True):
                if not entry.done.done():
                    entry.done.set_result(seq)

    async def _commit_one_by_one(self, entries: list[_Entry], full: OutboxFull) -> None:
        """A large entry that does not fit must not take small ones down with it."""
        if len(entries) == 1:
            _fail(entries[0], full)
            return
        for entry in entries:
            self._waiting.append(entry)
            await self._commit_all()

    async def _commit(self, entries: list[_Entry]) -> list[int]:
        try:
            rows, last, head = self._seal(entries)
        except CannotSignError as error:
            raise OutboxError(str(error)) from error
        notes = [pair for entry in entries for pair in entry.notes.items()]
        notes += self._lazy_notes.items()
        for attempt in (1, 2):
            try:
                await self._write(rows, notes)
                break
            except sqlite3.Error as error:
                await self._recover(error, may_retry=attempt == 1)
                if rows and self._link == head:
                    break
        if rows:
            self._seq, self._link = rows[-1].seq, head
        self._notes.update(notes)
        self._lazy_notes.clear()
        self.commits += 1
        await self._measure_quietly()
        self.appended.set()
        return last

    def _seal(self, entries: list[_Entry]) -> tuple[list[Sealed], list[int], bytes]:
        rows: list[Sealed] = []
        last: list[int] = []
        seq, previous = self._seq, self._link
        for entry in entries:
            for payload in entry.payloads:
                seq += 1
                rows.append(seal(self._signer, seq, previous, payload))
                previous = link(self._signer.device, rows[-1])
            last.append(seq)
        return rows, last, previous

    async def _write(self, rows: list[Sealed], notes: list[tuple[str, int | str]]) -> None:
        await (await self._db.execute("begin immediate")).close()
        newest = rows[-1].seq if rows else self._seq
        keep_from = min(self._trimmed_to + 1, newest)
        if keep_from > self._first:
            await (
                await self._db.execute("delete from envelope where seq < ?", (keep_from,))
            ).close()
        await self._db.executemany(INSERT, [to_row(row) for row in rows])
        if notes:
            await self._db.executemany(
                "insert into note values(?,?) on conflict(name) do update set value=excluded.value",
                notes,
            )
        await self._db.commit()
        self._first = max(self._first, keep_from)

    async def _recover(self, error: sqlite3.Error, *, may_retry: bool) -> None:
        """After a failed transaction: back to what the disk says, and a second try where useful.

        A commit can fail and yet be on the disk; then the chain's end read here is the new one.
        """
        before = self._link
        try:
            if self._db.in_transaction:
                await self._db.rollback()
            await self._load()
        except sqlite3.Error as worse:
            raise OutboxError(f"{self._path}: {worse}; check the disk") from worse
        if self._link != before:
            return
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
            raise OutboxError(f"{self._path}: {error}; check the disk") from error
        if may_retry:
            self._drop_ballast()
            if await self._is_checkpointed():
                return
        raise OutboxFull(f"{self._path}: {error}; connect the gateway or give it more room")

    async def _is_checkpointed(self) -> bool:
        """Carries the write-ahead log over into the file, so that its room can be used again."""
        try:
            rows = await self._db.execute_fetchall("pragma wal_checkpoint(truncate)")
        except sqlite3.Error:
            return False
        return all(row[0] == 0 for row in rows)

    async def _measure_quietly(self) -> None:
        """The commit stands; an old fill level only makes the stride late by one batch."""
        with suppress(sqlite3.Error):
            await self._measure()
        if self._is_short:
            with suppress(OSError):
                self._fill_ballast()
            self._is_short = self._is_short and self._ballast_bytes > 0

    @property
    def _ballast(self) -> Path:
        return self._path.with_name("ballast")

    def _drop_ballast(self) -> None:
        """Gives the reserved file's room back, where the disk and not the bound is what is full."""
        if self._pages_used < self._pages_max * 9 // 10:
            self._is_short = True
            self._ballast.unlink(missing_ok=True)

    def _fill_ballast(self) -> None:
        """Reserves room while there is plenty; without it only what matters most is written."""
        wanted = self._ballast_bytes
        if not wanted or (self._ballast.exists() and not self._is_short):
            return
        space = os.statvfs(self._path.parent)
        if space.f_bavail * space.f_frsize < _BALLAST_ROOM * wanted:
            return
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, wanted)
        self._is_short = False


def _fail(entry: _Entry, error: OutboxError) -> None:
    if not entry.done.done():
        entry.done.set_exception(error)
