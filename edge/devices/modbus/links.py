"""What carries the octets: a serial port or a TCP connection, both without a thread.

A link moves octets and says when it is lost. It knows nothing of frames, and must never keep
octets from before it was opened.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Protocol

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


class SerialLink:
    """A serial port, opened for this process alone; its descriptor is watched by the loop."""

    def __init__(self, spec: DeviceSpec) -> None:
        self._spec = spec
        self._port: serial.Serial | None = None
        self._on_octets: OnOctets | None = None
        self._on_lost: OnLost | None = None

    @property
    def is_open(self) -> bool:
        return self._port is not None

    async def open(self, on_octets: OnOctets, on_lost: OnLost) -> None:
        spec = self._spec
        options = spec.options
        try:
            port = serial.Serial(
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
        port.reset_input_buffer()
        self._port, self._on_octets, self._on_lost = port, on_octets, on_lost
        asyncio.get_running_loop().add_reader(port.fileno(), self._readable)

    def set_baud(self, baud: int) -> None:
        """Another speed from the next octet on; what was written before is sent first."""
        if self._port is not None:
            self._port.flush()
            self._port.baudrate = baud

    def _readable(self) -> None:
        if self._port is None or self._on_octets is None:
            return
        try:
            octets = os.read(self._port.fileno(), READ_OCTETS)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(str(error))
            return
        if octets:
            self._on_octets(octets)
        else:
            self._lost("the port reports end of file")

    def _lost(self, reason: str) -> None:
        on_lost = self._on_lost
        self.close()
        if on_lost is not None:
            on_lost(reason)

    def write(self, octets: bytes) -> None:
        """Hands a whole frame to the port. A frame is shorter than any port's buffer."""
        if self._port is None:
            return
        try:
            sent = os.write(self._port.fileno(), octets)
        except OSError as error:
            self._lost(str(error))
            return
        if sent != len(octets):
            self._lost("the port took part of a frame only")

    def close(self) -> None:
        if self._port is not None:
            asyncio.get_running_loop().remove_reader(self._port.fileno())
            self._port.close()
        self._port = self._on_octets = self._on_lost = None


class _Stream(asyncio.BufferedProtocol):
    """The loop's end of a TCP connection. Its own buffer spares an allocation of 256 KiB a read."""

    def __init__(self, on_octets: OnOctets, on_lost: OnLost) -> None:
        self._on_octets = on_octets
        self._on_lost = on_lost
        self._buffer = memoryview(bytearray(READ_OCTETS))

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._on_octets(bytes(self._buffer[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(str(exc) if exc else "the other side closed the connection")


class SocketLink:
    """A TCP connection to host:port."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    async def open(self, on_octets: OnOctets, on_lost: OnLost) -> None:
        stream: _Stream | None = None

        def lost(reason: str) -> None:
            if self._transport is not None and self._transport.get_protocol() is stream:
                self._transport = None
                on_lost(reason)

        stream = _Stream(on_octets, lost)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                transport, _ = await loop.create_connection(
                    lambda: stream, self._host.strip("[]"), self._port
                )
        except TimeoutError as error:
            raise OSError(f"no connection within {CONNECT_TIMEOUT_S:.0f} s") from error
        self._transport = transport
        plug = self._transport.get_extra_info("socket")
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def write(self, octets: bytes) -> None:
        if self._transport is not None:
            self._transport.write(octets)

    def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()


def split_address(address: str) -> tuple[str, int]:
    """host:port of a TCP address, [v6]:port too. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise ValueError(f"{address!r} is no host:port, as in 192.168.1.20:502")
    return host.strip("[]"), int(port)
