"""The process round the agents: signals, logs, systemd, and several gateways at once for a demo.

Must never end with a setpoint in force because another gateway failed.
"""

import asyncio
import gc
import logging
import signal
from collections.abc import Sequence
from functools import partial

from edge.agent import Agent, AgentStopped, gateway_name
from edge.config import Config
from edge.enrol import EnrolmentError
from edge.health import notify, start_logging, watchdog_period_s
from edge.keys import KeyFileError
from edge.lean import give_back, unchanged_pages
from edge.outbox import OutboxError
from edge.poller import Opener
from protos.clock import Clock, clock_from_environment

STATE, FORKED = 3, 4
SETTLED_S = 8.0
LOADED_S = 1.0
GIVE_BACK_S = 3_600.0
"""The first time when the start is over; then hourly, because a renewed certificate loads much."""

log = logging.getLogger("edge")


def run_all(configs: Sequence[Config], log_level: str) -> int:
    """Runs every gateway until SIGTERM or SIGINT; the highest exit code of all.

    The collector of cycles may be off; it is on from when the start is over.
    """
    start_logging(log_level)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_name_gateway)
    return asyncio.run(_run(configs, clock_from_environment()))


def _name_gateway(record: logging.LogRecord) -> bool:
    name = gateway_name.get()
    if name:
        record.gateway = name
    return True


async def _run(configs: Sequence[Config], clock: Clock) -> int:
    from edge.devices.catalog import open_device
    from edge.devices.modbus.bus import BusPool

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    buses = BusPool()
    opener: Opener = partial(open_device, clock=clock, buses=buses)
    chores = [asyncio.create_task(_feed_watchdog()), asyncio.create_task(_stay_small())]
    notify("READY=1")
    codes = await asyncio.gather(*(_run_one(config, clock, opener, stop) for config in configs))
    notify("STOPPING=1")
    for chore in chores:
        chore.cancel()
    await asyncio.gather(*chores, return_exceptions=True)
    return max(codes)


async def _run_one(config: Config, clock: Clock, opener: Opener, stop: asyncio.Event) -> int:
    try:
        agent = await Agent.open(config, clock, opener)
        await agent.run(stop)
    except AgentStopped as error:
        log.critical(str(error), extra={"gateway": config.agent.name})
        return FORKED
    except (KeyFileError, EnrolmentError, OutboxError) as error:
        log.critical(str(error), extra={"gateway": config.agent.name})
        return STATE
    return 0


async def _feed_watchdog() -> None:
    """A loop that is stuck does not feed, and systemd starts us again."""
    period_s = watchdog_period_s()
    while period_s:
        notify("WATCHDOG=1")
        await asyncio.sleep(period_s)


async def _stay_small() -> None:
    """A gateway shares its memory with others: what the start alone needed is given back."""
    await asyncio.sleep(SETTLED_S)
    # What the imports left behind stays: without this every full collection walks it again. It
    # takes longer than a first reading, so it waits until the start is over.
    gc.collect()
    gc.freeze()
    gc.enable()
    seen, pause_s = await asyncio.to_thread(unchanged_pages), LOADED_S
    while seen:
        await asyncio.sleep(pause_s)
        pause_s = GIVE_BACK_S
        if not await asyncio.to_thread(give_back, seen):
            return
        seen = await asyncio.to_thread(unchanged_pages)
