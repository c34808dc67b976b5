"""What the load sends: keys, maps, realistic sweeps and offers, the same in every run."""

import random
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protos.codec import encode_payload
from protos.messages import (
    ClockQuality,
    DeviceEntry,
    Offer,
    OfferBatch,
    Quantity,
    RegisterEntry,
    RegisterMap,
    Role,
    Side,
    SweepBatch,
)

OFFERS = 32

QUANTITIES = (
    (Quantity.VOLTAGE_MV, 230_000, 2_000, 400), (Quantity.VOLTAGE_MV, 231_000, 2_000, 400),
    (Quantity.VOLTAGE_MV, 229_000, 2_000, 400), (Quantity.CURRENT_MA, 6_000, 5_000, 50),
    (Quantity.CURRENT_MA, 4_000, 3_000, 50), (Quantity.CURRENT_MA, 5_000, 4_000, 50),
    (Quantity.POWER_W, 1_400, 1_200, 15), (Quantity.POWER_W, 900, 700, 15),
    (Quantity.POWER_W, 1_100, 900, 15), (Quantity.REACTIVE_POWER_VAR, 150, 60, 5),
    (Quantity.POWER_FACTOR_PER_MILLE, 970, 20, 2), (Quantity.FREQUENCY_MHZ, 50_000, 20, 4),
    (Quantity.ENERGY_IMPORT_WH, 12_345_678, 0, 0), (Quantity.ENERGY_EXPORT_WH, 3_456_789, 0, 0),
    (Quantity.TEMPERATURE_DECI_C, 240, 60, 1),
)  # fmt: skip
"""A three-phase meter: quantity, middle, swing and noise."""

DEVICES = 10
READINGS = DEVICES * len(QUANTITIES)


def private_key(number: int) -> Ed25519PrivateKey:
    """The same for the same number, in every process."""
    return Ed25519PrivateKey.from_private_bytes(number.to_bytes(4, "big") * 8)


def public_key(number: int) -> bytes:
    return private_key(number).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def register_map() -> RegisterMap:
    """Ten devices; the first is the grid meter, whose counters are billed."""
    devices = tuple(
        DeviceEntry(f"meter-{d}", Role.LOAD if d else Role.GRID, "bench/three-phase", 1)
        for d in range(DEVICES)
    )
    energy = {Quantity.ENERGY_IMPORT_WH, Quantity.ENERGY_EXPORT_WH}
    registers = tuple(
        RegisterEntry(d, quantity, 0, d == 0 and quantity in energy)
        for d in range(DEVICES)
        for quantity, *_ in QUANTITIES
    )
    return RegisterMap(1, devices, registers)


def batches(
    count: int, sweeps: int, ends_ms: int, seed: int, period_ms: int = 1_000
) -> list[SweepBatch]:
    """Readings up to `ends_ms`: slow swings, noise, counters that only grow."""
    draw = random.Random(seed)
    total = count * sweeps
    columns = [
        list(_column(draw, middle, swing, noise, total))
        for _ in range(DEVICES)
        for _, middle, swing, noise in QUANTITIES
    ]
    first = ends_ms - total * period_ms
    jitter = [[draw.randint(0, 40) * 10 for _ in range(total)] for _ in range(DEVICES)]
    times = [[first + t * period_ms + late for t, late in enumerate(row)] for row in jitter]
    made = []
    for start in range(0, total, sweeps):
        part = slice(start, start + sweeps)
        made.append(
            SweepBatch(
                1,
                1,
                start * period_ms,
                ClockQuality.SYNCHRONISED,
                tuple(tuple(row[part]) for row in times),
                tuple(tuple(column[part]) for column in columns),
            )
        )
    return made


def _column(draw: random.Random, middle: int, swing: int, noise: int, count: int) -> Iterable[int]:
    value, drift = middle, 0.0
    for _ in range(count):
        if noise:
            drift += draw.gauss(0, swing / 200)
            yield middle + int(drift + draw.gauss(0, noise))
        else:
            value += draw.randint(0, 2)
            yield value


def offer_payloads(number: int, count: int, slot: int) -> list[bytes]:
    """Even gateways sell what odd ones buy, so that the books stay short."""
    side, price = (Side.SELL, 3_000_000) if number % 2 == 0 else (Side.BUY, 4_000_000)
    return [
        encode_payload(
            OfferBatch(
                tuple(Offer(first + n, slot + n % 8, side, 1, price) for n in range(1, OFFERS + 1))
            )
        )
        for first in range(0, count * OFFERS, OFFERS)
    ]
