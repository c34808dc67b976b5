"""What carries the octets: a serial port or a TCP connection, both without a thread.

A link moves octets and says when it is lost. It knows nothing of frames, and must never keep
octets from before it was opened.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import ClassVar, Protocol

import serial

from edge.devices.device import DeviceSpec

CONNECT_TIMEOUT_S = 3.0
READ_OCTETS = 4096

OnOctets = Callable[[bytes], None]
OnLost = Callable[[str], None]


class Link(Protocol):
    """A way for octets, closed at first. `open` raises OSError with the reason."""

    @property
    def is_open(self) -> bool: ...
    async def open(self, on_octets: OnOctets, on_lost: OnLost) -> None: ...
    def write(self, octets: bytes) -> None: ...
    def close(self) -> None: ...


class _Watched:
    """A link over a descriptor that the loop watches, without a transport between."""

    NAME: ClassVar[str]
    AT_END: ClassVar[str]

    def __init__(self) -> None:
        self._descriptor = -1
        self._on_octets: OnOctets | None = None
        self._on_lost: OnLost | None = None

    @property
    def is_open(self) -> bool:
        return self._descriptor >= 0

    def write(self, octets: bytes) -> None:
        """Hands a whole frame to the system. All frames in flight are shorter than its buffer: where
        it takes only a part, the other side has not read for long.
        """
        if self._descriptor < 0:
            return
        try:
            sent = os.write(self._descriptor, octets)
        except OSError as error:
            self._lost(str(error))
            return
        if sent != len(octets):
            self._lost(f"{self.NAME} took part of a frame only")

    def close(self) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._descriptor = -1
            self._release()
        self._on_octets = self._on_lost = None

    def _release(self) -> None:
        """Gives the descriptor back."""
        raise NotImplementedError

    def _watch(self, descriptor: int, on_octets: OnOctets, on_lost: OnLost) -> None:
        self._descriptor, self._on_octets, self._on_lost = descriptor, on_octets, on_lost
        asyncio.get_running_loop().add_reader(descriptor, self._readable)

    def _readable(self) -> None:
        if self._on_octets is None:
            return
        try:
            octets = os.read(self._descriptor, READ_OCTETS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(str(error))
            return
        if octets:
            self._on_octets(octets)
        else:
            self._lost(self.AT_END)

    def _lost(self, reason: str) -> None:
        on_lost = self._on_lost
        self.close()
        if on_lost is not None:
            on_lost(reason)


class SerialLink(_Watched):
    """A serial port, opened for this process alone."""

    NAME = "the port"
    AT_END = "the port reports end of file"

    def __init__(self, spec: DeviceSpec) -> None:
        super().__init__()
        self._spec = spec
        self._port: serial.Serial | None = None

    async def open(self, on_octets: OnOctets, on_lost: OnLost) -> None:
        spec = self._spec
        options = spec.options
        try:
            self._port = serial.Serial(
                spec.address,
                baudrate=spec.baud,
                parity=spec.parity,
                stopbits=int(options.get("stop", 1)),
                bytesize=int(options.get("bits", 8)),
                timeout=0,
                exclusive=True,
            )
        except (serial.SerialException, ValueError) as error:
            raise OSError(str(error)) from error
        self._port.reset_input_buffer()
        self._watch(self._port.fileno(), on_octets, on_lost)

    def set_baud(self, baud: int) -> None:
        """Another speed from the next octet on; what was written before is sent first."""
        if self._port is not None:
            self._port.flush()
            self._port.baudrate = baud

    def _release(self) -> None:
        if self._port is not None:
            self._port.close()
        self._port = None


class SocketLink(_Watched):
    """A TCP connection to host:port. Watching its socket costs a fifth less of a transaction's time
    than a transport does.
    """

    NAME = "the connection"
    AT_END = "the other side closed the connection"

    def __init__(self, address: str) -> None:
        super().__init__()
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._plug: socket.socket | None = None

    async def open(self, on_octets: OnOctets, on_lost: OnLost) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                self._plug = plug = await self._connected()
        except TimeoutError as error:
            raise OSError(f"no connection within {CONNECT_TIMEOUT_S:.0f} s") from error
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._watch(plug.fileno(), on_octets, on_lost)

    async def _connected(self) -> socket.socket:
        """The first of the host's addresses that takes a connection. Raises OSError."""
        loop = asyncio.get_running_loop()
        host, stream = self._host.strip("[]"), socket.SOCK_STREAM
        try:
            # A number needs no name server, and no thread to ask one.
            number = socket.AI_NUMERICHOST
            found = socket.getaddrinfo(host, self._port, type=stream, flags=number)
        except socket.gaierror:
            found = await loop.getaddrinfo(host, self._port, type=stream)
        refusal = OSError(f"{self._host} has no address")
        for family, kind, protocol, _, place in found:
            plug = socket.socket(family, kind, protocol)
            try:
                plug.setblocking(False)
                await loop.sock_connect(plug, place)
            except OSError as error:
                plug.close()
                refusal = error
            except BaseException:
                plug.close()
                raise
            else:
                return plug
        raise refusal

    def _release(self) -> None:
        if self._plug is not None:
            self._plug.close()
        self._plug = None


def split_address(address: str) -> tuple[str, int]:
    """host:port of a TCP address, [v6]:port too. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise ValueError(f"{address!r} is no host:port, as in 192.168.1.20:502")
    return host.strip("[]"), int(port)
