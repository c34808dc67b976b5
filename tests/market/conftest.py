import pytest

from tests.market.scene import Scene


@pytest.fixture
def scene() -> Scene:
    """An open zone with four homes, one a node, allowances granted, maps sent."""
    scene = Scene()
    scene.open()
    for node in (2, 3, 4, 5):
        scene.admit(f"home-{node}", node)
    return scene
