"""What the bank remembers of a slot between its first trade and its last revision.

Decides nothing. Must never forget a trade or a meter before the slot is final: a later revision
settles them once more to know what was posted, and posts the difference.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from cloud.commands import MeterSlot, TradeTerms, ZoneRules
from cloud.ledger.accounts import Owner
from protos.clock import slot_end_ns
from protos.ids import AccountId, effect_id
from protos.limits import READING_AGE_NS_MAX

PROVIDER = AccountId("@provider")
MINT = AccountId("@mint")
FURNACE = AccountId("@furnace")
ISSUER = AccountId("@issuer")
"""Where certificates and grams of carbon come from, and where they go when they are retired."""
RESERVED_PREFIX = "@"
"""Account names that begin like this belong to the bank."""

Meters = dict[AccountId, list[MeterSlot]]
"""The meters that count, by account, in the order they were told."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[list[int], list[int]])


def fund(name: str) -> AccountId:
    return AccountId(f"@fund/{name}")


def final_ns(slot: int) -> int:
    """When a slot is final: readings older than this are no longer taken."""
    return slot_end_ns(slot) + READING_AGE_NS_MAX


@dataclass(frozen=True, slots=True)
class ZoneAccounts:
    """A zone's policy and the accounts that the bank keeps for it."""

    rules: ZoneRules
    utility: AccountId
    grid: AccountId
    clearing: AccountId
    rounding: AccountId


def zone_accounts(zone: str, rules: ZoneRules) -> ZoneAccounts:
    return ZoneAccounts(
        rules,
        AccountId(f"@utility/{zone}"),
        AccountId(f"@grid/{zone}"),
        AccountId(f"@clearing/{zone}"),
        AccountId(f"@rounding/{zone}"),
    )


@dataclass(slots=True)
class SlotBook:
    """The trades of one zone and slot, and what is reserved for them until the first settlement.

    `holds` are pending transfers by account. `revision` is -1 until the slot is settled; from then
    on `archive` has the trades and the meters of the newest run, which are all that the next one
    needs, and `trades` and `holds` are empty.
    """

    zone: str
    slot: int
    trades: dict[int, TradeTerms] = field(default_factory=dict)
    holds: dict[AccountId, list[str]] = field(default_factory=dict)
    revision: int = -1
    revisions: list[int] = field(default_factory=list)
    verified_wh: int = 0
    archive: bytes = b""

    @property
    def is_settled(self) -> bool:
        return self.revision >= 0

    def group_id(self, revision: int) -> str:
        """The id of all transfers of one settlement run."""
        return effect_id("bank/settle", self.zone, self.slot, revision)

    def close_run(self, revision: int, archive: bytes, verified_wh: int) -> None:
        self.trades = {}
        self.holds = {}
        self.revision = revision
        self.revisions.append(revision)
        self.archive = archive
        self.verified_wh = verified_wh

    def state(self) -> object:
        return [
            self.zone,
            self.slot,
            [
                [
                    t.trade,
                    t.buyer,
                    t.seller,
                    t.energy_wh,
                    t.price_micro_per_kwh,
                    t.rent_micro,
                    t.wheeling_micro_per_kwh,
                ]
                for t in self.trades.values()
            ],
            {account: list(ids) for account, ids in self.holds.items()},
            list(self.revisions),
            self.verified_wh,
            self.archive,
        ]


def pack(trades: Sequence[TradeTerms], meters: Meters, owners: Mapping[AccountId, Owner]) -> bytes:
    """A settled slot in about 20 bytes a trade and 8 a meter; it is kept for weeks."""
    flat_trades: list[int] = []
    for t in trades:
        buyer, seller = owners[t.buyer].number, owners[t.seller].number
        way = t.wheeling_micro_per_kwh
        flat_trades += (
            t.trade, buyer, seller, t.energy_wh, t.price_micro_per_kwh, t.rent_micro, way
        )  # fmt: skip
    flat_meters: list[int] = []
    for group in meters.values():
        for m in group:
            number = owners[m.account].number
            flat_meters += (number, m.import_wh, m.export_wh, int(m.estimated))
    return _encoder.encode((flat_trades, flat_meters))


def unpack(archive: bytes, names: Sequence[AccountId]) -> tuple[list[TradeTerms], Meters]:
    """What `pack` was given; nothing for a slot that was not settled yet."""
    if not archive:
        return [], {}
    flat_trades, flat_meters = _decoder.decode(archive)
    trades = [
        TradeTerms(trade, names[buyer], names[seller], energy, price, rent, way)
        for trade, buyer, seller, energy, price, rent, way in _tuples(flat_trades, 7)
    ]
    meters: Meters = {}
    for number, imported, exported, estimated in _tuples(flat_meters, 4):
        meter = MeterSlot(names[number], imported, exported, bool(estimated))
        meters.setdefault(meter.account, []).append(meter)
    return trades, meters


def _tuples(flat: Sequence[int], width: int) -> Iterator[tuple[int, ...]]:
    return zip(*[iter(flat)] * width, strict=True)
