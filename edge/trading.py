"""The loop round the offers: what was measured in, sealed offers out, outcomes back.

An offer's number becomes durable in the same transaction as the envelope that carries it. Must
never offer before the zone has said its band, or without the grid meter.
"""

import logging

from edge.config import Config
from edge.home import Home
from edge.offers import Forecast, Trader
from edge.outbox import Outbox, OutboxError
from edge.terms import Terms
from protos.clock import Clock
from protos.codec import encode_payload
from protos.ids import DeviceId
from protos.messages import OfferBatch, OfferOutcome, OfferState, Quantity, Role

PLAN_EVERY_S = 60.0
NUMBER_NOTE = "offer_number"
SLOT_NOTE = "offered_to"

log = logging.getLogger("edge.trading")


class Trading:
    """One home's offers."""

    def __init__(
        self, device: DeviceId, config: Config, outbox: Outbox, clock: Clock, home: Home
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._home = home
        self._adds_battery = config.battery.self_consumption
        self._forecast = Forecast()
        self._trader = Trader(
            device,
            config.offers,
            config.battery,
            outbox.note(NUMBER_NOTE),
            outbox.note(SLOT_NOTE),
        )
        self.terms: Terms | None = None
        self.refused = 0

    @property
    def open_offers(self) -> int:
        return self._trader.open_offers

    @property
    def traded_wh(self) -> int:
        return self._trader.traded_wh

    def observe(self, *, steered: bool) -> None:
        """The grid meter answered. While the battery is steered from outside, or where the plan
        itself moves it, the home is forecast as it would be without it.
        """
        monotonic_ns = self._clock.monotonic_ns()
        power_w = self._home.total(Role.GRID, Quantity.POWER_W, monotonic_ns)
        if power_w is None:
            return
        if steered or self._adds_battery:
            power_w += self._home.measured(monotonic_ns).battery_w or 0
        self._forecast.observe(power_w, self._clock.now_ns())

    async def run(self) -> None:
        while True:
            await self._clock.sleep(PLAN_EVERY_S)
            if self.terms is not None:
                await self._offer(self.terms)

    async def _offer(self, terms: Terms) -> None:
        store = self._home.store(self._clock.monotonic_ns())
        batch = self._trader.plan(self._clock.now_ns(), terms, self._forecast, store)
        if batch is None:
            return
        notes = {NUMBER_NOTE: self._trader.last_number, SLOT_NOTE: self._trader.offered_to}
        try:
            await self._outbox.append([encode_payload(batch)], notes)
        except OutboxError as error:
            self._give_up(batch)
            log.warning("offers were not made", extra={"problem": str(error)})

    def _give_up(self, batch: OfferBatch) -> None:
        for offer in batch.offers:
            self._trader.closed(offer.number)

    def outcome(self, outcome: OfferOutcome) -> None:
        match outcome.state:
            case OfferState.FILLED:
                self._trader.filled(outcome.number, outcome.energy_wh)
            case OfferState.REDUCED:
                self._trader.reduced(outcome.number, outcome.energy_wh)
            case OfferState.CANCELLED:
                self._trader.closed(outcome.number)
            case OfferState.REFUSED:
                self.refused += 1
                self._trader.closed(outcome.number)
                details = {"number": outcome.number, "reason": outcome.reason}
                log.info("offer refused", extra=details)
            case OfferState.RESTED:
                pass
