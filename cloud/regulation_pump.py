"""The pump of regulation: telemetry out and the signal back every four seconds, calls to the desk.

While a regulation award runs, the fleet's battery power above what it was at the award's start goes
to the venue on each four seconds of the clock, and the signal comes back. Leases cannot follow a
signal of four seconds, so the desk is called once in CALL_NS with the newest signal; that delay is
in the score, which is measured from the same samples that the venue was sent and recorded before
the award is metered. A venue that does not answer is asked at the next sample; what it was not sent
counts as standing still, on both sides.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cloud.commands import CallReserve, DeskCommand, RecordPerformance
from cloud.facts import Awarded, Fact, ReservePrepared, Telemetry
from cloud.venues.performance import DELAY_SAMPLES_MAX, SAMPLE_NS, FleetTelemetry, score
from cloud.venues.regulation import Report
from cloud.venues.venue import Venue, VenueError
from cloud.vpp.reserves import SCORED
from protos.clock import MINUTE_NS, SECOND_NS, Clock

CALL_NS = MINUTE_NS
PREPARED_MAX = 1_000
"""Reserve offers that are remembered until their award, oldest forgotten first."""

Send = Callable[[DeskCommand], Awaitable[object]]


@dataclass(slots=True)
class Following:
    """One award that is followed: what was told and given at each four seconds."""

    award: Awarded
    base_w: int | None = None
    called_ns: int = 0
    told: dict[int, int] = field(default_factory=dict)
    given: dict[int, int] = field(default_factory=dict)

    @property
    def ends_ns(self) -> int:
        return self.award.starts_ns + self.award.duration_ns

    def performance(self) -> RecordPerformance | None:
        """The score, or None where too little was told to tell."""
        moments = sorted(self.told)
        if len(moments) <= DELAY_SAMPLES_MAX:
            return None
        found = score([self.told[at] for at in moments], [self.given[at] for at in moments])
        scores = (found.accuracy, found.delay, found.precision)
        return RecordPerformance(self.award.bid_id, self.award.starts_ns, *scores)


class RegulationPump:
    """`listen` is a fact listener of the writer; `run` the pump."""

    def __init__(self, venues: Mapping[str, Venue], clock: Clock, send: Send) -> None:
        self._venues = venues
        self._clock = clock
        self._send = send
        self._fleet = FleetTelemetry()
        self._prepared: dict[str, str] = {}
        self._following: dict[tuple[str, int], Following] = {}

    def listen(self, facts: Sequence[Fact], _at_ns: int) -> None:
        for fact in facts:
            match fact:
                case Telemetry():
                    self._fleet.observe(fact.device, fact.at_ns, fact.battery_w)
                case ReservePrepared():
                    self._prepared[fact.bid_id] = fact.product
                    while len(self._prepared) > PREPARED_MAX:
                        del self._prepared[next(iter(self._prepared))]
                case Awarded():
                    if self._prepared.get(fact.bid_id) in SCORED:
                        self._following[fact.bid_id, fact.starts_ns] = Following(fact)

    async def run(self) -> None:
        """A sample on every four seconds of the clock, for ever."""
        while True:
            now_ns = self._clock.now_ns()
            await self.tick(now_ns)
            left_ns = (now_ns // SAMPLE_NS + 1) * SAMPLE_NS - self._clock.now_ns()
            await self._clock.sleep(max(0, left_ns) / SECOND_NS)

    async def tick(self, now_ns: int) -> None:
        """One sample, and whatever follows from it."""
        sample = self._fleet.sample(now_ns)
        for key, one in list(self._following.items()):
            if now_ns >= one.ends_ns:
                del self._following[key]
                result = one.performance()
                if result is not None:
                    await self._send(result)
            elif sample is not None and one.award.starts_ns <= sample.at_ns:
                await self._follow(one, sample.at_ns, sample.power_w, sample.heard_per_mille)

    async def _follow(self, one: Following, at_ns: int, power_w: int, heard: int) -> None:
        if one.base_w is None:
            one.base_w = power_w
        given_w = power_w - one.base_w
        try:
            told_w = await self._venues[one.award.venue].regulate(
                Report(one.award.bid_id, at_ns, given_w, heard)
            )
        except VenueError:
            return
        one.told[at_ns], one.given[at_ns] = told_w, given_w
        if at_ns - one.called_ns >= CALL_NS:
            one.called_ns = at_ns
            left_ns = one.ends_ns - at_ns
            await self._send(CallReserve(one.award.bid_id, at_ns, left_ns, told_w))
