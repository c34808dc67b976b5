"""The event loop of a process of this house: which one, and what its collector may leave alone."""

import asyncio
import contextlib
import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
OLDEST = 2
"""The generation whose collection walks everything that is not set aside."""


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Runs on uvloop where it is installed, which saves a fifth of what a message costs."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        from uvloop import new_event_loop as factory
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


class Collections:
    """Keeps the collector's pauses bounded, however much is alive.

    A full collection walks everything that lives: a tenth of a second for a million offers, and one
    comes whenever a quarter more has gathered. So what has survived one is set aside, and the next
    walks only what came since. Set aside for ever it could not be: once twice as much lies there as
    after the last whole walk, all of it is walked again, which makes them rarer and rarer.
    """

    def __init__(self) -> None:
        self._whole = 0

    def begin(self) -> None:
        """From now on, for this process."""
        gc.collect()
        gc.freeze()
        self._whole = gc.get_freeze_count()
        gc.callbacks.append(self._after)

    def _after(self, phase: str, info: dict[str, int]) -> None:
        if phase != "stop" or info["generation"] < OLDEST:
            return
        gc.freeze()
        if gc.get_freeze_count() >= 2 * self._whole:
            self._whole = gc.get_freeze_count()
            gc.unfreeze()


def bound_collections() -> None:
    """What was made at the start stays, and no collection takes longer than what came since."""
    Collections().begin()
