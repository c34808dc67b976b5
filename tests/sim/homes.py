"""Simulated homes: weather and habits are made up, everything they say goes through the product.

A home keeps true counters, plans with the agent's own trader, seals with the treaty's own envelope,
and keeps each envelope until the cloud's receipt. What is in `signed` when a simulation ends is what
the cloud must have.
"""

import math
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.config import BatterySection, OffersSection
from edge.offers import Forecast, Trader
from edge.terms import Terms
from protos.clock import MINUTE_NS, SECOND_NS, SLOTS_PER_DAY, slot_at
from protos.codec import encode_payload
from protos.ids import device_id
from protos.messages import (
    ClockQuality,
    DeviceEntry,
    Quantity,
    RegisterEntry,
    RegisterMap,
    Role,
    SweepBatch,
)
from protos.seal import GENESIS, Sealed, link, seal

SWEEPS = 5
WH_PER_COUNT = 1_000
"""The meters count in thousandths of a Wh inside, and show whole ones."""

MAP = RegisterMap(
    1,
    (
        DeviceEntry("meter", Role.GRID, "sim/meter", 1, "S1"),
        DeviceEntry("roof", Role.PV, "sim/roof", 1),
    ),
    (
        RegisterEntry(0, Quantity.ENERGY_IMPORT_WH, billing=True),
        RegisterEntry(0, Quantity.ENERGY_EXPORT_WH, billing=True),
        RegisterEntry(0, Quantity.POWER_W),
        RegisterEntry(1, Quantity.POWER_W),
    ),
)


class Key:
    """A device key from the seed."""

    def __init__(self, words):
        self._key = Ed25519PrivateKey.from_private_bytes(sha256(words.encode()).digest())
        self.public = self._key.public_key()
        self.device = device_id(self.public.public_bytes_raw())

    def sign(self, message):
        return self._key.sign(message)


@dataclass
class Home:
    """One home. `rng` is its own, so that another home's luck does not change its day."""

    name: str
    node: int
    rng: object
    key: Key
    peak_pv_w: int
    base_load_w: int
    signed: list = field(default_factory=list)
    receipted: int = 0
    previous: bytes = GENESIS
    counters: list = field(default_factory=lambda: [0, 0])
    sweeps: list = field(default_factory=list)
    forecast: Forecast = field(default_factory=Forecast)
    trader: Trader = None
    skew_ns: int = 0

    def __post_init__(self):
        self.trader = Trader(self.name, OffersSection(enabled=True), BatterySection())
        self.say(MAP)

    @property
    def device(self):
        return self.key.device

    @property
    def import_wh(self):
        return self.counters[0] // WH_PER_COUNT

    @property
    def export_wh(self):
        return self.counters[1] // WH_PER_COUNT

    def say(self, payload):
        sealed = seal(self.key, len(self.signed) + 1, self.previous, encode_payload(payload))
        self.signed.append(sealed)
        self.previous = link(self.device, sealed)

    def forged(self, sealed):
        """The same envelope with one bit of its payload turned."""
        payload = bytearray(sealed.payload)
        place = self.rng.randrange(len(payload))
        payload[place] ^= 1 << self.rng.randrange(8)
        return Sealed(sealed.seq, sealed.previous, bytes(payload), sealed.signature)

    def live(self, now_ns):
        """A minute of the home: energy flows, and every fifth minute what was read is sealed."""
        pv_w = self._sun_w(now_ns)
        load_w = round(self.base_load_w * self.rng.choice((0.3, 0.7, 1, 1, 1.5, 4)))
        grid_w = load_w - pv_w
        self.counters[grid_w < 0] += abs(grid_w) * WH_PER_COUNT // 60
        self.forecast.observe(grid_w, now_ns)
        told_ms = (now_ns + self.skew_ns) // (SECOND_NS // 1_000)
        self.sweeps.append((told_ms, self.import_wh, self.export_wh, grid_w, pv_w))
        if len(self.sweeps) == SWEEPS:
            times, *columns = zip(*self.sweeps, strict=True)
            self.sweeps = []
            batch = SweepBatch(
                1, 1, now_ns // (SECOND_NS // 1_000), ClockQuality.SYNCHRONISED,
                (times, times), tuple(columns),
            )  # fmt: skip
            self.say(batch)

    def trade(self, now_ns, rules):
        """New offers and cancellations, as the agent plans them."""
        terms = Terms(
            "tiny", rules.tick_micro_per_kwh, rules.fallback_export_micro_per_kwh,
            rules.fallback_import_micro_per_kwh, rules.gate_closure_s,
        )  # fmt: skip
        batch = self.trader.plan(now_ns, terms, self.forecast, None)
        if batch is not None:
            self.say(batch)

    def _sun_w(self, now_ns):
        """A sine day with clouds, no more than the roof's peak."""
        part = (slot_at(now_ns) % SLOTS_PER_DAY + now_ns % (15 * MINUTE_NS) / (15 * MINUTE_NS)) / 96
        height = max(0.0, math.sin(math.pi * (part * 24 - 6) / 12)) if 0.25 < part < 0.75 else 0.0
        return round(self.peak_pv_w * height * self.rng.choice((0.2, 0.8, 1, 1)))
