"""Receipts over HTTP: a household's settled slot, and one transfer inside its batch.

Reading is open. Decides nothing; must never give out a proof of what no signed root is over yet.
"""

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException
from fastapi import Path as InPath
from fastapi.responses import PlainTextResponse

from cloud.commands import PostTransfers
from cloud.facts import BatchPosted, decode_fact
from cloud.gate.log_http import PublishedLog
from cloud.ledger.receipts import ReceiptTooLongError
from cloud.ledger.transfer_proofs import proof_head
from cloud.ledger.transfers import records_root
from cloud.store.transfers import batches_with
from cloud.store.views import TransferBatchRow, Views
from protos.limits import RECEIPT_BYTES_MAX

TRANSFER_ID = r"^[0-9a-f]{32}$"
HOUR_MAX = 1 << 40


def receipts_router(log: PublishedLog, views: Views, journal_file: Path) -> APIRouter:
    """The routes; `journal_file` is read beside the writer."""
    router = APIRouter(prefix="/api")

    @router.get("/receipts/{account}", response_class=PlainTextResponse)
    async def read_receipt(account: str, slot: int | None = None) -> str:
        found = views.statement(account, slot)
        if found is None or log.size <= found[0]:
            raise HTTPException(
                404, f"no settled slot of {account!r} under a root yet; try again after the slot"
            )
        return log.receipt(found[0], _leaf(log, found[0]))

    @router.get("/transfers/{transfer}/receipt", response_class=PlainTextResponse)
    async def read_transfer(
        transfer: Annotated[str, InPath(pattern=TRANSFER_ID)], hour: int | None = None
    ) -> str:
        """`hour` is the one that was answered; without it the newest commands are looked through."""
        if hour is not None and not 0 <= hour <= HOUR_MAX:
            raise HTTPException(422, "an hour counts from 1970, as the transfer's answer has it")
        found = await asyncio.to_thread(
            lambda: list(batches_with(journal_file, bytes.fromhex(transfer), hour))
        )
        for at_ns, command, index in found:
            for batch in views.transfer_batches:
                if batch.at_ns == at_ns and batch.position < log.size:
                    proof = _proof(log, batch, command, index)
                    if proof:
                        return proof
        raise HTTPException(
            404,
            f"no transfer {transfer} under a root yet; try again in three seconds, or name the hour "
            "that was answered",
        )

    return router


def _leaf(log: PublishedLog, position: int) -> bytes:
    leaf = log.journal.leaf(position)
    assert leaf is not None, f"leaf {position} lies under a root but is not stored"
    return leaf


def _proof(log: PublishedLog, batch: TransferBatchRow, command: PostTransfers, index: int) -> str:
    """The proof; empty where another batch of the same journal time is meant."""
    leaf = _leaf(log, batch.position)
    fact = decode_fact(leaf)
    assert isinstance(fact, BatchPosted), f"leaf {batch.position} is no batch of transfers"
    if fact.root != records_root(command.records, batch.refused, per_leaf=1):
        return ""
    head = proof_head(command.records, batch.refused, fact.root, index)
    try:
        return head + log.receipt(batch.position, leaf, RECEIPT_BYTES_MAX - len(head))
    except ReceiptTooLongError as error:
        raise HTTPException(409, f"{error}; send fewer transfers in one batch") from error
