"""The long differential run: `python -m tests.ext.campaign COMMANDS [--seed N] [--out FILE]`.

Decides nothing the tests do not decide: it is the run of `test_book` with many seeds, for as many
commands as asked. After every command the compiled books must have given the oracle's events, have its best
price and quantity on both sides, and have left its room on every edge; after every fiftieth they
must hold its orders in its order (snapshot bytes and hash), and at every five-hundredth they are
made anew from their snapshot. The oracle itself sweeps after every command: what it leaves at rest
has no pair that could trade. Each chunk appends one JSON line, so that a run may be ended and gone
on with.
"""

import argparse
import json
from pathlib import Path
from time import monotonic

from tests.ext.test_book import TERRAINS, Terrain, Twins, reload

CHUNK = 20_000
"""Commands of all terrains together that share one seed."""


def play(terrain: Terrain, seed: int, commands: int) -> int:
    """How many events were compared. Raises AssertionError at the first that differs."""
    twins = Twins(terrain, seed)
    for count in range(commands):
        twins.command()
        if count % 50 == 0:
            twins.compare()
        if count % 500 == 250:
            reload(twins)
    twins.compare()
    return twins.events


def chunk(seed: int) -> dict[str, int | float]:
    begin = monotonic()
    parts = [(terrain, int(CHUNK * terrain.share)) for terrain in TERRAINS]
    events = sum(play(terrain, seed, commands) for terrain, commands in parts)
    commands = sum(commands for _, commands in parts)
    seconds = round(monotonic() - begin, 1)
    return {"seed": seed, "commands": commands, "events": events, "mismatches": 0, "s": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    parser.add_argument("commands", type=int)
    parser.add_argument("--seed", type=int, default=1_000, help="of the first chunk")
    parser.add_argument("--out", type=Path, default=Path("book_campaign.jsonl"))
    given = parser.parse_args()
    done, seed = 0, given.seed
    while done < given.commands:
        line = chunk(seed)
        done, seed = done + int(line["commands"]), seed + 1
        with given.out.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
    print(json.dumps({"seeds": [given.seed, seed - 1], "commands": done, "mismatches": 0}))


if __name__ == "__main__":
    main()
