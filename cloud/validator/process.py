"""The validator as a process: follow the journal, cosign each root, stop at the first lie.

Decides when to ask and what to do about an answer: a silent aggregator is asked again, a lying one
never: the evidence is written, the process ends with status 1, and it will not start again on that
state directory until a person has looked. One line of JSON for each thing that happened.
"""

import json
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud.grid.network import Network
from cloud.store.durable import write_durably
from cloud.store.journal import JOURNAL_FILE, TamperedJournalError
from cloud.validator.files import load_key
from cloud.validator.mirror import publish
from cloud.validator.replica import ReplayError, Replica
from cloud.validator.source import PAGE_RECORDS, RefusedError, Source, SourceError
from cloud.validator.witness import DistrustError, Witness
from protos.codec import ColumnDecoder
from protos.receipt import ReceiptError, VerifierKey, open_checkpoint, parse_key, signature_line
from protos.witness import journal_request, witness_key

LOG_KEY_FILE = "log.key.pub"
DISTRUST_FILE = "distrust.json"
EVIDENCE_FILE = "evidence.json"
POLL_S = 0.25
RETRY_S = 0.5
LOOK_S = 2.0
"""How often the newest root is looked at when none comes, and other parties' roots."""


@dataclass(frozen=True, slots=True)
class ValidatorOptions:
    """Where the aggregator is, who this validator is, and whose roots it compares."""

    url: str
    key: Path
    state_dir: Path
    log_key: str = ""
    compare: tuple[str, ...] = ()
    mirror: Path | None = None


class Validator:
    """One validator at work."""

    def __init__(
        self, options: ValidatorOptions, networks: Mapping[str, Network], columns: ColumnDecoder
    ) -> None:
        self._options = options
        self._name, self._key = load_key(options.key)
        self._source = Source(options.url)
        self._log_key = _pinned_key(options, self._source)
        self._replica = Replica(options.state_dir / JOURNAL_FILE, networks, columns, self._key)
        self._witness = Witness(
            self._name, self._key, self._log_key, options.state_dir, self._replica
        )
        self._unsent = ""
        self._looked_s = 0.0
        self._seen: dict[str, str] = {}

    @property
    def ready(self) -> dict[str, Any]:
        return {"ready": True, "validator": self._name, "size": self._witness.size}

    def turn(self) -> dict[str, Any] | None:
        """One round: the journal, then the next root. What happened, or None for nothing new.

        Raises SourceError to be tried again, DistrustError and ReplayError for good.
        """
        self._follow_journal()
        self._send()
        note = self._source.note_beyond(self._witness.size, POLL_S)
        if note:
            return self._cosign(note)
        if time.monotonic() - self._looked_s > LOOK_S:
            self._looked_s = time.monotonic()
            self._look_around()
        return None

    def close(self) -> None:
        self._source.close()
        self._replica.close()

    def _cosign(self, note: str) -> dict[str, Any]:
        began = time.monotonic()
        size = open_checkpoint(_operator_part(note), self._log_key).size
        while self._replica.log.size < size and self._read_page():
            pass
        cosigned = self._witness.judge(
            note, self._replica.log.consistency, self._numbered, int(time.time())
        )
        self._unsent = cosigned
        self._send()
        if self._options.mirror is not None:
            publish(self._options.mirror, self._replica.log, self._replica.leaf, size, cosigned)
        return {
            "cosigned": size,
            "block": self._replica.block_number(size),
            "ms": round(1e3 * (time.monotonic() - began), 1),
        }

    def _follow_journal(self) -> None:
        """Fetches and applies all there is."""
        while self._read_page() == PAGE_RECORDS:
            pass

    def _read_page(self) -> int:
        """Fetches and applies one page. Returns how many records it had."""
        records = self._source.records(self._replica.seq, self._authorization())
        self._replica.append(records)
        return len(records)

    def _authorization(self) -> str:
        text = journal_request(self._log_key.name, self._replica.seq, PAGE_RECORDS)
        line = signature_line(witness_key(self._name, self._key), self._key.sign(text.encode()))
        return "Validator " + line.removeprefix("\N{EM DASH} ").rstrip("\n")

    def _send(self) -> None:
        if self._unsent:
            self._source.send_cosignature(self._unsent)
            self._unsent = ""

    def _look_around(self) -> None:
        note = self._source.note()
        if note:
            size = open_checkpoint(_operator_part(note), self._log_key).size
            if size <= self._witness.size and not self._witness.compare(note, self._numbered):
                raise DistrustError("the signed log is ahead of its own journal")
            if size < self._witness.size:
                raise DistrustError(f"history was cut: {size} leaves after {self._witness.size}")
        for place in self._options.compare:
            self._compare(place)

    def _compare(self, place: str) -> None:
        """A root that somebody else was shown; what cannot be read now is looked at later."""
        text = _read_place(place)
        if not text or self._seen.get(place) == text:
            return
        try:
            if self._witness.compare(text, self._numbered):
                self._seen[place] = text
        except ReceiptError as error:
            _say({"place": place, "unusable": str(error)})
            self._seen[place] = text

    def _numbered(self, number: int) -> str:
        try:
            return _operator_part(self._source.note_numbered(number))
        except (SourceError, RefusedError, ReceiptError):
            return ""


def run_validator(
    options: ValidatorOptions, networks: Mapping[str, Network], columns: ColumnDecoder
) -> int:
    """Runs until it is told to stop (0) or the operator can no longer be trusted (1)."""
    options.state_dir.mkdir(parents=True, exist_ok=True)
    halted = options.state_dir / DISTRUST_FILE
    if halted.exists():
        _say({"distrust": json.loads(halted.read_text(encoding="utf-8"))["problem"]})
        return 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        validator = _open(options, networks, columns, stop)
        if validator is None:
            return 0
        try:
            _work(validator, stop)
        finally:
            validator.close()
    except (DistrustError, ReplayError, TamperedJournalError, ReceiptError) as error:
        _distrust(options.state_dir, error)
        return 1
    return 0


def _open(
    options: ValidatorOptions,
    networks: Mapping[str, Network],
    columns: ColumnDecoder,
    stop: threading.Event,
) -> Validator | None:
    """The validator once the aggregator has answered for the first time."""
    while not stop.is_set():
        try:
            validator = Validator(options, networks, columns)
        except SourceError as error:
            _say({"waiting": str(error)})
            stop.wait(RETRY_S)
            continue
        _say(validator.ready)
        return validator
    return None


def _work(validator: Validator, stop: threading.Event) -> None:
    complaint = ""
    while not stop.is_set():
        try:
            happened = validator.turn()
        except (SourceError, RefusedError) as error:
            if str(error) != complaint:
                complaint = str(error)
                _say({"waiting": complaint})
            stop.wait(RETRY_S)
            continue
        complaint = ""
        if happened is not None:
            _say(happened)


def _distrust(state_dir: Path, error: Exception) -> None:
    evidence = error.evidence if isinstance(error, DistrustError) else None
    report = {"problem": str(error), "evidence": EVIDENCE_FILE if evidence else None}
    if evidence is not None:
        write_durably(state_dir / EVIDENCE_FILE, evidence.text().encode())
    write_durably(state_dir / DISTRUST_FILE, json.dumps(report).encode())
    _say({"distrust": str(error), "evidence": report["evidence"]})


def _pinned_key(options: ValidatorOptions, source: Source) -> VerifierKey:
    """The log's key: given, or kept from before, or taken on trust at the first meeting."""
    path = options.state_dir / LOG_KEY_FILE
    text = options.log_key
    if not text and path.exists():
        text = path.read_text(encoding="utf-8")
    if not text:
        text = source.key()
        write_durably(path, text.encode())
    return parse_key(text.strip())


def _operator_part(note: str) -> str:
    """Body and first signature line."""
    body, blank, signed = note.partition("\n\n")
    return body + blank + "".join(signed.splitlines(keepends=True)[:1])


def _read_place(place: str) -> str:
    """A note from a file or a web address; empty while it cannot be read."""
    try:
        if place.startswith(("http://", "https://")):
            with urllib.request.urlopen(place, timeout=RETRY_S * 4) as answer:  # noqa: S310
                octets: bytes = answer.read(1 << 16)
        else:
            octets = Path(place).read_bytes()
        return octets.decode()
    except (OSError, urllib.error.URLError, UnicodeDecodeError):
        return ""


def _say(happened: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(happened) + "\n")
    sys.stdout.flush()
