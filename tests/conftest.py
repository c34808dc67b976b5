"""What all tests share: no example is failed by the clock. Speed is the bench's matter."""

from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")
