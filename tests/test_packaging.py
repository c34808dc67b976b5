"""Two distributions from one tree: both build, and the light one lives without the cloud."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
IMPORT_ALL = """
import importlib, pkgutil, sys
import edge, protos
for package in (edge, protos):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name.endswith("__main__") or ".make_" in module.name:
            continue
        importlib.import_module(module.name)
heavy = {"cloud", "ext", "fastapi", "msgspec", "numpy", "pydantic"} & set(sys.modules)
assert not heavy, heavy
from edge.devices.catalog import load_profiles
assert load_profiles(), "no device profiles in the wheel"
print("imported")
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The edge and the root wheel, built without a network."""
    directory = tmp_path_factory.mktemp("wheels")
    made = {}
    for name, source in (("edge", ROOT / "edge"), ("root", ROOT)):
        done = subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", directory / name,
             source],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        (made[name],) = (directory / name).glob("*.whl")
    return made


def test_the_light_wheel_is_pure_and_holds_the_agent_alone(wheels):
    assert wheels["edge"].name.endswith("py3-none-any.whl")
    names = zipfile.ZipFile(wheels["edge"]).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edge", "protos"}


def test_every_module_of_the_agent_imports_without_the_cloud(wheels, tmp_path):
    environment = tmp_path / "gateway"
    venv.create(environment, symlinks=True)
    (site,) = environment.glob("lib/python3*/site-packages")
    with zipfile.ZipFile(wheels["edge"]) as wheel:
        wheel.extractall(site)
    # The agent's own dependencies come from the environment that runs the tests.
    (site / "shared.pth").write_text(_dependencies(site))
    done = subprocess.run(
        [environment / "bin" / "python", "-I", "-c", IMPORT_ALL],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "imported"


def test_the_root_wheel_carries_compiled_loops_profiles_data_and_console(wheels):
    names = zipfile.ZipFile(wheels["root"]).namelist()
    for kernel in ("allocate", "book", "columns", "sweep", "tree"):
        assert any(name.startswith(f"ext/{kernel}.") and name.endswith(".so") for name in names)
    assert "cloud/grid/data/rural.pgm.json.gz" in names
    assert "cloud/gate/console/static/index.html" in names
    assert any(name.startswith("cloud/gate/console/static/vendor/") for name in names)
    assert any(name.endswith("sdm630.toml") for name in names)
    assert not any(name.startswith("tests/") for name in names)


def _dependencies(site: Path) -> str:
    """Links to the installed packages, one by one, so that the project itself stays absent."""
    installed = Path(sys.executable).parent.parent.glob("lib/python3*/site-packages")
    for directory in installed:
        for entry in directory.iterdir():
            if "gridtokenx" in entry.name or entry.suffix == ".pth":
                continue
            target = site / entry.name
            if not target.exists():
                target.symlink_to(entry)
    return ""
