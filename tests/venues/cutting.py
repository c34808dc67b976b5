"""A simulator on a real port, and a wire in front of it that is cut at a given byte."""

import asyncio
import socket
import struct
import threading
from contextlib import asynccontextmanager, contextmanager, suppress

import uvicorn

from cloud.commands import RecordSubmission
from cloud.venues.online import CaisoOnline, Credentials, PjmOnline
from cloud.venues.shell import VenuePump
from cloud.venues.sim_http import make_sim_http
from cloud.venues.transport import Endpoint, Transport
from tests.venues.bidding import bid

PERSON = Credentials(user="somebody", password="secret", subscription_key="simulated-key")


@contextmanager
def served(sim, clock):
    """The simulator's address, for as long as the block lasts."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(make_sim_http(sim, clock), log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def online(venue, url, directory, clock, gap_s=0.0, timeout_s=5.0):
    transport = Transport(directory, clock, timeout_s)
    kind = {"caiso": CaisoOnline, "pjm": PjmOnline}[venue]
    data, gateway = Endpoint(venue, url, gap_s), Endpoint(venue, url)
    return kind(transport, data, gateway, PERSON)


class Wire:
    """Forwards connections to the simulator until `left` bytes have passed, then cuts them off."""

    def __init__(self, target):
        self._host, self._port = target.removeprefix("http://").split(":")
        self.left = None
        self._running = set()

    async def forward(self, reader, writer):
        # A task that nobody holds may be collected while it waits.
        task = asyncio.current_task()
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        far_reader, far_writer = await asyncio.open_connection(self._host, int(self._port))
        with suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(self._pipe(reader, far_writer), self._pipe(far_reader, writer))
        for one in (writer, far_writer):
            one.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            one.transport.abort()

    async def _pipe(self, reader, writer):
        while data := await reader.read(4_096):
            if self.left is not None:
                data = data[: self.left]
                self.left -= len(data)
            writer.write(data)
            await writer.drain()
            if self.left == 0:
                # The last byte is let through before the cut.
                await asyncio.sleep(0.001)
                raise ConnectionResetError
        if writer.can_write_eof():
            writer.write_eof()

    @asynccontextmanager
    async def open(self):
        server = await asyncio.start_server(self.forward, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()


class Gateway:
    """A process that submits one bid and may die; its memory is what it recorded before."""

    def __init__(self, venue, clock):
        self.recorded = []
        self.may_have_left = False
        self.pump = VenuePump({venue.name: venue}, clock, self._record)

    async def _record(self, command):
        if isinstance(command, RecordSubmission):
            self.may_have_left = True
        else:
            self.recorded.append(command)


async def killed_at(byte, number, venue, wire, through_wire, clock):
    """One submission whose process dies when `byte` bytes have passed, and its restart."""
    one = bid(venue, bid_id=f"bid-{number}", node=f"NODE-{number}")
    wire.left = byte
    first = Gateway(through_wire, clock)
    dying = asyncio.create_task(first.pump.submit(one))
    while not dying.done() and wire.left != 0:
        await asyncio.sleep(0.0005)
    if not dying.done():
        dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    wire.left = None
    if first.recorded:
        return first.recorded
    second = Gateway(through_wire, clock)
    await second.pump.submit(one, again=first.may_have_left)
    return second.recorded
