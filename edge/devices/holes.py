"""What a device refused to tell, remembered across restarts, so that it is not asked again.

Only the option `holes_dir` makes this write at all. A note that cannot be read, or is about
another device, is as good as none; what it says is never more than a way to ask fewer questions.
"""

import contextlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.devices.device import DeviceSpec

Span = tuple[int, int]
LIMIT = 4096
"""Refusals beyond this are no model's holes, but a device that is out of order."""


@dataclass(slots=True)
class Holes:
    """Addresses that no question may straddle and values that are absent, by function."""

    cuts: dict[int, set[int]] = field(default_factory=dict)
    absent: set[tuple[int, Span]] = field(default_factory=set)


def note_path(spec: DeviceSpec) -> Path | None:
    """Where a device's note lies; None where nothing is to be remembered."""
    folder = str(spec.options.get("holes_dir", ""))
    if not folder:
        return None
    return Path(folder) / f"holes-{re.sub(r'[^A-Za-z0-9_-]', '_', spec.name)}.json"


def _about(spec: DeviceSpec) -> list[str | int]:
    return [spec.transport, spec.address, spec.unit, spec.profile]


def load_holes(spec: DeviceSpec) -> Holes:
    """What was learnt before, nothing where there is no usable note."""
    path = note_path(spec)
    if path is None:
        return Holes()
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        if note["about"] != _about(spec):
            return Holes()
        cuts = {int(f): {int(a) for a in row} for f, row in note["cuts"].items()}
        absent = {(int(f), (int(start), int(end))) for f, start, end in note["absent"]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Holes()
    return Holes(cuts, absent)


def save_holes(
    spec: DeviceSpec, cuts: Mapping[int, set[int]], absent: set[tuple[int, Span]]
) -> None:
    """Writes the note whole or not at all; a full disk only costs a few questions later."""
    path = note_path(spec)
    if path is None or sum(map(len, cuts.values())) + len(absent) > LIMIT:
        return
    note = {
        "about": _about(spec),
        "cuts": {str(function): sorted(row) for function, row in sorted(cuts.items())},
        "absent": sorted([function, *span] for function, span in absent),
    }
    draft = path.with_suffix(".tmp")
    with contextlib.suppress(OSError):
        draft.write_text(json.dumps(note), encoding="utf-8")
        os.replace(draft, path)  # noqa: PTH105
