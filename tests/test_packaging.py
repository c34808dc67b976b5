"""Two distributions from one tree: both build, and the light one lives without the cloud."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VENDOR = "cloud/gate/console/static/vendor"
KERNELS = ("allocate", "book", "columns", "sweep", "tree")
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
def tree(tmp_path_factory):
    """The tree as a checkout has it, with the console's libraries as `make build` brings them.

    A copy, so that nothing an earlier build left behind can hide a missing or a stray file.
    """
    copy = tmp_path_factory.mktemp("tree")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        source = ROOT / name
        if source.is_file() or source.is_symlink():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy / name, follow_symlinks=False)
    if (ROOT / VENDOR).is_dir():
        shutil.copytree(ROOT / VENDOR, copy / VENDOR)
    # What a used checkout also holds; none of it may travel.
    for stray in (".demo/cloud/journal.py", "cloud/gate/console/node_modules/x/package.json"):
        (copy / stray).parent.mkdir(parents=True, exist_ok=True)
        (copy / stray).write_text("{}")
    return copy


@pytest.fixture(scope="module")
def edge_wheel(tree):
    return _build("--wheel", tree / "edge", tree / "dist" / "edge", "*.whl")


@pytest.fixture(scope="module")
def sdist(tree):
    return _build("--sdist", tree, tree / "dist" / "source", "*.tar.gz")


@pytest.fixture(scope="module")
def root_wheel(sdist, tmp_path_factory):
    """Built from the source distribution, so that what that lacks shows."""
    source = tmp_path_factory.mktemp("source")
    with tarfile.open(sdist) as archive:
        archive.extractall(source, filter="data")
    (unpacked,) = source.iterdir()
    return _build("--wheel", unpacked, source / "dist", "*.whl")


def _build(kind: str, source: Path, output: Path, pattern: str) -> Path:
    """One distribution, without a network, with as many compilers at once as there are cores."""
    output.mkdir(parents=True)
    settings = output / "build.cfg"
    settings.write_text(f"[build_ext]\nparallel = {os.cpu_count() or 1}\n")
    done = subprocess.run(
        [sys.executable, "-m", "build", kind, "--no-isolation", "-o", output, source],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DIST_EXTRA_CONFIG": str(settings)},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (made,) = output.glob(pattern)
    return made


def test_the_light_wheel_is_pure_and_holds_the_agent_alone(edge_wheel):
    assert edge_wheel.name.endswith("py3-none-any.whl")
    names = zipfile.ZipFile(edge_wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edge", "protos"}


def test_every_module_of_the_agent_imports_without_the_cloud(edge_wheel, tmp_path):
    environment = tmp_path / "gateway"
    venv.create(environment, symlinks=True)
    (site,) = environment.glob("lib/python3*/site-packages")
    with zipfile.ZipFile(edge_wheel) as wheel:
        wheel.extractall(site)
    # The agent's own dependencies come from the environment that runs the tests.
    _link_dependencies(site)
    done = subprocess.run(
        [environment / "bin" / "python", "-I", "-c", IMPORT_ALL],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "imported"


def test_the_root_wheel_carries_compiled_loops_profiles_data_and_console(root_wheel):
    names = zipfile.ZipFile(root_wheel).namelist()
    for kernel in KERNELS:
        assert any(name.startswith(f"ext/{kernel}.") and name.endswith(".so") for name in names)
    for name in (
        "cloud/grid/data/rural.pgm.json.gz",
        "cloud/grid/data/README.md",
        "cloud/gate/console/static/index.html",
        "edge/agent.example.toml",
        "edge/devices/profiles/eastron/sdm630.toml",
        "edge/simulator/profiles.npz",
    ):
        assert name in names
    assert any(name.startswith(f"{VENDOR}/") for name in names)


def test_the_root_wheel_carries_every_module_and_nothing_of_the_workshop(root_wheel, tree):
    names = set(zipfile.ZipFile(root_wheel).namelist())
    modules = {
        str(path.relative_to(tree))
        for room in ("cloud", "edge", "protos", "ext")
        for path in (tree / room).rglob("*.py")
    }
    assert not modules - names
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"cloud", "edge", "protos", "ext"}
    assert not [name for name in names if "node_modules" in name]


def test_the_source_distribution_holds_no_state_and_no_borrowed_trees(sdist):
    with tarfile.open(sdist) as archive:
        parts = {part for member in archive.getmembers() for part in Path(member.name).parts}
    assert not parts & {".demo", ".git", ".venv", "build", "node_modules", "__pycache__"}


@pytest.mark.parametrize("wheel", ["edge_wheel", "root_wheel"])
def test_both_wheels_carry_every_licence_of_what_they_ship(wheel, request):
    names = zipfile.ZipFile(request.getfixturevalue(wheel)).namelist()
    licences = [name.split("/licenses/")[1] for name in names if ".dist-info/licenses/" in name]
    assert "LICENSE" in licences
    assert any(name.endswith("simulator/LICENSE-ODbL.txt") for name in licences)
    assert wheel == "edge_wheel" or "cloud/grid/data/LICENSE-ODbL.txt" in licences


def _link_dependencies(site: Path) -> None:
    """Links to the installed packages, one by one, so that the project itself stays absent."""
    installed = Path(sys.executable).parent.parent.glob("lib/python3*/site-packages")
    for directory in installed:
        for entry in directory.iterdir():
            if "gridtokenx" in entry.name or entry.suffix == ".pth":
                continue
            target = site / entry.name
            if not target.exists():
                target.symlink_to(entry)
