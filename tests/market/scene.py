"""A zone on the six-node network, and gateways that seal as real ones do (unsigned: that is the
gate's matter).
"""

from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from cloud.commands import (
    AdmitGateway,
    AdvanceZone,
    AppendSealed,
    GrantAllowance,
    OpenZone,
    ZoneRules,
)
from cloud.facts import BatchAccepted, Fact
from cloud.grid.network import Network, load_network
from cloud.market.zone import Zone
from protos.clock import SECOND_NS, SLOT_NS
from protos.codec import encode_payload
from protos.ids import DeviceId
from protos.messages import (
    ClockQuality,
    DeviceEntry,
    Offer,
    OfferBatch,
    Quality,
    QualityMark,
    Quantity,
    RegisterEntry,
    RegisterMap,
    Role,
    Side,
    SweepBatch,
)
from protos.seal import GENESIS, Sealed, link

ROOT = Path(__file__).parents[2]
NETWORK: Network = load_network((ROOT / "cloud/grid/data/tiny.pgm.json").read_bytes())
SLOT = 1_960_000
START_NS = SLOT * SLOT_NS
RULES = ZoneRules()
TRANSFORMER, GARDEN_1, GARDEN_2, ORCHARD_1, ORCHARD_2 = 1, 2, 3, 4, 5
BAHT = 1_000_000

METER_MAP = RegisterMap(
    1,
    (DeviceEntry("meter", Role.GRID, "test/meter", 1, "A1"),),
    (
        RegisterEntry(0, Quantity.ENERGY_IMPORT_WH, billing=True),
        RegisterEntry(0, Quantity.ENERGY_EXPORT_WH, billing=True),
        RegisterEntry(0, Quantity.POWER_W),
    ),
)
SOLAR_MAP = RegisterMap(
    2,
    (*METER_MAP.devices, DeviceEntry("roof", Role.PV, "test/inverter", 1)),
    (*METER_MAP.registers, RegisterEntry(1, Quantity.POWER_W)),
)


def device(name: str) -> DeviceId:
    return DeviceId(blake2b(name.encode(), digest_size=16).hexdigest())


@dataclass
class Chain:
    """What a gateway remembers of its outbox."""

    device: DeviceId
    seq: int = 0
    previous: bytes = GENESIS
    number: int = 0
    counters: dict[str, int] = field(default_factory=dict)

    def seal(self, payload: bytes, zone: str = "north") -> AppendSealed:
        self.seq += 1
        command = AppendSealed(zone, self.device, self.seq, self.previous, payload, bytes(64))
        self.previous = link(self.device, Sealed(self.seq, self.previous, payload, bytes(64)))
        return command


class Scene:
    def __init__(self, rules: ZoneRules = RULES, network: Network = NETWORK) -> None:
        self.network = network
        self.zone = Zone("north", network)
        self.rules = rules
        self.at_ns = START_NS + 60 * SECOND_NS
        self.chains: dict[str, Chain] = {}
        self.history: list[tuple[object, int]] = []

    def apply(self, command: object) -> list[Fact]:
        self.history.append((command, self.at_ns))
        return self.zone.apply(command, self.at_ns)

    def open(self) -> list[Fact]:
        return self.apply(OpenZone("north", self.network.sha256, SLOT, self.rules))

    def admit(
        self, name: str, node: int, allowance: int = 1_000_000 * BAHT, account: str = ""
    ) -> Chain:
        account = account or f"acc-{name}"
        self.apply(AdmitGateway("north", device(name), account, node))
        self.apply(GrantAllowance("north", account, allowance))
        chain = self.chains[name] = Chain(device(name))
        self.send(name, METER_MAP)
        return chain

    def send(self, name: str, payload: object) -> list[Fact]:
        return self.apply(self.chains[name].seal(encode_payload(payload)))

    def read(
        self,
        name: str,
        *sweeps: tuple[int, int, int],
        power_w: int = 0,
        bad: tuple[int, ...] = (),
        register_map: RegisterMap = METER_MAP,
    ) -> list[Fact]:
        """Sweeps of (ms, import Wh, export Wh); `bad` sweeps are marked suspect."""
        extra = len(register_map.registers) - 2
        columns = [tuple(s[1] for s in sweeps), tuple(s[2] for s in sweeps)]
        batch = SweepBatch(
            register_map.map_id,
            1,
            1,
            ClockQuality.SYNCHRONISED,
            tuple(tuple(s[0] for s in sweeps) for _ in register_map.devices),
            tuple(columns + [tuple(power_w for _ in sweeps)] * extra),
            tuple(QualityMark(s, r, Quality.SUSPECT) for s in bad for r in (0, 1)),
        )
        return self.send(name, batch)

    def offer(
        self, name: str, side: Side, energy_wh: int, price: int, **more: object
    ) -> list[Fact]:
        """What followed the batch's own acceptance. Prices in micro-units per kWh."""
        chain = self.chains[name]
        number = more.pop("number", None)
        if number is None:
            chain.number += 1
            number = chain.number
        slot = more.pop("slot", SLOT + 2)
        offer = Offer(number, slot, side, energy_wh, price, **more)
        facts = self.send(name, OfferBatch((offer,)))
        places = [place for place, fact in enumerate(facts) if isinstance(fact, BatchAccepted)]
        return facts[places[0] + 1 :]

    def buy(self, name: str, energy_wh: int, price: int, **more: object) -> list[Fact]:
        return self.offer(name, Side.BUY, energy_wh, price, **more)

    def sell(self, name: str, energy_wh: int, price: int, **more: object) -> list[Fact]:
        return self.offer(name, Side.SELL, energy_wh, price, **more)

    def advance(self, to_ns: int | None = None) -> list[Fact]:
        if to_ns is not None:
            self.at_ns = to_ns
        return self.apply(AdvanceZone("north"))

    def purse(self, name: str) -> tuple[int, ...]:
        """(allowance, open, reserved) of an account."""
        purses = self.zone.state()["purses"]
        return next(p[1:4] for p in purses if p[0] == f"acc-{name}")

    def replayed(self) -> object:
        """The state of a fresh zone after the same commands."""
        zone = Zone("north", self.network)
        for command, at_ns in self.history:
            zone.apply(command, at_ns)
        return zone.state()


def of(facts: list[Fact], kind: type) -> list[Fact]:
    return [fact for fact in facts if isinstance(fact, kind)]


def ms(slot: int, seconds: int = 0) -> int:
    return slot * 900_000 + seconds * 1_000
