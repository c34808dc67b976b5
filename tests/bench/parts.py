"""Parts of the tests that a measurement uses: peers, hostile slaves, recorded disks.

Test files cannot be imported by name, because two folders have a conftest.py each.
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).parents[1]


def part(path: str) -> ModuleType:
    """The file at this path under tests/, run once, whatever its folder."""
    name = "bench_" + path.removesuffix(".py").replace("/", "_")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, TESTS / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def as_installed(directory: Path) -> dict[str, str]:
    """An environment in which starts find compiled modules, as an installer leaves them behind; here
    the first start does, which is not counted, whatever this machine's developer wants for himself.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(directory / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment
