"""The validator's only way to the operator: the routes under /log of one aggregator.

Decides nothing; what comes back is a stranger's word until `replica` and `witness` have checked it.
One kept connection, one answer at a time, every answer bounded in size and time.
"""

import http.client
import urllib.parse
from collections.abc import Mapping
from typing import Any

import msgspec

from cloud.store.journal import Record

TIMEOUT_S = 30.0
ANSWER_BYTES_MAX = 64 * 1024 * 1024
PAGE_RECORDS = 2_000

_records = msgspec.msgpack.Decoder(list[tuple[int, int, int, int, int, str, bytes]])


class SourceError(OSError):
    """The aggregator did not answer, or not so that it could be read. To be tried again."""


class RefusedError(Exception):
    """The aggregator answered no. `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Source:
    """One aggregator's log over HTTP."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no http address; write http://host:port")
        self._path = parts.path.rstrip("/")
        make = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = make(parts.hostname, parts.port, timeout=timeout_s)

    def key(self) -> str:
        """The log's verifier key, as the operator says it; pin it at the first meeting."""
        return self._get("/log/key").decode("ascii").strip()

    def note(self) -> str:
        """The newest signed root; empty before the first."""
        try:
            return self._text(self._get("/log/checkpoint"))
        except RefusedError as error:
            if error.status == http.client.NOT_FOUND:
                return ""
            raise

    def note_beyond(self, size: int, wait_s: float) -> str:
        """The newest signed root once it has more leaves than this; empty if none comes in time."""
        return self._text(self._get(f"/log/checkpoint?beyond={size}&wait_s={wait_s}"))

    def note_numbered(self, number: int) -> str:
        """The signed root of one block."""
        return self._text(self._get(f"/log/checkpoint/{number}"))

    def records(self, after: int, authorization: str) -> list[Record]:
        """The next page of the journal; empty at its end."""
        octets = self._get(
            f"/log/journal?after={after}&limit={PAGE_RECORDS}", {"Authorization": authorization}
        )
        try:
            return [Record(*fields) for fields in _records.decode(octets)]
        except msgspec.DecodeError as error:
            raise SourceError(f"the journal page cannot be read: {error}") from error

    def send_cosignature(self, note: str) -> None:
        """Hands a cosigned checkpoint back. Raises RefusedError where it does not count."""
        self._call("POST", "/log/cosignatures", note.encode(), {"Content-Type": "text/plain"})

    def close(self) -> None:
        self._connection.close()

    def _get(self, path: str, headers: Mapping[str, str] | None = None) -> bytes:
        return self._call("GET", path, None, headers or {})

    def _call(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> bytes:
        try:
            self._connection.request(method, self._path + path, body, dict(headers))
            response = self._connection.getresponse()
            octets = response.read(ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise SourceError(f"the aggregator does not answer: {error!r}") from error
        if len(octets) > ANSWER_BYTES_MAX:
            self._connection.close()
            raise SourceError("the answer is longer than any that is needed")
        if response.status >= http.client.INTERNAL_SERVER_ERROR:
            raise SourceError(f"the aggregator failed: {response.status}")
        if response.status >= http.client.BAD_REQUEST:
            raise RefusedError(response.status, _detail(octets))
        return octets

    @staticmethod
    def _text(octets: bytes) -> str:
        try:
            return octets.decode()
        except UnicodeDecodeError as error:
            raise SourceError("the answer is not UTF-8") from error


def _detail(octets: bytes) -> str:
    try:
        said: Any = msgspec.json.decode(octets)
    except msgspec.DecodeError:
        return octets[:200].decode(errors="replace")
    return str(said.get("detail", said)) if isinstance(said, dict) else str(said)
