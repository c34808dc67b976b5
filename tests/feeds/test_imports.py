"""Feeds and venues know commands and facts and no room, and load nothing heavy."""

import subprocess
import sys

import pytest

FEEDS = "cloud.feeds.caiso cloud.feeds.pjm cloud.feeds.ercot cloud.feeds.nyiso cloud.feeds.eia"
VENUES = "cloud.venues.shell cloud.venues.paper cloud.venues.caiso cloud.venues.pjm"


@pytest.mark.parametrize("modules", [f"{FEEDS} cloud.feeds.prices", VENUES])
def test_they_import_no_room_and_no_library_for_the_network(modules):
    program = f"import sys, {modules.replace(' ', ', ')}; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    loaded = set(done.stdout.split())
    allowed = {"cloud.commands", "cloud.facts", "cloud.config", "cloud.feeds", "cloud.venues"}
    rooms = {
        name
        for name in loaded
        if name.startswith("cloud.") and ".".join(name.split(".")[:2]) not in allowed
    }
    assert rooms == set()
    assert not loaded & {"httpx", "numpy", "grpc", "fastapi", "sqlite3", "pandas"}
