"""Calls on the homes' batteries: secondary and tertiary reserve, demand response.

Decides who is asked for how much: only who is heard, has not opted out, and only within the home's
operating envelope and what its battery holds for the whole time, so that a call never skips the
physics. Orders are remembered by their id: one that comes twice is done once, one that comes back
changed is refused. A call ends by itself with its leases. Must never count a home's response that
it did not measure.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from cloud.commands import FollowSignal, OptOut, OrderDemandResponse, OrderReserve
from cloud.facts import (
    EnvelopesSet,
    Fact,
    HomeEnvelope,
    LeaseIssued,
    ReserveActivated,
    ResponseCalled,
    ResponseEnded,
    ResponseHome,
    SignalFollowed,
    ZoneRefused,
)
from cloud.grid.network import Network
from cloud.grid.reserve import Unit, fair_response, follow_signal, merit_order
from cloud.market.authority import LIMIT_W_MAX
from cloud.market.enveloping import RAMP_W_PER_S
from cloud.market.streams import Gateway
from protos.clock import SECOND_NS, SLOT_NS, SLOTS_PER_HOUR, slot_at
from protos.ids import DeviceId, effect_id
from protos.limits import LEASE_NS_MAX, SETPOINT_W_MAX
from protos.messages import Refusal
from protos.units import PER_MILLE

ORDERS_KEPT_MAX = 1_024
SIGNAL_LEASE_NS = 30 * SECOND_NS
"""A setpoint of secondary reserve ends by itself soon after the signals stop."""

SIGNAL_NS_MIN = SECOND_NS
"""A signal that comes sooner after the last one of its element is refused: it could move nothing."""

SIGNAL_STEP_PER_MILLE = 10
"""A battery is not asked anew for less than a hundredth of its power."""

HOLD_NS_MAX = 4 * SLOT_NS * SLOTS_PER_HOUR
"""A call that is longer is asked of a battery as if it were four hours."""

KEPT_BACK_PER_MILLE = 100
"""What stays in a battery that is called for reserve."""


@dataclass(slots=True)
class Response:
    """A running demand response event and what was seen of it so far."""

    called: ResponseCalled
    samples: int = 0
    reduced_w: dict[DeviceId, int] = field(default_factory=dict)

    def state(self) -> object:
        return self.called.order_id, self.samples, sorted(self.reduced_w.items())


class Calls:
    """One zone's. `present` gives the gateways that are heard, `envelopes_of` a slot's envelopes of
    some of them.
    """

    def __init__(
        self,
        zone: str,
        network: Network,
        gateways: Mapping[DeviceId, Gateway],
        present: Callable[[int], Iterable[Gateway]],
        envelopes_of: Callable[[int, list[Gateway]], EnvelopesSet],
    ) -> None:
        self.zone = zone
        self._network = network
        self._gateways = gateways
        self._present = present
        self._envelopes_of = envelopes_of
        self._orders: dict[str, bytes] = {}
        self._responses: dict[str, Response] = {}
        self._signals: dict[int, int] = {}
        """When each element's last signal came, ns."""

        self._set: dict[DeviceId, tuple[int, int]] = {}
        """What secondary reserve set last, and until when: W, ns."""

    def apply(
        self, command: OrderReserve | FollowSignal | OrderDemandResponse | OptOut, now_ns: int
    ) -> list[Fact]:
        match command:
            case OrderReserve():
                return self._reserve(command, now_ns)
            case FollowSignal():
                return self._follow(command, now_ns)
            case OrderDemandResponse():
                return self._respond(command, now_ns)
            case OptOut():
                return self._opt_out(command)

    def state(self) -> object:
        return {
            "orders": sorted(self._orders.items()),
            "responses": [response.state() for response in self._responses.values()],
            "signals": (sorted(self._signals.items()), sorted(self._set.items())),
        }

    def _reserve(self, order: OrderReserve, now_ns: int) -> list[Fact]:
        refusal = self._refuse_order(order, order.power_w, now_ns)
        if refusal is not None:
            return refusal
        starts_ns = max(now_ns, order.starts_ns)
        units = self._units(order.element, now_ns, starts_ns, order.ends_ns, order.power_w)
        called = merit_order(order.power_w, units)
        leases = self._leases("reserve", order, called, starts_ns)
        activated = sum(power - unit.now_w for unit, power in called)
        fact = ReserveActivated(
            self.zone,
            order.order_id,
            order.element,
            order.power_w,
            activated,
            starts_ns,
            order.ends_ns,
            order.authority,
            order.reason,
            len(leases),
        )
        return [fact, *leases]

    def _follow(self, command: FollowSignal, now_ns: int) -> list[Fact]:
        if not 0 <= command.element < self._network.size or abs(command.power_w) > LIMIT_W_MAX:
            return [ZoneRefused(self.zone, command.authority, Refusal.UNKNOWN_ELEMENT)]
        if now_ns - self._signals.get(command.element, -SIGNAL_NS_MIN) < SIGNAL_NS_MIN:
            return [ZoneRefused(self.zone, command.authority, Refusal.TOO_OFTEN)]
        units = []
        for unit in self._units(command.element, now_ns, now_ns, now_ns + SIGNAL_LEASE_NS, 0):
            set_w, until_ns = self._set.get(unit.device, (unit.now_w, 0))
            now_w = set_w if until_ns > now_ns else unit.now_w
            now_w = max(unit.low_w, min(unit.high_w, now_w))
            units.append(Unit(unit.device, now_w, unit.low_w, unit.high_w))
        last_ns = self._signals.get(command.element, now_ns - SIGNAL_LEASE_NS)
        elapsed_s = min(SIGNAL_LEASE_NS, now_ns - last_ns) // SECOND_NS
        self._signals[command.element] = now_ns
        setpoints = follow_signal(command.power_w, units, elapsed_s)
        leases: list[Fact] = []
        for unit, power_w in zip(units, setpoints, strict=True):
            before_w, until_ns = self._set.get(unit.device, (0, 0))
            reach = max(abs(unit.low_w), abs(unit.high_w))
            near = abs(power_w - before_w) * PER_MILLE < reach * SIGNAL_STEP_PER_MILLE
            if near and until_ns - now_ns > SIGNAL_LEASE_NS // 2:
                continue
            until_ns = now_ns + SIGNAL_LEASE_NS
            self._set[unit.device] = power_w, until_ns
            lease_id = effect_id("signal", self.zone, unit.device, now_ns)
            leases.append(
                LeaseIssued(
                    lease_id, unit.device, now_ns, until_ns, 0, power_w, None, "secondary reserve"
                )
            )
        for device, (_, until_ns) in list(self._set.items()):
            if until_ns <= now_ns:
                del self._set[device]
        fact = SignalFollowed(
            self.zone, command.element, command.power_w, sum(setpoints), len(units)
        )
        return [fact, *leases]

    def _respond(self, order: OrderDemandResponse, now_ns: int) -> list[Fact]:
        refusal = self._refuse_order(order, order.reduction_w, now_ns)
        if refusal is not None:
            return refusal
        if order.reduction_w <= 0:
            return [ZoneRefused(self.zone, order.order_id, Refusal.RISK_LIMIT)]
        starts_ns = max(now_ns, order.starts_ns)
        units = []
        for unit in self._units(order.element, now_ns, starts_ns, order.ends_ns, order.reduction_w):
            # A response lowers a draw to nothing at most; what feeds in is a reserve.
            draw_w = max(0, self._gateways[unit.device].snapshot.grid_w)
            high_w = min(unit.high_w, unit.now_w + draw_w)
            units.append(Unit(unit.device, unit.now_w, unit.low_w, high_w, unit.cost, unit.calls))
        called = fair_response(order.reduction_w, units)
        leases = self._leases("response", order, called, starts_ns)
        homes = tuple(
            ResponseHome(
                unit.device, self._gateways[unit.device].snapshot.grid_w, power - unit.now_w
            )
            for unit, power in called
        )
        fact = ResponseCalled(
            self.zone,
            order.order_id,
            order.element,
            order.reduction_w,
            starts_ns,
            order.ends_ns,
            order.authority,
            order.reason,
            homes,
        )
        self._responses[order.order_id] = Response(fact)
        return [fact, *leases]

    def observe(self, now_ns: int) -> list[Fact]:
        """Each survey is a sample of what the homes of an event draw less than before it."""
        facts: list[Fact] = []
        for order_id, response in list(self._responses.items()):
            called = response.called
            if called.starts_ns <= now_ns < called.ends_ns:
                response.samples += 1
                for home in called.homes:
                    drawn_w = self._gateways[home.device].snapshot.grid_w
                    known = response.reduced_w.get(home.device, 0)
                    response.reduced_w[home.device] = known + home.baseline_w - drawn_w
            elif now_ns >= called.ends_ns:
                del self._responses[order_id]
                facts.append(self._ended(response))
        return facts

    def _ended(self, response: Response) -> ResponseEnded:
        count = max(1, response.samples)
        homes = tuple(
            ResponseHome(
                home.device, home.baseline_w, response.reduced_w.get(home.device, 0) // count
            )
            for home in response.called.homes
        )
        asked = sum(home.reduction_w for home in response.called.homes)
        reduced = sum(home.reduction_w for home in homes)
        return ResponseEnded(self.zone, response.called.order_id, asked, reduced, homes)

    def _opt_out(self, command: OptOut) -> list[Fact]:
        gateway = self._gateways.get(command.device)
        if gateway is None:
            return [ZoneRefused(self.zone, command.device, Refusal.UNKNOWN_DEVICE)]
        gateway.opted_out = command.is_out
        return []

    # ---- who can be asked -------------------------------------------------------------------

    def _refuse_order(
        self, order: OrderReserve | OrderDemandResponse, power_w: int, now_ns: int
    ) -> list[Fact] | None:
        """What stands in the way of an order: a list of facts to answer with, or None."""
        reason = None
        if not 0 < order.element < self._network.size:
            reason = Refusal.UNKNOWN_ELEMENT
        elif not max(now_ns, order.starts_ns) < order.ends_ns <= now_ns + LEASE_NS_MAX:
            reason = Refusal.BAD_INTERVAL
        elif not 0 < abs(power_w) <= LIMIT_W_MAX:
            reason = Refusal.RISK_LIMIT
        if reason is None:
            content = repr((type(order).__name__, order.element, power_w, order.ends_ns)).encode()
            is_new = self._remember(order.order_id, content)
            if is_new is None:
                return []
            if is_new:
                return None
            reason = Refusal.CHANGED_REPLAY
        return [ZoneRefused(self.zone, order.order_id, reason)]

    def _units(
        self, element: int, now_ns: int, starts_ns: int, ends_ns: int, power_w: int
    ) -> list[Unit]:
        """The batteries below an element that are heard, each within its home's envelope and what
        is stored for the whole time. A full battery is cheap to empty and dear to fill.
        """
        below = [
            gateway
            for gateway in self._present(now_ns)
            if self._network.is_below(gateway.node, element) and is_callable(gateway)
        ]
        if not below:
            return []
        slot = slot_at(starts_ns)
        room = {home.device: home for home in self._envelopes_of(slot, below).homes}
        units = []
        hold_ns = max(SECOND_NS, min(ends_ns - starts_ns, HOLD_NS_MAX))
        for gateway in below:
            low, high = _reach(gateway, room[gateway.device], hold_ns)
            soc = gateway.snapshot.soc_per_mille
            cost = PER_MILLE - soc if power_w > 0 else soc
            now_w = max(low, min(high, gateway.snapshot.battery_w))
            units.append(Unit(gateway.device, now_w, low, high, cost, gateway.calls))
        return units

    def _leases(
        self,
        domain: str,
        order: OrderReserve | OrderDemandResponse,
        called: list[tuple[Unit, int]],
        starts_ns: int,
    ) -> list[LeaseIssued]:
        leases = []
        for unit, power_w in called:
            self._gateways[unit.device].calls += 1
            leases.append(
                LeaseIssued(
                    effect_id(domain, order.order_id, unit.device),
                    unit.device,
                    starts_ns,
                    order.ends_ns,
                    RAMP_W_PER_S,
                    power_w,
                    None,
                    order.reason,
                )
            )
        return leases

    def _remember(self, order_id: str, content: bytes) -> bool | None:
        """True for a new order, None for one that was done already, False for a changed one."""
        mark = sha256(content).digest()
        known = self._orders.get(order_id)
        if known is not None:
            return None if known == mark else False
        while len(self._orders) >= ORDERS_KEPT_MAX:
            del self._orders[next(iter(self._orders))]
        self._orders[order_id] = mark
        return True


def is_callable(gateway: Gateway) -> bool:
    """Whether a home takes part at all: it has a battery and has not opted out."""
    return not gateway.opted_out and gateway.snapshot.capacity_wh > 0


def _reach(gateway: Gateway, home: HomeEnvelope, hold_ns: int) -> tuple[int, int]:
    """Where a home's battery can be set for so long: within its power, its charge (a tenth stays
    in it), and the home's envelope with whatever else the home does now.
    """
    now = gateway.snapshot
    kept_wh = now.capacity_wh * KEPT_BACK_PER_MILLE // PER_MILLE
    stored_wh = now.capacity_wh * now.soc_per_mille // PER_MILLE
    # What the home draws beside its battery.
    rest_w = now.grid_w + now.battery_w
    high = min(
        now.max_discharge_w,
        _sustained_w(stored_wh - kept_wh, hold_ns),
        rest_w + home.export_limit_w,
        SETPOINT_W_MAX,
    )
    take = min(
        now.max_charge_w,
        _sustained_w(now.capacity_wh - stored_wh, hold_ns),
        home.import_limit_w - rest_w,
        SETPOINT_W_MAX,
    )
    return min(0, -take), max(0, high)


def _sustained_w(energy_wh: int, hold_ns: int) -> int:
    """The power that an amount of energy lasts for, floored; none where there is none."""
    return max(0, energy_wh) * 3_600 * SECOND_NS // hold_ns
