"""What the agent's process leaves out, puts off and gives back: memory and the time of a start.

One TLS library in the process is enough: the transport brings its own, the keys another. Python's
would be the third, and asyncio and hashlib load it only because it is there. What the first
reading does not need is loaded when it is first used. What only the start needed is given back to
the machine afterwards. Must never stop anything that is loaded later from having what it asks for.
"""

import ctypes
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType

_TLS = ("ssl", "_ssl", "_hashlib")
_WITHOUT = ("hashlib", "hmac", "asyncio")
_NOT_FOR_READING = (
    # What protobuf would use if it had no compiled core, and what prints messages as text.
    "google.protobuf.internal.python_message",
    "google.protobuf.text_encoding",
    # The treaty's services: the first reading is sealed and stored before anything is sent.
    "protos.gateway_pb2",
)
_LIBRARY = re.compile(r"^/.*\.so(\.\d+)*$")
"""These stay until the process ends; other files may be let go of at any time."""

_DONTNEED = 4
_MEMORY = Path("/proc/self/smaps")


def load_without_tls() -> None:
    """Imports what would load Python's TLS library, without it. Does nothing where it is loaded.

    Must be called before asyncio is first imported. Saves 4.5 MiB of memory and 8 ms.
    """
    if any(name in sys.modules for name in (*_TLS, *_WITHOUT)):
        return
    hidden: dict[str, None] = dict.fromkeys(_TLS)
    # A module that is None in the table cannot be imported: that is how Python spells "absent".
    sys.modules.update(hidden)  # type: ignore[arg-type]
    try:
        for name in _WITHOUT:
            import_module(name)
    finally:
        for name in hidden:
            del sys.modules[name]


def put_off_what_reading_does_not_need() -> None:
    """Before anything imports protobuf. Saves a tenth of the start's processor time."""
    load_at_first_use(*_NOT_FOR_READING)


class _Later(ModuleType):
    """A module that is found but not yet run. The import system looks at its double-underscored
    names only; whoever wants another one makes it run. The library's own lazy loader runs already
    at the second import.
    """

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def load_at_first_use(*names: str) -> None:
    """From now on an import of these modules costs nothing until one of their names is touched.

    For one thread only. Passes over what is loaded or cannot be found: then the import says so
    itself.
    """
    for name in names:
        spec = None if name in sys.modules else _found(name)
        if spec is not None and spec.loader is not None:
            later = module_from_spec(spec)
            later.__class__ = _Later
            sys.modules[name] = later


def _found(name: str) -> ModuleSpec | None:
    """Where a module is. To look for it its packages are loaded, and those may be missing, too."""
    try:
        return find_spec(name)
    except ModuleNotFoundError:
        return None


Mapping = tuple[int, int, str]
"""Start, end and file of a piece of memory."""


def unchanged_pages() -> frozenset[Mapping]:
    """The parts of loaded libraries that nobody can write to and nobody has written to; empty where
    this machine does not say.
    """
    try:
        with _MEMORY.open(encoding="utf-8", errors="replace") as lines:
            return frozenset(_unchanged(lines))
    except OSError:
        return frozenset()


def give_back(seen_before: frozenset[Mapping]) -> bool:
    """Returns memory that only the start needed: free pieces of the heap, and the pages of
    libraries that were read once. A page that is needed again comes from the page cache.

    Only what was seen a while ago as well: a library that another thread is just loading is not
    what it seems. True if this machine knows how; a few milliseconds of work.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.malloc_trim(0)
        libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    except (OSError, AttributeError):
        return False
    both = seen_before & unchanged_pages()
    return bool(both) and all(
        libc.madvise(start, end - start, _DONTNEED) == 0 for start, end, _ in both
    )


def _unchanged(lines: Iterable[str]) -> Iterator[Mapping]:
    """A page of a library that was changed when it was linked into the process is in no file."""
    found: Mapping | None = None
    for line in lines:
        words = line.split()
        if words[0] == "Anonymous:" and words[1] == "0" and found is not None:
            yield found
        if not words[0].endswith(":"):
            file = words[5] if len(words) == 6 else ""
            start, _, end = words[0].partition("-")
            readable = _LIBRARY.search(file) and words[1] in {"r-xp", "r--p"}
            found = (int(start, 16), int(end, 16), file) if readable else None
