"""An event loop whose time is made up: a pause costs nothing, and nothing runs beside anything else.

The loop jumps to the next thing that is due, and what would run in a worker thread runs at once. So
the same seed gives the same order of everything, and a day passes in seconds.
"""

import asyncio
import selectors


class StandstillError(Exception):
    """Everybody waits and nothing is due: some promise of the simulated world will never be kept."""


class _Jump(selectors.SelectSelector):
    """Waits by moving the clock."""

    def __init__(self):
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout=None):
        if timeout is None:
            raise StandstillError("nothing is scheduled and everybody waits")
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self):
        return self._jump.now_s

    def run_in_executor(self, _executor, call, *arguments):
        async def at_once():
            return call(*arguments)

        return self.create_task(at_once())


def run_virtual(main):
    """Runs a coroutine to its end on a loop of its own."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class VirtualClock:
    """The Clock port on the loop's made-up time."""

    def __init__(self, origin_ns):
        self._origin_ns = origin_ns

    def now_ns(self):
        return self._origin_ns + self.monotonic_ns()

    def monotonic_ns(self):
        return round(asyncio.get_running_loop().time() * 1e9)

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)
