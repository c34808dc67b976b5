"""What a simulated device is to its wire: registers that are read and written, or refuse.

The frames themselves are `edge.devices.modbus.frames`, the server's direction. This module never
looks at what a register means and never at a socket.
"""

from collections.abc import Sequence
from typing import Protocol

from edge.devices.modbus import frames
from edge.devices.modbus.errors import ILLEGAL_FUNCTION
from edge.devices.modbus.frames import Fault, Request


class Refused(Exception):
    """A request that a device answers with an exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


class Image(Protocol):
    """A device as its registers. Both raise Refused with the exception code."""

    def read(self, function: int, address: int, count: int, at_ns: int) -> Sequence[int]: ...
    def write(self, address: int, words: Sequence[int], at_ns: int) -> None: ...


def answer(image: Image, request: Request | Fault, at_ns: int) -> bytes:
    """The reply's protocol data unit: the words, the echo of a write, or an exception."""
    if isinstance(request, Fault):
        return frames.reply_pdu(request)
    try:
        if request.function in frames.WORD_READS:
            words = image.read(request.function, request.address, request.count, at_ns)
            return frames.reply_pdu(frames.answer_read(request, tuple(words)))
        if request.function in {frames.WRITE_REGISTER, frames.WRITE_REGISTERS}:
            image.write(request.address, request.values, at_ns)
            return frames.reply_pdu(frames.answer_write(request))
    except Refused as refused:
        return refusal(request, refused.code)
    return refusal(request, ILLEGAL_FUNCTION)


def refusal(request: Request | Fault, code: int) -> bytes:
    return frames.reply_pdu(Fault(request.unit, request.function, code))
