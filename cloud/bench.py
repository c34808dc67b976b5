"""`gridtokenx bench`: runs the measuring programs of a checkout and prints one contract.

A table for people, and as the last line one JSON object: room, commit, machine and rows. The same
object is appended to tests/bench/history.jsonl, so that a figure can be followed through commits.
"""

import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "tests" / "bench"
HISTORY = "history.jsonl"


def run_bench(room: str, *, workload: str, ops: int, as_json: bool) -> int:
    """Measures one room, or all of them one after another."""
    rooms = available_rooms()
    if not rooms:
        print("gridtokenx: the measuring programs are in the source checkout (tests/bench); run "
              "this there", file=sys.stderr)  # fmt: skip
        return 2
    if room != "all" and room not in rooms:
        print(f"gridtokenx: no room {room!r}; there are: {', '.join(rooms)}", file=sys.stderr)
        return 2
    if ops:
        print(json.dumps(_load("matcher").run(workload, ops)))
        return 0
    results = []
    for name in whole_rooms(rooms) if room == "all" else [room]:
        rows = _load(name).rows()
        results.append(_result(name, rows))
        if not as_json:
            _print_table(name, rows)
    with (BENCH / HISTORY).open("a", encoding="utf-8") as history:
        for result in results:
            history.write(json.dumps(result) + "\n")
    whole = results[0] if len(results) == 1 else _result("all", _all_rows(results))
    print(json.dumps(whole))
    return 0


def available_rooms() -> list[str]:
    """The measuring programs of this checkout, by name."""
    return sorted(
        path.stem for path in BENCH.glob("*.py") if "def rows()" in path.read_text("utf-8")
    )


def whole_rooms(rooms: Sequence[str]) -> list[str]:
    """The rooms that are not measured as a part of another one anyway."""
    parts = {part for room in rooms for part in getattr(_load(room), "PARTS", ())}
    return [room for room in rooms if room not in parts]


def _load(room: str) -> ModuleType:
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(f"tests.bench.{room}")


def _result(room: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"room": room, "commit": _commit(), "machine": _machine(), "rows": list(rows)}


def _all_rows(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**row, "name": f"{result['room']}: {row['name']}"}
        for result in results
        for row in result["rows"]
    ]


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - git from the PATH
            cwd=BENCH,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _machine() -> str:
    return f"{platform.machine()} {os.cpu_count()} cores, {platform.python_version()}"


def _print_table(room: str, rows: Sequence[dict[str, Any]]) -> None:
    print(f"\n{room}  ({_machine()})")
    for row in rows:
        value = "not measured" if row["value"] is None else f"{row['value']:>12,.6g} {row['unit']}"
        target = "" if row["target"] is None else f"target {row['direction']} {row['target']:g}"
        mark = {True: "ok", False: "SHORT", None: ""}[row["ok"]]
        print(f"  {row['name']:<58} {value:<24} {target:<22} {mark:<5} {row.get('note') or ''}")
