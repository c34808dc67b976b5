"""The ways in which a simulated device misbehaves, each as often as a test asks for.

Every fault is one that users of real devices have met. A device with no faults set is honest; this
module never touches a register's value.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Faults:
    """Each `..._every` counts requests (3: the third, the sixth ...); 0 is never.

    stall: the reply comes `stall_ms` late · drop: it never comes · garbage: noise before it ·
    bad_crc: serial only · duplicate: the reply comes again `duplicate_ms` after it · short: it carries one register less
    than was asked · reset: the TCP connection ends instead · split: a TCP reply in two segments ·
    busy: exception 6 · zero_tid: a gateway that answers with transaction 0 · single_client: a
    second TCP connection is closed at once · strict_gap: a serial request that begins less than
    3.5 characters after the last frame is lost · holes: registers that no point uses are illegal.
    """

    stall_every: int = 0
    stall_ms: int = 0
    drop_every: int = 0
    garbage_every: int = 0
    bad_crc_every: int = 0
    duplicate_every: int = 0
    duplicate_ms: int = 0
    short_every: int = 0
    reset_every: int = 0
    split_every: int = 0
    busy_every: int = 0
    zero_tid: int = 0
    single_client: int = 0
    strict_gap: int = 0
    holes: int = 0


HONEST = Faults()
NOISE = b"\xff\x00~AT+RST\r\n\x7f"


def faults_of(text: str) -> Faults:
    """Faults as written on a command line: "stall_every=25,stall_ms=3300". ValueError if unknown."""
    known = [field.name for field in fields(Faults)]
    found = HONEST
    for entry in filter(None, text.split(",")):
        name, _, number = entry.partition("=")
        if name not in known:
            near = get_close_matches(name, known, 1, 0.0)[0]
            raise ValueError(f"no fault is called {name!r}; the nearest is {near!r}")
        if not number.isdecimal():
            raise ValueError(f"{name} needs a whole number, as in {name}=5, not {number!r}")
        found = replace(found, **{name: int(number)})
    return found


@dataclass(slots=True)
class Mischief:
    """Counts one device's requests and says what goes wrong with each. May be changed at any time:
    a test sets `faults` and the next request follows. `early_requests` counts serial requests that
    did not respect the silence, whether or not they were lost for it.
    """

    faults: Faults = HONEST
    requests: int = 0
    early_requests: int = 0

    def begin(self) -> None:
        self.requests += 1

    def strikes(self, every: int) -> bool:
        """Whether a fault of this frequency hits the request that has begun."""
        return every > 0 and self.requests % every == 0

    @property
    def delay_s(self) -> float:
        return self.faults.stall_ms / 1_000 if self.strikes(self.faults.stall_every) else 0.0

    def frames(self, frame: bytes) -> Iterator[tuple[float, bytes]]:
        """What goes on the wire instead of one reply, each with its pause before it in seconds."""
        if self.strikes(self.faults.drop_every):
            return
        if self.strikes(self.faults.garbage_every):
            yield 0.0, NOISE
        yield 0.0, frame
        if self.strikes(self.faults.duplicate_every):
            yield self.faults.duplicate_ms / 1_000, frame


def shortened(pdu: bytes) -> bytes:
    """A read's reply with one register less, and a byte count that agrees with it."""
    if pdu[0] not in {3, 4} or pdu[1] < 4:
        return pdu
    return bytes((pdu[0], pdu[1] - 2)) + pdu[2:-2]
