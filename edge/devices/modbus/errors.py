"""What can go wrong on a bus, each with what an installer can do about it.

These are operating errors: the driver above turns them into `DeviceError`, the poller retries
within its back-off. None of them carries a value.
"""

ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
DEVICE_FAILURE = 4
ACKNOWLEDGE = 5
DEVICE_BUSY = 6
GATEWAY_PATH = 10
GATEWAY_TARGET = 11

FAULT_NAMES = {
    ILLEGAL_FUNCTION: "illegal function",
    ILLEGAL_ADDRESS: "illegal data address",
    ILLEGAL_VALUE: "illegal data value",
    DEVICE_FAILURE: "device failure",
    ACKNOWLEDGE: "acknowledged, still working",
    DEVICE_BUSY: "device busy",
    GATEWAY_PATH: "gateway path unavailable",
    GATEWAY_TARGET: "gateway target did not respond",
}
"""Modbus application protocol 1.1b3, section 7."""


class BusError(Exception):
    """A transaction gave no value. `advice` says what to check, `unit` is 0 for the whole bus."""

    def __init__(self, problem: str, advice: str, unit: int = 0) -> None:
        super().__init__(f"{problem}; {advice}")
        self.problem = problem
        self.advice = advice
        self.unit = unit


class Unreachable(BusError):
    """The port or host could not be opened; no new attempt before `retry_in_s`."""

    def __init__(self, address: str, reason: str, retry_in_s: float) -> None:
        super().__init__(
            f"cannot open {address}: {reason}",
            f"check address, cable and that no other program holds it (next try in {retry_in_s:.1f} s)",
        )
        self.address = address
        self.retry_in_s = retry_in_s


class LinkLost(BusError):
    """The port or connection went away in the middle of a transaction."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address} was lost: {reason}", "check plug, power and network")
        self.address = address


class Silent(BusError):
    """No answer within the time the frame, the speed and the device's turnaround allow."""

    def __init__(self, unit: int, waited_s: float, note: str = "") -> None:
        super().__init__(
            f"unit {unit} did not answer within {waited_s * 1000:.0f} ms{note}",
            "check unit number, speed, parity, wiring (A/B swapped?) and power",
            unit,
        )
        self.waited_s = waited_s


class Garbled(BusError):
    """Something answered, but not with a frame that fits the question."""

    def __init__(self, unit: int, reason: str) -> None:
        super().__init__(
            f"unit {unit} answered unfittingly: {reason}",
            "check speed, parity, termination, and that there is one master only",
            unit,
        )
        self.reason = reason


class Declined(BusError):
    """The device answered with a Modbus exception.

    `certain` is False when the answer might belong to an earlier question, so nothing may be
    learnt from it.
    """

    def __init__(self, unit: int, function: int, code: int, *, certain: bool) -> None:
        super().__init__(
            f"unit {unit} declined function {function}: {FAULT_NAMES.get(code, f'code {code}')}",
            "check that the profile fits this model and firmware",
            unit,
        )
        self.function = function
        self.code = code
        self.certain = certain


class Resting(BusError):
    """The unit was silent lately and is left alone so that it does not slow the others."""

    def __init__(self, unit: int, retry_in_s: float) -> None:
        super().__init__(
            f"unit {unit} was silent and is asked again in {retry_in_s:.1f} s",
            "check its power and wiring",
            unit,
        )
        self.retry_in_s = retry_in_s


class Noisy(BusError):
    """The line never fell silent, so nothing was sent."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address} never falls silent",
            "look for a second master, a babbling device or missing termination",
        )
        self.address = address


class Overloaded(BusError):
    """More transactions wait than the bus will ever catch up with."""

    def __init__(self, pending: int) -> None:
        super().__init__(
            f"{pending} transactions already wait on this bus",
            "poll less often or spread the devices over more ports",
        )
        self.pending = pending
