"""From telemetry to the homes' forecast, through the port."""

from cloud.commands import ForecastHomes
from cloud.facts import Telemetry
from cloud.forecast.port import Forecast
from cloud.homes_pump import HomesPump
from protos.clock import slot_start_ns

FIRST = 2_000_000


class Same:
    """A forecaster: tomorrow is the last slot, ten per cent either way."""

    def forecast(self, history_wh, start_slot, horizon):
        last = history_wh[-1]
        low, high = last * 9 // 10, last * 11 // 10
        return Forecast((last,) * horizon, (low,) * horizon, (high,) * horizon)


def told(slot, device, load_w, pv_w, minute=1):
    at_ns = slot_start_ns(slot) + minute * 60_000_000_000
    return Telemetry("z", device, "acc", at_ns, 0, pv_w, 0, load_w, 500, 14_000, 8_000, 8_000)


def pump():
    return HomesPump(None, None, Same())


def test_each_gateway_counts_once_a_slot_however_often_it_reports():
    homes = pump()
    homes.listen([told(FIRST, "a", 1_000, 0, minute) for minute in range(1, 8)], 0)
    homes.listen([told(FIRST, "b", 3_000, 2_000)], 0)
    homes.history.close(FIRST + 1)
    command = homes.forecast()
    # 4 kW of load and 2 kW of sun for a quarter: 1,000 and 500 Wh.
    assert command == ForecastHomes(FIRST + 1, (1_100 - 450,) * 96, (0,) * 96)


def test_the_slot_that_runs_is_not_history_yet():
    homes = pump()
    homes.listen([told(FIRST, "a", 4_000, 0)], 0)
    homes.history.close(FIRST)
    assert homes.forecast() is None


def test_a_hole_repeats_the_slot_before_and_a_day_of_it_begins_anew():
    homes = pump()
    homes.listen([told(FIRST, "a", 4_000, 0), told(FIRST + 5, "a", 8_000, 0)], 0)
    homes.history.close(FIRST + 6)
    assert homes.history.load_wh == [1_000] * 5 + [2_000]
    homes.listen([told(FIRST + 300, "a", 4_000, 0)], 0)
    homes.history.close(FIRST + 301)
    assert homes.history.load_wh == [1_000]


def test_the_shipped_forecaster_takes_the_history():
    homes = HomesPump(None, None)
    for slot in range(FIRST, FIRST + 200):
        homes.listen([told(slot, "a", 1_000 + 10 * (slot % 96), 0)], 0)
    homes.history.close(FIRST + 200)
    command = homes.forecast()
    assert len(command.drawn_wh) == 96
    assert min(command.drawn_wh) > 0
