"""The way to a venue over HTTP: paced across processes, judged by body, retried within a bound.

A host that allows one request in so many seconds is asked by one process at a time: the lock on a
file in the state directory is held from before the request until its answer, and the file says when
the next may start. A throttle moves that moment for everybody, so retries never multiply the load.
A request that changes something is never repeated here; who sent it decides. Never logs or stores
credentials.
"""

import asyncio
import fcntl
import http.client
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cloud.venues.venue import SessionExpired, VenueError
from protos.clock import SECOND_NS, Clock

THROTTLE = b"Acceptable Use Policy Violation"
THROTTLE_STATUS = 429
THROTTLE_WAIT_S = 5.0
ATTEMPTS = 3
TIMEOUT_S = 20.0
ANSWER_BYTES_MAX = 64 * 1024 * 1024
LOCK_POLL_S = 0.25
QUEUE_MAX_S = 900.0
"""A file that says to wait longer was written by a clock that has since been set back."""


class Throttled(VenueError):
    """Asked too often; `retry_s` is how long the venue wants to be left alone."""

    def __init__(self, venue: str, retry_s: float) -> None:
        super().__init__(venue, f"throttled; retry after {retry_s:g} seconds")
        self.retry_s = retry_s


class Unreachable(VenueError):
    """No answer: refused, cut off or too slow. The request may have arrived."""


class Banned(VenueError):
    """The venue shuts this participant or address out; asking again makes it worse."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One host of a venue. `gap_s` is the least time between two requests to it."""

    venue: str
    url: str
    gap_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Pacer:
    """Whose turn it is, in files that all processes of a state directory share."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        directory.mkdir(parents=True, exist_ok=True)

    @asynccontextmanager
    async def turn(self, host: str, gap_s: float) -> AsyncIterator[None]:
        """Holds the host's turn: nobody else asks until this ends, and `gap_s` after it."""
        if gap_s <= 0:
            yield
            return
        handle = os.open(self._path(host), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not _locked(handle):
                await self._clock.sleep(min(LOCK_POLL_S, gap_s))
            await self._wait(handle)
            # Written before too: a process that is killed in its turn must not shorten the gap.
            _write(handle, self._clock.now_ns() + int(gap_s * SECOND_NS))
            try:
                yield
            finally:
                _write(handle, self._clock.now_ns() + int(gap_s * SECOND_NS), keep_later=True)
        finally:
            os.close(handle)

    def postpone(self, host: str, wait_s: float) -> None:
        """Leaves the host alone for at least so long, whoever asks. Call it within the turn."""
        handle = os.open(self._path(host), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _write(handle, self._clock.now_ns() + int(wait_s * SECOND_NS), keep_later=True)
        finally:
            os.close(handle)

    async def _wait(self, handle: int) -> None:
        while True:
            wait_s = (_read(handle) - self._clock.now_ns()) / SECOND_NS
            if wait_s <= 0 or wait_s > QUEUE_MAX_S:
                return
            await self._clock.sleep(wait_s)

    def _path(self, host: str) -> Path:
        return self._directory / f"{host.replace(':', '_')}.turn"


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(handle: int) -> int:
    text = os.pread(handle, 32, 0).strip(b"\x00 \n")
    return int(text) if text.isdigit() else 0


def _write(handle: int, instant_ns: int, *, keep_later: bool = False) -> None:
    if keep_later and instant_ns < _read(handle) < instant_ns + int(QUEUE_MAX_S * SECOND_NS):
        return
    os.pwrite(handle, b"%-32d" % instant_ns, 0)


class Transport:
    """Requests to any number of hosts with one pacer."""

    def __init__(self, directory: Path, clock: Clock, timeout_s: float = TIMEOUT_S) -> None:
        self._pacer = Pacer(directory, clock)
        self._timeout_s = timeout_s

    async def get(self, endpoint: Endpoint, path: str, headers: Mapping[str, str] = {}) -> Answer:
        """A question, asked up to ATTEMPTS times when throttled or cut off. Raises VenueError."""
        problem: VenueError | None = None
        for attempt in range(ATTEMPTS):
            try:
                return await self._once(endpoint, "GET", path, b"", headers, attempt)
            except (Throttled, Unreachable) as error:
                problem = error
        assert problem is not None
        raise problem

    async def post(
        self,
        endpoint: Endpoint,
        path: str,
        body: bytes,
        headers: Mapping[str, str] = {},
    ) -> Answer:
        """A submission, sent once. Raises VenueError, after which its fate is unknown."""
        return await self._once(endpoint, "POST", path, body, headers, 0)

    async def _once(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        attempt: int,
    ) -> Answer:
        async with self._pacer.turn(endpoint.host, endpoint.gap_s):
            try:
                answer = await asyncio.to_thread(
                    _exchange, endpoint, method, path, body, headers, self._timeout_s
                )
                return checked(endpoint.venue, answer)
            except Throttled as error:
                self._pacer.postpone(endpoint.host, error.retry_s * 2**attempt)
                raise
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(endpoint.venue, str(error) or type(error).__name__) from error


def _exchange(
    endpoint: Endpoint,
    method: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout_s: float,
) -> Answer:
    """One connection, one request, one whole answer. Raises OSError and HTTPException."""
    parts = urlsplit(endpoint.url)
    if parts.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.netloc, timeout=timeout_s, context=endpoint.tls
        )
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=timeout_s)
    try:
        sent = {"Connection": "close", **endpoint.headers, **headers}
        connection.request(method, parts.path + path, body or None, sent)
        response = connection.getresponse()
        content = response.read(ANSWER_BYTES_MAX)
        if response.length:
            raise http.client.IncompleteRead(content, response.length)
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content)
    finally:
        connection.close()


def checked(venue: str, answer: Answer) -> Answer:
    """The answer, if its body is one. Status and body are both asked: venues misuse either."""
    start = answer.body[:2_048]
    if answer.status == THROTTLE_STATUS or THROTTLE in start:
        retry = answer.headers.get("retry-after", "")
        raise Throttled(venue, float(retry) if retry.isdigit() else THROTTLE_WAIT_S)
    if answer.status == http.client.FORBIDDEN:
        raise Banned(venue, start.decode("utf-8", "replace")[:200])
    text = start.lstrip().lower()
    if answer.status == http.client.UNAUTHORIZED or text.startswith((b"<!doctype html", b"<html")):
        raise SessionExpired(venue, "a login page or 401 came instead of an answer; log in again")
    if answer.status >= http.client.INTERNAL_SERVER_ERROR:
        raise Unreachable(venue, f"HTTP {answer.status}")
    return answer
