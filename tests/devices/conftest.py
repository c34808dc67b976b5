"""Hostile Modbus slaves on real sockets and real pseudo-terminals.

What a register holds changes with `epoch`, which the test sets before every read, so that an answer
to an earlier question is a wrong value even at the same address.
"""

import asyncio
import contextlib
import os
import random
import tty

import pytest

from edge.devices.device import DeviceSpec
from edge.devices.modbus import frames
from edge.devices.modbus.bus import BusPool
from protos.messages import Role


def value_at(epoch: int, address: int) -> int:
    return (address * 131 + epoch * 7919) & 0xFFFF


class Slave:
    """Answers in order; `mischief` names what may happen to an answer, `rate` how often."""

    def __init__(
        self,
        mischief=(),
        rate=0.0,
        seed=1,
        late_s=(0.08, 0.15),
        silent_units=(),
        doubled_s=(0, 0.0005, 0.003),
    ):
        self.mischief, self.rate = list(mischief), rate
        self.random = random.Random(seed)
        self.late_s = late_s
        self.doubled_s = doubled_s
        self.silent_units = set(silent_units)
        self.epoch = 0
        self.requests = []
        self.holes = set()
        self.written = {}
        self.struck = dict.fromkeys(self.mischief, 0)
        self.gaps = []
        self.held = None
        self._queue = asyncio.Queue()

    def answer(self, request):
        """The honest answer as unit and PDU."""
        self.requests.append(request)
        if isinstance(request, frames.Fault):
            return request
        span = range(request.address, request.address + request.count)
        if self.holes.intersection(span):
            return frames.Fault(request.unit, request.function, 2)
        if request.function in frames.READS:
            values = tuple(self.written.get(a, value_at(self.epoch, a)) for a in span)
            if request.function in frames.BIT_READS:
                values = tuple(v & 1 for v in values)
            return frames.answer_read(request, values)
        self.written.update(zip(span, request.values, strict=True))
        return frames.answer_write(request)

    def draw(self):
        if self.mischief and self.random.random() < self.rate:
            kind = self.random.choice(self.mischief)
            self.struck[kind] += 1
            return kind
        return None


class SerialSlave(Slave):
    """Serial framing over anything that takes octets."""

    def __init__(self, write, **keywords):
        super().__init__(**keywords)
        self.write = write
        self.buffer = b""
        self.task = asyncio.get_running_loop().create_task(self.run())

    def octets(self, data):
        self.buffer += data
        while self.buffer:
            try:
                used, request = frames.next_rtu_request(self.buffer)
            except frames.Malformed:
                self.buffer = b""
                return
            if not used:
                return
            self.buffer = self.buffer[used:]
            if request.unit not in self.silent_units:
                self._queue.put_nowait(self.answer(request))

    async def run(self):
        while True:
            await self.reply(await self._queue.get())

    async def reply(self, answer):
        octets = frames.to_rtu(answer.unit, frames.reply_pdu(answer))
        kind, rng = self.draw(), self.random
        if kind == "late":
            await asyncio.sleep(rng.uniform(*self.late_s))
            self.write(octets)
        elif kind == "later":
            # Long enough for several questions to be given up meanwhile; they are answered after it.
            await asyncio.sleep(5 * rng.uniform(*self.late_s))
            self.write(octets)
        elif kind == "swap":
            # A gateway's two queues: this answer comes after the next one's.
            self.held = octets
            return
        elif kind == "twice":
            self.write(octets)
            await asyncio.sleep(rng.choice(self.doubled_s))
            self.write(octets)
        elif kind == "corrupt":
            spoilt = bytearray(octets)
            for _ in range(rng.randrange(1, 4)):
                spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
            if bytes(spoilt) == octets:
                spoilt[-1] ^= 1
            self.write(bytes(spoilt))
        elif kind == "cut":
            self.write(octets[: rng.randrange(1, len(octets))])
        elif kind == "foreign":
            other = frames.Reply(answer.unit + 1, answer.function, (1, 2))
            self.write(frames.to_rtu(other.unit, frames.reply_pdu(other)) + octets)
        elif kind == "noise":
            self.write(bytes(rng.randrange(256) for _ in range(rng.randrange(1, 12))))
            await asyncio.sleep(0.001)
            self.write(octets)
        elif kind == "busy":
            fault = frames.Fault(answer.unit, answer.function, 6)
            self.write(frames.to_rtu(answer.unit, frames.reply_pdu(fault)))
        elif kind == "short" and isinstance(answer, frames.Reply):
            less = frames.Reply(answer.unit, answer.function, answer.values[:-1] or (1, 2))
            self.write(frames.to_rtu(less.unit, frames.reply_pdu(less)))
        elif kind == "trickle":
            for octet in octets:
                self.write(bytes((octet,)))
                await asyncio.sleep(0)
        elif kind != "drop":
            self.write(octets)
        if self.held is not None:
            held, self.held = self.held, None
            await asyncio.sleep(rng.uniform(0, 0.05))
            self.write(held)


class TcpSlave(Slave):
    """Modbus TCP framing with mischief of its own."""

    def __init__(self, **keywords):
        super().__init__(**keywords)
        self.connections = 0
        self.open = set()
        self.zero_ids = False

    def connected(self, transport):
        self.connections += 1
        self.open.add(transport)

    def serve(self, transport, transaction, request):
        answer = self.answer(request)
        if answer.unit in self.silent_units:
            return
        pdu = frames.reply_pdu(answer)
        transaction = 0 if self.zero_ids else transaction
        octets = frames.to_tcp(transaction, answer.unit, pdu)
        kind, loop = self.draw(), asyncio.get_running_loop()
        write = transport.write
        if kind == "late":
            loop.call_later(self.random.uniform(*self.late_s), write, octets)
        elif kind == "twice":
            write(octets + octets)
        elif kind == "zero":
            write(frames.to_tcp(0, answer.unit, pdu))
        elif kind == "other":
            write(frames.to_tcp((transaction + 1) & 0xFFFF, answer.unit, pdu))
            write(octets)
        elif kind == "unit":
            write(frames.to_tcp(transaction, answer.unit ^ 3, pdu))
        elif kind == "short" and isinstance(answer, frames.Reply):
            less = frames.Reply(answer.unit, answer.function, answer.values[:-1] or (1, 2))
            write(frames.to_tcp(transaction, less.unit, frames.reply_pdu(less)))
        elif kind == "split":
            write(octets[:5])
            loop.call_later(0.002, write, octets[5:])
        elif kind == "swap":
            if self.held is None:
                self.held = octets
                loop.call_later(0.01, self.release, write)
            else:
                write(octets)
        elif kind == "garbage":
            write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        elif kind == "reset":
            transport.abort()
        elif kind != "drop":
            write(octets)

    def release(self, write):
        held, self.held = self.held, None
        if held:
            write(held)


class _TcpPeer(asyncio.Protocol):
    def __init__(self, slave):
        self.slave, self.buffer = slave, b""

    def connection_made(self, transport):
        self.transport = transport
        self.slave.connected(transport)

    def connection_lost(self, exc):
        self.slave.open.discard(self.transport)

    def data_received(self, data):
        self.buffer += data
        while True:
            used, transaction, request = frames.next_tcp_request(self.buffer)
            if not used:
                return
            self.buffer = self.buffer[used:]
            self.slave.serve(self.transport, transaction, request)


class _LinePeer(asyncio.Protocol):
    def __init__(self, holder):
        self.holder = holder

    def connection_made(self, transport):
        self.holder.write = transport.write

    def data_received(self, data):
        self.holder.octets(data)


class Yard:
    """Makes slaves and specs that reach them; cleans up after the test."""

    def __init__(self):
        self.pool = BusPool()
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.pool.close()
        await self._stack.aclose()

    async def tcp(self, spec_options=None, **keywords):
        slave = TcpSlave(**keywords)
        server = await asyncio.get_running_loop().create_server(
            lambda: _TcpPeer(slave), "127.0.0.1", 0
        )
        self._stack.callback(server.close)
        self._stack.callback(lambda: [transport.abort() for transport in list(slave.open)])
        slave.server = server
        port = server.sockets[0].getsockname()[1]
        return slave, spec("tcp", f"127.0.0.1:{port}", options=spec_options or {})

    async def rtu_over_tcp(self, **keywords):
        slave = SerialSlave(lambda octets: None, **keywords)
        self._stack.callback(slave.task.cancel)
        server = await asyncio.get_running_loop().create_server(
            lambda: _LinePeer(slave), "127.0.0.1", 0
        )
        self._stack.callback(server.close)
        port = server.sockets[0].getsockname()[1]
        return slave, spec("rtu_over_tcp", f"127.0.0.1:{port}", baud=115200)

    async def rtu(self, baud=115200, **keywords):
        master, follower = os.openpty()
        tty.setraw(master)
        tty.setraw(follower)
        os.set_blocking(master, False)
        slave = SerialSlave(lambda octets: os.write(master, octets), **keywords)
        loop = asyncio.get_running_loop()
        loop.add_reader(master, lambda: slave.octets(os.read(master, 4096)))

        def undo():
            loop.remove_reader(master)
            slave.task.cancel()
            os.close(master)
            os.close(follower)

        self._stack.callback(undo)
        slave.master = master
        return slave, spec("rtu", os.ttyname(follower), baud=baud)


def spec(transport, address, unit=1, baud=9600, options=None, profile="none", role=Role.GRID):
    return DeviceSpec("meter", role, profile, transport, address, unit, baud, "N", options or {})


@pytest.fixture
async def yard():
    async with Yard() as made:
        yield made


@pytest.fixture
def expected():
    """The words that an honest answer holds now."""
    return lambda slave, address, count: tuple(
        value_at(slave.epoch, a) for a in range(address, address + count)
    )
