"""What the operator tells the desk: kill switch, limits of a day, sharing, the homes' forecast, and
how a bid is made.

Each is a command; what changes nothing says nothing, and what contradicts itself is refused and
changes nothing.
"""

from cloud.commands import (
    DeclareCurrencies,
    ForecastHomes,
    HaltDesk,
    LimitDay,
    PromiseFirm,
    SetSharing,
    StateStorage,
)
from cloud.facts import (
    CurrenciesDeclared,
    DayLimited,
    DeskHalted,
    DeskRefused,
    Fact,
    FirmPromised,
    SharingSet,
    StorageStated,
)
from cloud.vpp import homes, sharing
from cloud.vpp.capability import Fleet
from cloud.vpp.homes import HomeForecast
from cloud.vpp.risk import Guard
from protos.messages import Refusal

Rule = (
    HaltDesk
    | LimitDay
    | SetSharing
    | ForecastHomes
    | PromiseFirm
    | StateStorage
    | DeclareCurrencies
)


class OperatorRules:
    """The rules that stand."""

    def __init__(self) -> None:
        self.guard = Guard()
        self.sharing = sharing.Sharing()
        self.homes = HomeForecast()
        self.promises_firm = False
        self.states_storage = False

    def apply(self, command: Rule, fleet: Fleet) -> list[Fact]:
        """Takes a rule over; `fleet` is told the bounds of the state of charge."""
        match command:
            case HaltDesk():
                return self._halt(command)
            case SetSharing():
                return self._share(command)
            case DeclareCurrencies():
                return self._declare(command)
            case PromiseFirm(is_on=is_on):
                if is_on == self.promises_firm:
                    return []
                self.promises_firm = is_on
                return [FirmPromised(is_on)]
            case StateStorage(is_on=is_on):
                if is_on == self.states_storage:
                    return []
                self.states_storage = is_on
                return [StorageStated(is_on)]
            case ForecastHomes():
                if not homes.are_sound(command.drawn_wh, command.charged_wh):
                    return [DeskRefused("forecast", Refusal.BAD_ENERGY)]
                self.homes = HomeForecast(command.start_slot, command.drawn_wh, command.charged_wh)
                return []
        return self._limit(command, fleet)

    def _halt(self, command: HaltDesk) -> list[Fact]:
        if self.guard.is_halted == command.is_halted:
            return []
        self.guard.is_halted = command.is_halted
        return [DeskHalted(command.is_halted, command.reason)]

    def _share(self, command: SetSharing) -> list[Fact]:
        if not sharing.are_sound(command.rules):
            return [DeskRefused("sharing", Refusal.MALFORMED)]
        if command.rules == self.sharing.rules and self.sharing.has_rate:
            return []
        self.sharing.rules, self.sharing.has_rate = command.rules, True
        return [SharingSet(command.rules)]

    def _declare(self, command: DeclareCurrencies) -> list[Fact]:
        if not command.zones or not command.venues or command.rate_micro < 0:
            return [DeskRefused("currencies", Refusal.MALFORMED)]
        if command == self.sharing.declared:
            return []
        told: list[Fact] = [CurrenciesDeclared(command.zones, command.venues, command.rate_micro)]
        if not self.sharing.declare(command):
            told.append(DeskRefused("sharing", Refusal.NO_RATE))
        return told

    def _limit(self, command: LimitDay, fleet: Fleet) -> list[Fact]:
        money = (command.deviation_max_wh, command.loss_max_micro)
        bounds = (command.soc_min_per_mille, command.soc_max_per_mille)
        asked = Guard(self.guard.is_halted, *money, *bounds, self.guard.days)
        if not asked.is_sound:
            return [DeskRefused("day limits", Refusal.MALFORMED)]
        self.guard = asked
        fleet.soc_bounds = bounds
        return [DayLimited(*money, *bounds)]

    def state(self) -> list[object]:
        return [
            self.guard.state(),
            self.sharing.state(),
            self.homes.state(),
            self.promises_firm,
            self.states_storage,
        ]
