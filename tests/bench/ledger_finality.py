"""Finality with seven validator processes beside a real journal, and what happens when some die.

Part of the ledger's bench. Seven processes and the operator share this machine's cores, so the
figures are an upper bound: in service each validator has a machine of its own.
"""

import asyncio
import tempfile
import time
from pathlib import Path

from cloud.commands import Deposit
from tests.validator.house import Guard, Operator, write_policy

VALIDATORS = 7
BLOCKS = 8
CADENCE_S = 3.0
LOAD_PER_S = 300


async def measure():
    """Seconds from acceptance to finality, from block close to finality, and the failure drill."""
    with tempfile.TemporaryDirectory(prefix="gridtokenx-bench-") as name:
        directory = Path(name)
        guards = [Guard(directory, f"v{number}.example") for number in range(VALIDATORS)]
        write_policy(directory / "operator", guards)
        operator = await Operator(directory / "operator").start()
        try:
            for guard in guards:
                guard.start(operator.url)
            assert await operator.final(await operator.block(), 60), "the validators did not start"
            await asyncio.gather(*(guard.heard(2, 60) for guard in guards))
            accepted, closed = await _run(operator)
            drill = await _drill(operator, guards)
        finally:
            for guard in guards:
                guard.kill()
            await operator.stop()
    return accepted, closed, drill


async def _run(operator):
    """A steady load; a root every three seconds. Both lists are in seconds."""
    accepted, closed, waiting = [], [], []
    number = 0
    began = time.perf_counter()
    for block in range(1, BLOCKS + 1):
        while time.perf_counter() < began + block * CADENCE_S:
            burst = []
            for _ in range(LOAD_PER_S // 20):
                number += 1
                burst.append(operator.writer.submit(Deposit(f"load{number}", "anna", 1)))
            await asyncio.gather(*burst)
            waiting += [time.perf_counter()] * len(burst)
            await asyncio.sleep(0.05)
        close = time.perf_counter()
        size = await operator.block(0)
        assert await operator.final(size, 30), "a block did not become final"
        now = time.perf_counter()
        closed.append(now - close)
        accepted += [now - then for then in waiting]
        waiting.clear()
    return accepted, closed


async def _drill(operator, guards):
    """Final with two of seven down, not with three, and again when one returns."""
    for guard in guards[:2]:
        guard.kill()
    two_down = await operator.final(await operator.block(), 20)
    guards[2].kill()
    size = await operator.block()
    three_down = await operator.final(size, 2)
    said_so = bool(operator.log.finality.status(time.monotonic_ns()).problem)
    guards[2].start(operator.url)
    return two_down and not three_down and said_so and await operator.final(size, 30)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
