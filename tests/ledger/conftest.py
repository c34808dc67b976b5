import pytest

from tests.ledger.street import Street


@pytest.fixture
def street():
    """Three homes with 50 THB each in one zone."""
    return Street()
