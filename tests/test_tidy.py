"""What must never stand in the tree. Style is for people; these are the things that rot a house."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
]
SOURCES = [
    path for path in TRACKED if path.suffix == ".py" and "_pb2" not in path.name and path.exists()
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_exception_is_swallowed(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    relative = str(path.relative_to(ROOT))
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        kind = ast.unparse(node.type) if node.type else "everything"
        is_broad = kind in {"everything", "Exception", "BaseException"}
        # Cleaning up and passing the exception on is not swallowing it.
        passes_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        assert not is_broad or passes_on, f"{relative}:{node.lineno} catches {kind}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_left_for_later(path):
    words = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X"))
    left = re.findall(rf"\b(?:{words})\b", path.read_text(encoding="utf-8"))
    assert not left


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if "tests" not in path.parts and path.name != "__init__.py"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_module_says_what_it_decides(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_no_file_names_a_registry_or_a_path_of_one_machine():
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".", "deb.debian" + ".org")
    paths = ("/" + "work/", "/" + "root/")
    for path in TRACKED:
        if not path.is_file() or path.suffix in {".npz", ".gz", ".png"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found = [word for word in (*hosts, *paths) if word in text]
        assert not found, f"{path.relative_to(ROOT)} names {found}"


def test_the_shipped_page_asks_nobody_else_for_anything():
    static = ROOT / "cloud" / "gate" / "console" / "static"
    for path in static.rglob("*"):
        if path.suffix in {".js", ".html", ".css"} and "vendor" not in path.parts:
            found = re.findall(r"https?://[^\s\"'<>)]+", path.read_text(encoding="utf-8"))
            assert not [url for url in found if "www.w3.org" not in url], path.name
