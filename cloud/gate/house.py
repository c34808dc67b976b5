"""What a gate asks of the machines, and how it is reached by them: the door between the two.

A gate speaks TLS and gRPC and knows no machine. Behind the door is the switchboard, in the same
process or at the other end of a socket. Nothing here decides anything.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from protos.ids import DeviceId
from protos.messages import Refusal
from protos.seal import Sealed

Landed = Callable[[int, int, Refusal | None], None]
"""Is called once an envelope: its sequence, the device's durable one, and why it was refused."""


class RefusedError(Exception):
    """A gateway that may not come in."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason.name)
        self.reason = reason


class Seat(Protocol):
    """The way down to one gateway. What is given is serialised already."""

    def lease(self, message: bytes) -> None: ...
    def outcome(self, body: bytes) -> None: ...
    def close(self) -> None: ...

    @property
    def untold(self) -> Sequence[bytes]:
        """Outcomes that were given and not written when the seat was closed."""


class Hall(Protocol):
    """All seats of one gate, for what everybody is told."""

    def checkpoint(self, message: bytes) -> None: ...
    def market(self, message: bytes) -> None: ...


class Place(Protocol):
    """The way up for one gateway. A house that has stopped closes the seat."""

    durable_seq: int

    @property
    def is_full(self) -> bool:
        """Whether `wait_for_room` would wait."""

    async def wait_for_room(self) -> None: ...
    def hand_over(self, sealed: Sealed, landed: Landed) -> None:
        """One envelope whose sequence is the next."""

    def glimpse(self, sealed: Sealed, now_s: float) -> None: ...
    def leave(self) -> None: ...


class House(Protocol):
    """What a gate asks of the machines."""

    async def key_of(self, device: DeviceId) -> bytes:
        """The device's public key. Raises RefusedError."""

    async def renew(self, device: DeviceId, csr_pem: bytes) -> bytes:
        """A new certificate chain. Raises BadRequestError."""

    async def enter(self, device: DeviceId, seat: Any) -> Place:
        """A place for a gateway that has said hello; its older one is closed and the seat, a
        Downlink, is told the welcome and what waited. Raises RefusedError.
        """
