"""The writer's side of gates in processes of their own: starts them, listens, starts them again.

All of them listen on one port (`SO_REUSEPORT`), and the kernel deals gateways to them. Each hangs on
a socket pair that only it and this process hold. Decides nothing about gateways: every frame is a
call of the switchboard's. A gate that dies takes with it only what nobody was told was safe: its
gateways come back to another one and send again what was not receipted, and outcomes that it had
not written are kept for them. Two aggregators must never share the port: the claim sees to that.
"""

import asyncio
import logging
import socket
import sys
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from cloud.gate.authority import BadRequestError, CertificateAuthority
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
    Frame,
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
from cloud.gate.house import RefusedError
from cloud.gate.switchboard import LocalPlace, Switchboard
from cloud.gate.transport import server_identity
from protos.ids import DeviceId
from protos.limits import OPEN_OFFERS_PER_DEVICE_MAX
from protos.messages import Refusal
from protos.seal import Sealed

START_WITHIN_S = 30
STOP_WITHIN_S = 10
PAUSE_S = 0.2
DEATHS_MAX = 20
DEATHS_WITHIN_S = 60.0
"""A gate that keeps dying is a defect that somebody must see: the aggregator then ends."""

WAITING_BYTES_MAX = 64 << 20
"""What a gate may leave untaken before it is given up as hung."""

log = logging.getLogger(__name__)


class RemoteSeat:
    """The way down to one gateway of another process."""

    def __init__(self, gate: "GateLink", number: int) -> None:
        self._gate = gate
        self._number = number
        self._given = 0
        self._unwritten: deque[bytes] = deque(maxlen=OPEN_OFFERS_PER_DEVICE_MAX)

    @property
    def untold(self) -> Sequence[bytes]:
        return tuple(self._unwritten)

    def lease(self, message: bytes) -> None:
        self._gate.tell(Lease(self._number, message))

    def outcome(self, body: bytes) -> None:
        self.remember(body)
        self._gate.tell_outcome(self._number, body)

    def close(self) -> None:
        self._gate.tell(End(self._number))

    def remember(self, outcome: bytes) -> None:
        """It is on its way, and told only once the gate has written it."""
        self._given += 1
        self._unwritten.append(outcome)

    def wrote(self, outcomes: int) -> None:
        self._given -= outcomes
        while len(self._unwritten) > self._given:
            self._unwritten.popleft()


class GateLink:
    """One gate process, as long as it lives."""

    def __init__(self, board: Switchboard, link: Link, process: asyncio.subprocess.Process) -> None:
        self._board = board
        self._link = link
        self._process = process
        self._places: dict[int, tuple[LocalPlace, RemoteSeat]] = {}
        self._landed: list[tuple[int, int, int, int]] = []
        self._outcomes: dict[int, list[bytes]] = {}
        self._loop = asyncio.get_running_loop()

    @property
    def gateways(self) -> int:
        """How many streams it serves."""
        return len(self._places)

    def checkpoint(self, message: bytes) -> None:
        self.tell(Checkpoint(message))

    def market(self, message: bytes) -> None:
        self.tell(Market(message))

    def tell(self, frame: Frame) -> None:
        """A gate that has stopped taking anything is killed: its gateways do better elsewhere."""
        if self._link.waiting_bytes > WAITING_BYTES_MAX and self._process.returncode is None:
            log.error("gate process %d takes nothing any more and is killed", self._process.pid)
            self._process.kill()
        self._link.send(frame)

    def tell_outcome(self, seat: int, body: bytes) -> None:
        """Outcomes of one turn of the loop travel together."""
        if not self._outcomes:
            self._loop.call_soon(self._send_outcomes)
        self._outcomes.setdefault(seat, []).append(body)

    async def run(self) -> None:
        """Listens until the gate has gone, then gives its seats up."""
        try:
            while (frame := await self._link.receive()) is not None:
                await self._hear(frame)
        finally:
            self._link.close()
            for place, _ in self._places.values():
                place.leave()
            self._places.clear()

    async def _hear(self, frame: Any) -> None:
        match frame:
            case Envelopes():
                await self._take(frame)
            case Enter():
                self._enter(frame)
            case Leave(seat=seat):
                place, _ = self._places.pop(seat)
                place.leave()
            case Wrote(seat=seat) if seat in self._places:
                self._places[seat][1].wrote(frame.outcomes)
            case Glimpse(seat=seat) if seat in self._places:
                sealed = Sealed(frame.seq, frame.previous, frame.payload, frame.signature)
                self._places[seat][0].glimpse(sealed, self._loop.time())
            case Ask(number=number, device=device):
                await self._answer(number, self._board.key_of(device))
            case Renew(number=number):
                await self._answer(number, self._board.renew(frame.device, frame.csr_pem))

    async def _take(self, frame: Envelopes) -> None:
        for seat, seq, previous, payload, signature in frame.items:
            place, _ = self._places[seat]
            if place.is_full:
                await place.wait_for_room()
            place.hand_over(Sealed(seq, previous, payload, signature), partial(self._land, seat))

    def _land(self, seat: int, seq: int, durable_seq: int, refusal: Refusal | None) -> None:
        if not self._landed:
            self._loop.call_soon(self._send_landed)
        self._landed.append((seat, seq, durable_seq, refusal or 0))

    def _send_landed(self) -> None:
        landed, self._landed = self._landed, []
        self.tell(Landed(landed))

    def _send_outcomes(self) -> None:
        outcomes, self._outcomes = self._outcomes, {}
        for seat, bodies in outcomes.items():
            self.tell(Outcomes(seat, bodies))

    def _enter(self, frame: Enter) -> None:
        number, device = frame.seat, DeviceId(frame.device)
        seat = RemoteSeat(self, number)
        try:
            place, welcome = self._board.seat(device, seat, is_checked=True)
        except RefusedError as error:
            self.tell(Answer(number, refusal=error.reason))
            return
        self._places[number] = place, seat
        leases, outcomes = self._board.waiting(device)
        for outcome in outcomes:
            seat.remember(outcome)
        self.tell(Entered(number, place.durable_seq, welcome, leases, outcomes))

    async def _answer(self, number: int, asked: Any) -> None:
        try:
            self.tell(Answer(number, await asked))
        except RefusedError as error:
            self.tell(Answer(number, refusal=error.reason))
        except BadRequestError as error:
            self.tell(Answer(number, problem=str(error)))


class GateProcesses:
    """All gate processes of one aggregator."""

    def __init__(
        self,
        board: Switchboard,
        authority: CertificateAuthority,
        count: int,
        host: str,
        port: int,
    ) -> None:
        self.gates: dict[int, GateLink] = {}
        self.processes: dict[int, asyncio.subprocess.Process] = {}
        self._board = board
        self._authority = authority
        self._count = count
        self._host = host
        self._port = port
        self._held: list[socket.socket] = []
        self._begin: Begin | None = None
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False

    async def start(self) -> int:
        """Starts them all; returns their port. Raises OSError where it is taken."""
        place, self._held = hold_port(self._host, self._port)
        identity = server_identity(self._authority, self._host)
        roots = self._authority.certificate_pem
        level = logging.getLogger().getEffectiveLevel()
        self._begin = Begin(f"{self._host}:{place}", identity.key, identity.chain, roots, level)
        try:
            await asyncio.gather(*(self._open(index) for index in range(self._count)))
        except BaseException:
            self._abandon()
            raise
        self._tasks = [
            asyncio.create_task(self._keep(index), name=f"gate-{index}")
            for index in range(self._count)
        ]
        return place

    async def failed(self) -> None:
        """Waits until a gate cannot be kept alive, and raises why."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Lets the gateways go, and the processes end."""
        self._is_stopping = True
        for gate in self.gates.values():
            gate.tell(Drain())
        ends = [asyncio.create_task(process.wait()) for process in self.processes.values()]
        if ends:
            await asyncio.wait(ends, timeout=STOP_WITHIN_S)
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*ends, *self._tasks, return_exceptions=True)
        for one in self._held:
            one.close()

    def _abandon(self) -> None:
        """Of a start that has failed nothing stays."""
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
        for one in self._held:
            one.close()

    async def _open(self, index: int) -> None:
        """Starts one process and waits until it listens."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "cloud.gate.process", str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
            )
        link = await link_over(ours)
        assert self._begin is not None
        link.send(self._begin)
        self.processes[index] = process
        async with asyncio.timeout(START_WITHIN_S):
            answer = await link.receive()
        if not isinstance(answer, Listening) or answer.problem:
            link.close()
            problem = answer.problem if isinstance(answer, Listening) else "it ended at once"
            raise OSError(f"a gate process does not listen: {problem}")
        self.gates[index] = gate = GateLink(self._board, link, process)
        self._board.halls.append(gate)

    async def _keep(self, index: int) -> None:
        """Serves one gate, and starts another in its place whenever it has gone."""
        while True:
            gate = self.gates[index]
            try:
                await gate.run()
            finally:
                self._board.halls.remove(gate)
                del self.gates[index]
            status = await self.processes[index].wait()
            if self._is_stopping:
                return
            log.error("a gate process has ended with status %d; another one is started", status)
            self._count_death()
            await asyncio.sleep(PAUSE_S)
            await self._open(index)

    def _count_death(self) -> None:
        now_s = asyncio.get_running_loop().time()
        self._deaths.append(now_s)
        if len(self._deaths) == DEATHS_MAX and now_s - self._deaths[0] < DEATHS_WITHIN_S:
            raise RuntimeError(f"gate processes have died {DEATHS_MAX} times within a minute")


def hold_port(host: str, port: int) -> tuple[int, list[socket.socket]]:
    """The port, chosen if it is 0, and what holds it for this aggregator alone.

    A socket that shares the port keeps strangers from it and does not listen. As another
    aggregator's gates would share it, too, its number is claimed by a name that only one process
    of this machine can have. Raises OSError.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    guard = socket.socket(family, kind)
    claim = socket.socket(socket.AF_UNIX)
    try:
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        guard.bind(address)
        taken: int = guard.getsockname()[1]
        claim.bind(f"\0gridtokenx/gate/{taken}")
    except OSError as error:
        guard.close()
        claim.close()
        raise OSError(
            f"cannot listen on {host}:{port}; is another aggregator running there?"
        ) from error
    return taken, [guard, claim]
