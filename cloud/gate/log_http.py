"""The log for everybody: static tiles and proofs, and for validators the journal and their word.

Reading the log is open. The journal has every home's signed readings in it, so a page of it is
given only to a validator of the policy, who signs the request; what is answered is the same however
often it is asked. Decides nothing about finality (`cloud.ledger.finality`) and must never give out
a hash, a leaf or a proof beyond the newest signed root.
"""

import asyncio
import time
from base64 import b64encode
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse

from cloud.commands import SlashStake
from cloud.ledger.evidence import EvidenceError, check_evidence, parse_evidence
from cloud.ledger.finality import CosignatureError, Finality
from cloud.ledger.receipts import ReceiptTooLongError, make_receipt
from cloud.ledger.tiles import tile_file
from cloud.store.journal import Journal, TamperedJournalError
from cloud.writer import Writer
from protos.clock import SECOND_NS
from protos.limits import RECEIPT_BYTES_MAX
from protos.receipt import ReceiptError, VerifierKey, is_signed, signature_of
from protos.witness import Policy, journal_request, parse_policy

POLICY_FILE = "validators.policy"
JOURNAL_PAGE_MAX = 2_000
JOURNAL_PAGE_BYTES_MAX = 4 * 1024 * 1024
WAIT_S_MAX = 20.0
WAITING_MAX = 256
"""Readers that may wait for the next root at once; one more is told that there is none yet."""
BODY_BYTES_MAX = 24 * 1024
RESTORED_BLOCKS = 64
IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}


def load_policy(state_dir: Path) -> Policy:
    """The operator's policy file; without one nobody validates. Raises PolicyError."""
    path = state_dir / POLICY_FILE
    return parse_policy(path.read_text(encoding="utf-8") if path.exists() else "")


@dataclass(slots=True)
class PublishedLog:
    """The log as the world sees it: signed roots, and the validators' word on them."""

    writer: Writer
    journal: Journal
    key: VerifierKey
    policy: Policy
    finality: Finality = field(init=False)
    _newest: tuple[int, str] = (0, "")
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: int = 0

    def __post_init__(self) -> None:
        self.finality = Finality(self.policy)
        newest = self.journal.checkpoint()
        if newest is not None:
            first = max(1, newest[0] - RESTORED_BLOCKS + 1)
            for number in range(first, newest[0] + 1):
                block = self.journal.checkpoint(number)
                if block is not None:
                    self._publish(*block)
        self.writer.listen_checkpoints(self._publish)

    @property
    def size(self) -> int:
        """Leaves under the newest signed root."""
        return self._newest[0]

    @property
    def note(self) -> str:
        """The newest signed root, as it was signed; empty before the first."""
        return self._newest[1]

    def receipt(self, position: int, leaf: bytes, bytes_max: int = RECEIPT_BYTES_MAX) -> str:
        """The receipt of a leaf under the newest final root, else under the newest signed one.

        A log so long that proof and cosignatures together are over the limit gets the latter.
        Raises ReceiptTooLongError where that is over it too.
        """
        tree = self.writer.core.bank.log
        if position < self.finality.final_size:
            try:
                note = self.finality.final_note
                return make_receipt(
                    tree, position, leaf, note, self.key, self.policy, bytes_max=bytes_max
                )
            except ReceiptTooLongError:
                pass
        return make_receipt(tree, position, leaf, self.note, self.key, bytes_max=bytes_max)

    async def wait_beyond(self, size: int, wait_s: float) -> str:
        """The newest note once it is over more than `size` leaves; empty when that takes longer."""
        if self._waiting >= WAITING_MAX:
            return ""
        self._waiting += 1
        try:
            return await self._wait(size, wait_s)
        finally:
            self._waiting -= 1

    async def _wait(self, size: int, wait_s: float) -> str:
        deadline = asyncio.get_running_loop().time() + min(max(0.0, wait_s), WAIT_S_MAX)
        while self.size <= size:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return ""
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                return ""
        return self.note

    async def take(self, note: str) -> None:
        """Counts a validator's cosignature; stores it once they are enough. Raises CosignatureError.

        What is too little is not worth a write: the next root comes within seconds.
        """
        sealed = self.finality.take(note, time.monotonic_ns())
        if not self.policy.is_final(sealed.lines):
            return
        stored = self.finality.cosigned_note(sealed).encode()
        await self.writer.keep_checkpoint(sealed.number, sealed.checkpoint.size, stored)

    def may_read_journal(self, authorization: str, after: int, limit: int) -> bool:
        """Whether the line is a validator's signature over this very request."""
        line = authorization.removeprefix("Validator ") + "\n"
        for key in self.policy.witnesses.values():
            try:
                signature = signature_of(f"\N{EM DASH} {line}", key)
            except ReceiptError:
                continue
            return is_signed(journal_request(self.key.name, after, limit), signature, key)
        return False

    def _publish(self, number: int, size: int, note: bytes) -> None:
        signed = self.finality.publish(number, note.decode(), time.monotonic_ns())
        self._newest = (size, signed)
        self._news.set()
        self._news = asyncio.Event()


def log_router(log: PublishedLog) -> APIRouter:
    """All routes under /log."""
    router = APIRouter(prefix="/log")
    _add_static(router, log)
    _add_proofs(router, log)
    _add_validators(router, log)
    return router


def _add_static(router: APIRouter, log: PublishedLog) -> None:
    @router.get("/checkpoint", response_class=PlainTextResponse)
    async def checkpoint(beyond: int = -1, wait_s: float = 0.0) -> Response:
        if beyond >= 0 and not await log.wait_beyond(beyond, wait_s):
            return Response(status_code=204)
        if not log.note:
            raise HTTPException(404, "no block yet; the first comes within three seconds")
        return PlainTextResponse(log.finality.newest_note, headers={"Cache-Control": "no-store"})

    @router.get("/checkpoint/final", response_class=PlainTextResponse)
    async def final() -> str:
        if not log.finality.final_note:
            raise HTTPException(404, "no root is final yet; /log/finality says why")
        return log.finality.final_note

    @router.get("/checkpoint/{number}", response_class=PlainTextResponse)
    async def numbered(number: int) -> str:
        block = log.journal.checkpoint(number) if 0 < number < 1 << 62 else None
        if block is None:
            raise HTTPException(404, f"no block {number} has been signed")
        return block[2].decode()

    @router.get("/tile/{rest:path}")
    async def tile(rest: str) -> Response:
        tree = log.writer.core.bank.log
        octets = tile_file(f"tile/{rest}", tree, log.journal.leaf, log.size)
        if octets is None:
            raise HTTPException(404, "no such tile under the newest signed root")
        return Response(octets, media_type="application/octet-stream", headers=IMMUTABLE)


def _add_proofs(router: APIRouter, log: PublishedLog) -> None:
    @router.get("/consistency", response_class=PlainTextResponse)
    async def consistency(first: int, second: int) -> str:
        if not 0 < first <= second <= log.size:
            raise HTTPException(404, f"the signed log has {log.size} leaves")
        proof = log.writer.core.bank.log.consistency(first, second)
        return "".join(f"{b64encode(node).decode()}\n" for node in proof)

    @router.get("/finality")
    async def finality() -> dict[str, Any]:
        status = log.finality.status(time.monotonic_ns())
        return {
            "final_number": status.number,
            "final_size": status.size,
            "newest_number": status.newest_number,
            "newest_size": status.newest_size,
            "age_s": round(status.age_ns / SECOND_NS, 3),
            "is_final": not status.problem,
            "stake": status.stake,
            "stake_total": status.stake_total,
            "cosigned_size": status.cosigned_size,
            "problem": status.problem,
        }

    @router.get("/stake", response_class=PlainTextResponse)
    async def stake() -> str:
        """The bound stake as policy lines, for whoever weighs validators by it."""
        return log.writer.core.bank.stakes.policy_text()

    @router.get("/policy", response_class=PlainTextResponse)
    async def policy() -> str:
        return log.policy.text

    @router.get("/key", response_class=PlainTextResponse)
    async def key() -> str:
        return log.key.text() + "\n"


def _add_validators(router: APIRouter, log: PublishedLog) -> None:
    @router.get("/journal")
    async def journal(
        after: int, limit: int = JOURNAL_PAGE_MAX, authorization: Annotated[str, Header()] = ""
    ) -> Response:
        if not log.may_read_journal(authorization, after, limit):
            raise HTTPException(401, "sign the request with a validator's key of the policy")
        if not 0 <= after < 1 << 62 or not 0 < limit <= JOURNAL_PAGE_MAX:
            raise HTTPException(422, f"ask for 1 to {JOURNAL_PAGE_MAX} records")
        try:
            page = _page(log.journal, after, limit)
        except TamperedJournalError as error:
            raise HTTPException(409, str(error)) from error
        return Response(msgspec.msgpack.encode(page), media_type="application/msgpack")

    @router.post("/evidence")
    async def evidence(request: Request) -> Response:
        """Two roots of one size cosigned by a validator: its bound stake is slashed."""
        await log.writer.submit(slashing(log.writer, await _body(request)))
        return Response(status_code=204)

    @router.post("/cosignatures")
    async def cosignatures(request: Request) -> Response:
        octets = await _body(request)
        try:
            await log.take(octets.decode())
        except UnicodeDecodeError as error:
            raise HTTPException(400, "a note is UTF-8") from error
        except CosignatureError as error:
            raise HTTPException(error.status, str(error)) from error
        return Response(status_code=204)


def slashing(writer: Writer, text: str | bytes) -> SlashStake:
    """The command that this evidence asks for, once it was checked."""
    try:
        found = parse_evidence(text)
        check_evidence(found)
    except EvidenceError as error:
        raise HTTPException(422, str(error)) from error
    keys = writer.core.bank.stakes.keys
    validator = next((name for name, key in keys.items() if key == found.key), None)
    if validator is None:
        raise HTTPException(404, "the evidence holds, but its key has no stake here")
    return SlashStake(validator, found.kind, found.first, found.second)


async def _body(request: Request) -> bytes:
    """The whole body, which says its length first and keeps to it."""
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > BODY_BYTES_MAX:
        raise HTTPException(413, f"send at most {BODY_BYTES_MAX} bytes, and their length first")
    return await request.body()


def finality_metrics(log: PublishedLog) -> str:
    """Prometheus text about how far the log is final."""
    status = log.finality.status(time.monotonic_ns())
    return "".join(
        f"# TYPE {name} gauge\n{name} {value}\n"
        for name, value in (
            ("gridtokenx_final_block", status.number),
            ("gridtokenx_newest_block", status.newest_number),
            ("gridtokenx_finality_age_seconds", status.age_ns / SECOND_NS),
            ("gridtokenx_cosigned_stake", status.stake),
            ("gridtokenx_validator_stake", status.stake_total),
        )
    )


def _page(journal: Journal, after: int, limit: int) -> list[list[Any]]:
    """So many records after that sequence, or as many as a page may weigh; at least one."""
    page: list[list[Any]] = []
    weight = 0
    for record in islice(journal.read(after), limit):
        weight += len(record.body)
        if page and weight > JOURNAL_PAGE_BYTES_MAX:
            break
        page.append(
            [
                record.seq,
                record.at_ns,
                record.rules,
                record.cause_seq,
                record.cause_index,
                record.stream,
                record.body,
            ]
        )
    return page
