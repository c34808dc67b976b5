"""How long frames take and how long to wait: character times, t3.5, timeouts, back-off.

Pure arithmetic in seconds of the event loop's own time. A character is 11 bits whatever the
parity (Modbus over serial line 1.02, section 2.5.1): one without parity has two stop bits.
"""

from dataclasses import dataclass, field

BITS_PER_CHAR = 11
FAST_BAUD = 19200
FAST_GAP_S = 0.00175
"""Above 19200 baud the silence is a fixed 1.75 ms (section 2.5.1.1)."""

SLACK_S = 0.05
"""Allowance for the operating system and USB adapters that hold octets back for up to 16 ms."""

PATIENCE = 10
"""A device may take this many times its usual turnaround before it counts as silent."""

REST_SHARE = 20
"""A silent unit gets at most one part in this many of the line's time."""

REST_MAX_S = 60.0
OPEN_FIRST_S = 0.5
OPEN_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class Manner:
    """How a unit wants to be spoken to, from its profile.

    `step` is the alignment of its registers: counts are only ever varied by whole steps.
    """

    turnaround_s: float = 0.02
    gap_s: float = 0.0
    max_words: int = 125
    step: int = 1


def char_s(baud: int) -> float:
    return BITS_PER_CHAR / baud


def frame_gap_s(baud: int) -> float:
    """The silence between two frames, t3.5."""
    return FAST_GAP_S if baud > FAST_BAUD else 3.5 * char_s(baud)


def wire_s(baud: int, octets: int) -> float:
    return octets * char_s(baud)


def reply_timeout_s(wire: float, manner: Manner) -> float:
    """From the moment of sending until the whole answer must be there. `wire` covers both frames
    and the silence between them.
    """
    return wire + PATIENCE * manner.turnaround_s + SLACK_S


@dataclass(slots=True)
class Rest:
    """Back-off of one unit: after a second failure in a row it is left alone, ever longer."""

    failures: int = 0
    until: float = 0.0

    def failed(self, now: float, cost_s: float) -> None:
        """`cost_s` is the line time the failure took; the rest is in proportion to it."""
        self.failures += 1
        if self.failures > 1:
            rest = REST_SHARE * cost_s * (1 << min(self.failures - 2, 12))
            self.until = now + min(REST_MAX_S, rest)

    def answered(self) -> None:
        self.failures = 0
        self.until = 0.0

    def remaining(self, now: float) -> float:
        return max(0.0, self.until - now)


@dataclass(slots=True)
class Reopening:
    """Back-off of a link: one attempt to open it per pause, pauses doubling to half a minute."""

    first_s: float = OPEN_FIRST_S
    failures: int = 0
    until: float = field(default=0.0)

    def failed(self, now: float) -> float:
        """Notes a failed attempt; returns the pause before the next."""
        pause = min(OPEN_MAX_S, self.first_s * (1 << min(self.failures, 10)))
        self.failures += 1
        self.until = now + pause
        return pause

    def opened(self) -> None:
        self.failures = 0
        self.until = 0.0

    def remaining(self, now: float) -> float:
        return max(0.0, self.until - now)
