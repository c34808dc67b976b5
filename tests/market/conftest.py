import pytest

from protos.clock import MINUTE_NS
from tests.market.scene import START_NS, Scene


@pytest.fixture
def scene() -> Scene:
    """An open zone with four homes, one a node, allowances granted, maps sent.

    They were admitted a minute before slot SLOT began; now is a minute after.
    """
    scene = Scene()
    scene.at_ns = START_NS - MINUTE_NS
    scene.open()
    for node in (2, 3, 4, 5):
        scene.admit(f"home-{node}", node)
    scene.at_ns = START_NS + MINUTE_NS
    return scene
