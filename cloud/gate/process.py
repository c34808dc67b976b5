"""A gate in a process of its own: `python -m cloud.gate.process FD`.

It ends TLS and gRPC, keeps every stream's order, checks signatures, and hands what passed to the
writer over the socket FD that it was born with. Decides only what a gate decides; it sees no
journal, no machine and no key but the server's. When the writer has gone it ends: its gateways come
back to another gate. It must never hand on what it has not checked.
"""

import asyncio
import logging
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cloud.gate.authority import BadRequestError, ServerIdentity
from cloud.gate.downlink import Downlink
from cloud.gate.frames import (
    Answer,
    Ask,
    Begin,
    Checkpoint,
    Drain,
    End,
    Enter,
    Entered,
    Envelopes,
    Glimpse,
    Landed,
    Lease,
    Leave,
    Link,
    Listening,
    Market,
    Outcomes,
    Renew,
    Wrote,
    link_over,
)
from cloud.gate.gateways import GatewayGate
from cloud.gate.house import Landed as OnLanded
from cloud.gate.house import RefusedError
from cloud.gate.loops import bound_collections, run_loop
from cloud.gate.transport import bind, credentials, make_server
from cloud.signatures import Checker, Signed, fast_checker
from protos.clock import clock_from_environment
from protos.ids import DeviceId
from protos.limits import GLIMPSE_PERIOD_S
from protos.messages import Refusal
from protos.seal import Sealed, signed_bytes

OUTSTANDING_MAX = 4_096
OUTSTANDING_BYTES_MAX = 16 << 20
"""Envelopes that one gate has taken and not receipted, of all its streams together."""

FRAME_ENVELOPES_MAX = 64
"""In one frame, so that it is never larger than a few megabytes."""

BUSY = 8
BUSY_TICK_S = 0.005
"""After so many envelopes at once the next check waits, so that more are checked together."""

GRACE_S = 0.5


class RemotePlace:
    """A gateway's way to the writer in another process."""

    def __init__(self, house: "RemoteHouse", seat: int, device: DeviceId, key: Any) -> None:
        self.durable_seq = 0
        self.has_left = False
        self._house = house
        self._seat = seat
        self._device = device
        self._key = key
        self._landed: OnLanded | None = None
        self._glimpsed_s = -float(GLIMPSE_PERIOD_S)

    @property
    def is_full(self) -> bool:
        return self._house.is_full

    async def wait_for_room(self) -> None:
        await self._house.wait_for_room()

    def hand_over(self, sealed: Sealed, landed: OnLanded) -> None:
        self._landed = landed
        message = signed_bytes(self._device, sealed.seq, sealed.previous, sealed.payload)
        self._house.take(self, sealed, Signed(self._key, sealed.signature, message))

    def glimpse(self, sealed: Sealed, now_s: float) -> None:
        """The other side checks it; here only that they are not too many."""
        if now_s - self._glimpsed_s >= GLIMPSE_PERIOD_S / 2:
            self._glimpsed_s = now_s
            self._house.link.send(Glimpse(self._seat, *sealed))

    def leave(self) -> None:
        self._house.leave(self._seat)
        self.has_left = True

    def item(self, sealed: Sealed) -> tuple[int, int, bytes, bytes, bytes]:
        return (self._seat, *sealed)

    def land(self, seq: int, durable_seq: int, refusal: int) -> None:
        self.durable_seq = durable_seq
        if self._landed is not None and not self.has_left:
            self._landed(seq, durable_seq, Refusal(refusal) if refusal else None)


class RemoteHouse:
    """The machines, as a gate process reaches them."""

    def __init__(self, link: Link, checker: Checker) -> None:
        self.link = link
        self._checker = checker
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checks")
        self._number = 0
        self._questions: dict[int, asyncio.Future[Any]] = {}
        self._places: dict[int, tuple[RemotePlace, Downlink]] = {}
        self._taken: list[tuple[RemotePlace, Sealed, Signed]] = []
        self._some_taken = asyncio.Event()
        self._outstanding: deque[int] = deque()
        self._outstanding_bytes = 0
        self._room = asyncio.Event()

    # ---- what a gate asks ----------------------------------------------------------------------

    async def key_of(self, device: DeviceId) -> bytes:
        number = self._next_number()
        answer = await self._ask(number, Ask(number, device))
        return bytes(answer.body)

    async def renew(self, device: DeviceId, csr_pem: bytes) -> bytes:
        number = self._next_number()
        answer = await self._ask(number, Renew(number, device, csr_pem))
        return bytes(answer.body)

    async def enter(self, device: DeviceId, seat: Downlink) -> RemotePlace:
        key = self._checker.open(await self.key_of(device))
        number = self._next_number()
        place = RemotePlace(self, number, device, key)
        self._places[number] = place, seat
        seat.wrote = lambda outcomes: self.link.send(Wrote(number, outcomes))
        try:
            await self._ask(number, Enter(number, device))
        except BaseException:
            place.leave()
            raise
        return place

    def leave(self, seat: int) -> None:
        if self._places.pop(seat, None) is not None:
            self.link.send(Leave(seat))

    @property
    def is_full(self) -> bool:
        return (
            len(self._outstanding) + len(self._taken) >= OUTSTANDING_MAX
            or self._outstanding_bytes >= OUTSTANDING_BYTES_MAX
        )

    async def wait_for_room(self) -> None:
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    def take(self, place: RemotePlace, sealed: Sealed, signed: Signed) -> None:
        """An envelope that is next in its stream; it is checked with what comes beside it."""
        self._outstanding_bytes += len(sealed.payload)
        self._taken.append((place, sealed, signed))
        self._some_taken.set()

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    async def _ask(self, number: int, frame: Ask | Renew | Enter) -> Any:
        future = asyncio.get_running_loop().create_future()
        self._questions[number] = future
        self.link.send(frame)
        try:
            answer = await future
        finally:
            del self._questions[number]
        if isinstance(answer, Answer) and answer.refusal:
            raise RefusedError(Refusal(answer.refusal))
        if isinstance(answer, Answer) and answer.problem:
            raise BadRequestError(answer.problem)
        return answer

    # ---- checks --------------------------------------------------------------------------------

    async def check(self) -> None:
        """Checks what has gathered in one call to the thread, and hands on what passed."""
        loop = asyncio.get_running_loop()
        while True:
            await self._some_taken.wait()
            self._some_taken.clear()
            taken, self._taken = self._taken, []
            signed = [one for _, _, one in taken]
            valid = await loop.run_in_executor(self._thread, self._checker.are_valid, signed)
            self._hand_on(taken, valid)
            if len(taken) >= BUSY:
                await asyncio.sleep(BUSY_TICK_S)

    def _hand_on(
        self, taken: Sequence[tuple[RemotePlace, Sealed, Signed]], valid: Sequence[bool]
    ) -> None:
        items = []
        for (place, sealed, _), is_valid in zip(taken, valid, strict=True):
            if is_valid and not place.has_left:
                items.append(place.item(sealed))
                self._outstanding.append(len(sealed.payload))
                continue
            self._settle(len(sealed.payload))
            if not place.has_left:
                place.land(sealed.seq, place.durable_seq, Refusal.BAD_SIGNATURE)
        for first in range(0, len(items), FRAME_ENVELOPES_MAX):
            self.link.send(Envelopes(items[first : first + FRAME_ENVELOPES_MAX]))

    def _settle(self, size: int) -> None:
        self._outstanding_bytes -= size
        self._room.set()

    # ---- what the machines say -----------------------------------------------------------------

    def hear(self, frame: Any) -> None:
        """One frame from the writer's process that is for a single seat, or an answer."""
        match frame:
            case Landed():
                self._land(frame)
            case Answer(number=number):
                self._answer(number, frame)
            case Entered(seat=seat):
                self._begin(frame)
                self._answer(seat, frame)
            case Lease(seat=seat) if seat in self._places:
                self._places[seat][1].lease(frame.message)
            case Outcomes(seat=seat) if seat in self._places:
                for body in frame.bodies:
                    self._places[seat][1].outcome(body)
            case End(seat=seat) if seat in self._places:
                self._places[seat][1].close()

    def _land(self, frame: Landed) -> None:
        for seat, seq, durable_seq, refusal in frame.items:
            # In the order in which they were handed on, also for streams that have ended.
            self._settle(self._outstanding.popleft())
            found = self._places.get(seat)
            if found is not None:
                found[0].land(seq, durable_seq, refusal)

    def _begin(self, frame: Entered) -> None:
        found = self._places.get(frame.seat)
        if found is not None:
            place, downlink = found
            place.durable_seq = frame.durable_seq
            downlink.begin(frame.welcome, frame.leases, frame.outcomes)

    def _answer(self, number: int, frame: Answer | Entered) -> None:
        future = self._questions.get(number)
        if future is not None and not future.done():
            future.set_result(frame)


async def serve(end: socket.socket) -> int:
    """One gate's life. Returns the exit status."""
    link = await link_over(end)
    begin = await link.receive()
    if begin is None:
        return 1
    assert isinstance(begin, Begin)
    logging.basicConfig(
        level=begin.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    house = RemoteHouse(link, fast_checker())
    gate = GatewayGate(house, clock_from_environment())
    server = make_server(shares_port=True)
    gate.add_to(server)
    mutual = credentials(ServerIdentity(begin.key, begin.chain), begin.roots)
    try:
        bind(server, begin.address, mutual)
    except OSError as error:
        link.send(Listening(str(error)))
        await link.flush()
        return 1
    await server.start()
    bound_collections()
    link.send(Listening(""))
    checking = asyncio.create_task(house.check())
    listening = asyncio.create_task(_listen(link, house, gate))
    # A check that fails is a defect: no gate is better than one that takes and never answers.
    done, _ = await asyncio.wait((checking, listening), return_when=asyncio.FIRST_COMPLETED)
    checking.cancel()
    await server.stop(GRACE_S)
    await link.flush()
    for task in done:
        task.result()
    return 0


async def _listen(link: Link, house: RemoteHouse, gate: GatewayGate) -> None:
    """Until the writer's process lets the gateways go, or has gone itself."""
    while (frame := await link.receive()) is not None:
        match frame:
            case Checkpoint():
                gate.checkpoint(frame.message)
            case Market():
                gate.market(frame.message)
            case Drain():
                draining = asyncio.create_task(gate.drain())
                draining.add_done_callback(lambda _: link.close())
            case _:
                house.hear(frame)


def main() -> int:
    """A terminal's Ctrl-C and a supervisor's SIGTERM are for the writer's process, which then says
    what is to happen; its end is this process's, too.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return run_loop(serve(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    sys.exit(main())
