"""A process that asks OASIS as fast as it may until a given time, sharing a pacer's directory.

Run as a program: url, state directory, end in ns on the clock of the environment.
"""

import asyncio
import sys
from datetime import date
from pathlib import Path

from cloud.venues.online import OASIS_GAP_S, CaisoOnline, Credentials
from cloud.venues.transport import Endpoint, Transport
from cloud.venues.venue import VenueError
from protos.clock import clock_from_environment

ASKED_MIN = 2


async def ask(url, directory, until_ns):
    clock = clock_from_environment()
    transport = Transport(Path(directory), clock)
    venue = CaisoOnline(
        transport, Endpoint("caiso", url, OASIS_GAP_S), Endpoint("caiso", url), Credentials()
    )
    done = 0
    # A machine so busy that a process starts late must still be asked a few times.
    while clock.now_ns() < until_ns or done < ASKED_MIN:
        try:
            await venue.prices(date(2026, 7, 15), "DAM")
            done += 1
        except VenueError as error:
            print(error, file=sys.stderr)
    print(done)


if __name__ == "__main__":
    asyncio.run(ask(sys.argv[1], sys.argv[2], int(sys.argv[3])))
