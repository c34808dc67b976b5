"""What the collector may walk. Each case has a process of its own: the collector is the process's."""

import subprocess
import sys

GROWING = """
import gc
from cloud.gate.loops import bound_collections

class Ring:
    alive = 0
    def __init__(self):
        self.itself = self
        Ring.alive += 1
    def __del__(self):
        Ring.alive -= 1

bound_collections()
walked = []
gc.callbacks.append(lambda phase, info: walked.append(len(gc.get_objects()))
                    if phase == "start" and info["generation"] == 2 else None)
"""

MANY = """
kept = []
for number in range(400_000):
    kept.append([number])
    if number % 10_000 == 0:
        gc.collect()
# Each walk has what came since, and a few have everything.
assert sum(size < 60_000 for size in walked) >= 30, walked
assert 1 <= sum(size > 100_000 for size in walked) <= 6, walked
"""

RINGS = """
rings = [Ring() for _ in range(1_000)]
gc.collect()
del rings
gc.collect()
assert Ring.alive == 1_000, "a ring that was set aside waits"
kept = []
for number in range(10 * gc.get_freeze_count()):
    kept.append([number])
    if number % 10_000 == 0:
        gc.collect()
assert Ring.alive == 0, f"{Ring.alive} rings are never collected"
"""


def run(program):
    done = subprocess.run(
        [sys.executable, "-c", GROWING + program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_collection_walks_what_came_since_and_rarely_everything():
    run(MANY)


def test_what_was_set_aside_and_then_died_is_collected_in_the_end():
    run(RINGS)
