"""Modbus frames as plain records, both ways: what a client asks and what a server answers.

Pure. Every `next_...` function takes the octets received so far and answers `(used, frame)`:
`used` 0 with None means that more octets are needed. Bad framing raises `Malformed`; a well-framed
request that a server cannot serve comes back as the `Fault` to answer with. A frame is never
guessed: checksum, lengths and counts must agree. Source: Modbus application protocol 1.1b3,
Modbus over serial line 1.02, Modbus messaging on TCP/IP 1.0b.
"""

from dataclasses import dataclass
from struct import Struct, pack, unpack_from

READ_COILS = 1
READ_DISCRETE = 2
READ_HOLDING = 3
READ_INPUT = 4
WRITE_COIL = 5
WRITE_REGISTER = 6
WRITE_COILS = 15
WRITE_REGISTERS = 16

BIT_READS = frozenset({READ_COILS, READ_DISCRETE})
WORD_READS = frozenset({READ_HOLDING, READ_INPUT})
READS = BIT_READS | WORD_READS
SINGLE_WRITES = frozenset({WRITE_COIL, WRITE_REGISTER})
MANY_WRITES = frozenset({WRITE_COILS, WRITE_REGISTERS})
FUNCTIONS = READS | SINGLE_WRITES | MANY_WRITES

MAX_COUNT = {
    READ_COILS: 2000,
    READ_DISCRETE: 2000,
    READ_HOLDING: 125,
    READ_INPUT: 125,
    WRITE_COILS: 1968,
    WRITE_REGISTERS: 123,
}
MAX_PDU = 253
MAX_RTU = 256
FAULT_BIT = 0x80
COIL_ON = 0xFF00

_MBAP = Struct(">HHHB")
_FIVE = Struct(">BHH")


class Malformed(ValueError):
    """These octets are no frame. `reason` is for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks of a unit. `values` are words, or bits as 0 and 1, for writes only."""

    unit: int
    function: int
    address: int
    count: int
    values: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answers. Reads carry `values`; writes echo `address`, `count`, and single
    writes their one value. Bits come in whole octets, so there may be more than asked for.
    """

    unit: int
    function: int
    values: tuple[int, ...] = ()
    address: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """A Modbus exception: the function without its top bit, and the code."""

    unit: int
    function: int
    code: int


def _crc_table() -> tuple[int, ...]:
    table = []
    for octet in range(256):
        crc = octet
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC = _crc_table()


def crc16(octets: bytes) -> int:
    """CRC-16/MODBUS. On the line its low octet comes first."""
    crc = 0xFFFF
    for octet in octets:
        crc = (crc >> 8) ^ _CRC[(crc ^ octet) & 0xFF]
    return crc


def _pack_bits(bits: tuple[int, ...]) -> bytes:
    octets = bytearray((len(bits) + 7) // 8)
    for i, bit in enumerate(bits):
        if bit:
            octets[i >> 3] |= 1 << (i & 7)
    return bytes(octets)


def _unpack_bits(octets: bytes) -> tuple[int, ...]:
    return tuple(octet >> i & 1 for octet in octets for i in range(8))


def _pack_values(function: int, values: tuple[int, ...]) -> bytes:
    if function in BIT_READS or function == WRITE_COILS:
        return _pack_bits(values)
    return pack(f">{len(values)}H", *values)


def _single_value(function: int, value: int) -> int:
    return (COIL_ON if value else 0) if function == WRITE_COIL else value


# --- protocol data units -------------------------------------------------------------------------


def request_pdu(request: Request) -> bytes:
    """Function code and data of a request; unit and checksum belong to the framing."""
    function = request.function
    if function in READS:
        return _FIVE.pack(function, request.address, request.count)
    if function in SINGLE_WRITES:
        return _FIVE.pack(function, request.address, _single_value(function, request.values[0]))
    data = _pack_values(function, request.values)
    return _FIVE.pack(function, request.address, request.count) + bytes((len(data),)) + data


def reply_pdu(reply: Reply | Fault) -> bytes:
    """Function code and data of an answer."""
    if isinstance(reply, Fault):
        return bytes((reply.function | FAULT_BIT, reply.code))
    function = reply.function
    if function in READS:
        data = _pack_values(function, reply.values)
        return bytes((function, len(data))) + data
    if function in SINGLE_WRITES:
        return _FIVE.pack(function, reply.address, _single_value(function, reply.values[0]))
    return _FIVE.pack(function, reply.address, reply.count)


def parse_request(unit: int, pdu: bytes) -> Request | Fault:
    """The request in a unit's PDU, or the exception a server owes for it."""
    if not pdu:
        raise Malformed("an empty request")
    function = pdu[0]
    if function not in FUNCTIONS:
        return Fault(unit, function & 0x7F, 1)
    if len(pdu) < 5:
        return Fault(unit, function, 3)
    _, address, last = _FIVE.unpack_from(pdu)
    if function in SINGLE_WRITES:
        if len(pdu) != 5 or (function == WRITE_COIL and last not in {0, COIL_ON}):
            return Fault(unit, function, 3)
        value = last // COIL_ON if function == WRITE_COIL else last
        return Request(unit, function, address, 1, (value,))
    if not 1 <= last <= MAX_COUNT[function]:
        return Fault(unit, function, 3)
    if address + last > 65536:
        return Fault(unit, function, 2)
    if function in READS:
        return Request(unit, function, address, last) if len(pdu) == 5 else Fault(unit, function, 3)
    return _parse_many(unit, pdu, address, last)


def _parse_many(unit: int, pdu: bytes, address: int, count: int) -> Request | Fault:
    function, data = pdu[0], pdu[6:]
    size = (count + 7) // 8 if function == WRITE_COILS else 2 * count
    if len(pdu) < 6 or pdu[5] != size or len(data) != size:
        return Fault(unit, function, 3)
    if function == WRITE_COILS:
        return Request(unit, function, address, count, _unpack_bits(data)[:count])
    return Request(unit, function, address, count, unpack_from(f">{count}H", data))


def parse_reply(unit: int, pdu: bytes) -> Reply | Fault:
    """The answer in a unit's PDU. Whether it fits a question is for the asker to decide."""
    if len(pdu) < 2:
        raise Malformed("an answer without data")
    function = pdu[0]
    if function & FAULT_BIT:
        if len(pdu) != 2:
            raise Malformed("an exception of the wrong length")
        return Fault(unit, function & 0x7F, pdu[1])
    if function in READS:
        size = pdu[1]
        if len(pdu) != 2 + size or (function in WORD_READS and size % 2):
            raise Malformed("the octet count disagrees with the frame")
        if function in BIT_READS:
            return Reply(unit, function, _unpack_bits(pdu[2:]))
        return Reply(unit, function, unpack_from(f">{size // 2}H", pdu, 2))
    if function not in FUNCTIONS or len(pdu) != 5:
        raise Malformed(f"an answer of function {function} with {len(pdu)} octets")
    _, address, last = _FIVE.unpack_from(pdu)
    if function in MANY_WRITES:
        return Reply(unit, function, (), address, last)
    if function == WRITE_COIL and last not in {0, COIL_ON}:
        raise Malformed("a coil that is neither on nor off")
    return Reply(unit, function, (last // COIL_ON if function == WRITE_COIL else last,), address, 1)


# --- serial line framing -------------------------------------------------------------------------


def to_rtu(unit: int, pdu: bytes) -> bytes:
    body = bytes((unit,)) + pdu
    return body + crc16(body).to_bytes(2, "little")


def _rtu_pdu(octets: bytes, length: int) -> bytes:
    crc = octets[length - 2] | octets[length - 1] << 8
    if crc16(octets[: length - 2]) != crc:
        raise Malformed("the checksum is wrong")
    return bytes(octets[1 : length - 2])


def rtu_reply_length(octets: bytes) -> int:
    """Length of the answer that begins here, 0 while it cannot be known yet."""
    if len(octets) < 3:
        return 0
    function = octets[1]
    if function & FAULT_BIT:
        return 5
    if function in READS:
        return 5 + octets[2]
    if function in FUNCTIONS:
        return 8
    raise Malformed(f"no answer has function {function}")


def rtu_request_length(octets: bytes) -> int:
    """Length of the request that begins here, 0 while it cannot be known yet."""
    if len(octets) < 2:
        return 0
    function = octets[1]
    if function in READS or function in SINGLE_WRITES:
        return 8
    if function in MANY_WRITES:
        return 0 if len(octets) < 7 else 9 + octets[6]
    raise Malformed(f"no request has function {function}")


def next_rtu_reply(octets: bytes) -> tuple[int, Reply | Fault | None]:
    length = rtu_reply_length(octets)
    if not length or len(octets) < length:
        return 0, None
    return length, parse_reply(octets[0], _rtu_pdu(octets, length))


def next_rtu_request(octets: bytes) -> tuple[int, Request | Fault | None]:
    """For a server. `Malformed` means: discard until the line is silent, answer nothing."""
    length = rtu_request_length(octets)
    if not length or len(octets) < length:
        return 0, None
    return length, parse_request(octets[0], _rtu_pdu(octets, length))


# --- TCP framing ---------------------------------------------------------------------------------


def to_tcp(transaction: int, unit: int, pdu: bytes) -> bytes:
    return _MBAP.pack(transaction, 0, len(pdu) + 1, unit) + pdu


def next_tcp(octets: bytes) -> tuple[int, int, int, bytes]:
    """`(used, transaction, unit, pdu)` of the first whole frame; used is 0 while incomplete.

    A header that cannot be one raises: after it nothing in the stream can be trusted.
    """
    if len(octets) < 7:
        return 0, 0, 0, b""
    transaction, protocol, length, unit = _MBAP.unpack_from(octets)
    if protocol or not 2 <= length <= MAX_PDU + 1:
        raise Malformed(f"no Modbus TCP header: protocol {protocol}, length {length}")
    used = 6 + length
    if len(octets) < used:
        return 0, 0, 0, b""
    return used, transaction, unit, octets[7:used]


def next_tcp_request(octets: bytes) -> tuple[int, int, Request | Fault | None]:
    """For a server: `(used, transaction, request)`."""
    used, transaction, unit, pdu = next_tcp(octets)
    return used, transaction, parse_request(unit, pdu) if used else None


def next_tcp_reply(octets: bytes) -> tuple[int, int, Reply | Fault | None]:
    used, transaction, unit, pdu = next_tcp(octets)
    return used, transaction, parse_reply(unit, pdu) if used else None


# --- a server's answers --------------------------------------------------------------------------


def answer_read(request: Request, values: tuple[int, ...]) -> Reply:
    """The answer to a read: as many words or bits as were asked for."""
    assert len(values) == request.count
    return Reply(request.unit, request.function, values)


def answer_write(request: Request) -> Reply:
    """The answer to a write that was done."""
    values = request.values if request.function in SINGLE_WRITES else ()
    return Reply(request.unit, request.function, values, request.address, request.count)
