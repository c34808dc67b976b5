"""The homes' counters on disk, so that a restarted street goes on where it was.

The file is replaced whole: a reader, also after a power cut, finds the old one or the new one. A
file that cannot be believed is refused; counters are never begun anew by guessing.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

VERSION = 1


class StateError(Exception):
    """The state file cannot be used as it is."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}; name another file, or remove it to begin anew")
        self.path = path
        self.problem = problem


def load(path: Path, seed: int) -> dict[str, dict[str, int | list[int]]]:
    """Each home's saved state by its name, empty if there is no file yet. Raises StateError."""
    if not path.exists():
        return {}
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        version, saved_seed, homes = saved["version"], saved["seed"], saved["homes"]
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(path, "it holds no simulator state") from error
    if version != VERSION or not isinstance(homes, dict):
        raise StateError(path, f"it was written by another version ({version})")
    if saved_seed != seed:
        raise StateError(path, f"it belongs to the street with seed {saved_seed}, not {seed}")
    return homes


def save(path: Path, seed: int, homes: Mapping[str, object]) -> None:
    write_whole(path, json.dumps({"version": VERSION, "seed": seed, "homes": homes}) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Replaces a file so that it is never seen half written."""
    beside = path.with_name(path.name + ".new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
