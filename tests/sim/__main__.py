"""`python -m tests.sim`: many worlds, one a seed. The first that breaks a promise is named."""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.sim.world import World


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--hours", type=float, default=24, help="how long each lives")
    parser.add_argument("--homes", type=int, default=8)
    asked = parser.parse_args()
    began, crashes, counts = time.monotonic(), 0, Counter()
    for seed in range(asked.first, asked.first + asked.seeds):
        with tempfile.TemporaryDirectory() as directory:
            try:
                outcome = World(seed, Path(directory) / "journal.db", asked.homes).run(asked.hours)
            except Exception as problem:
                problem.add_note(f"in the world of seed {seed}: --first {seed} --seeds 1")
                raise
        crashes += outcome.crashes
        counts.update(outcome.counts)
    seconds = time.monotonic() - began
    lived_h = asked.seeds * asked.hours
    print(
        f"{asked.seeds} worlds of {asked.homes} homes, {lived_h * asked.homes / 24:.0f} home-days, "
        f"{crashes} crashes, {counts['BatchAccepted']} envelopes, {counts['Traded']} trades, "
        f"{counts['SlotSettled']} settlements: 0 broken promises, "
        f"{lived_h * 3_600 / seconds:,.0f} x real time"
    )


if __name__ == "__main__":
    main()
