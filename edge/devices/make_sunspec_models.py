"""Makes sunspec_models.json from the model definitions that pysunspec2 carries.

Run by hand when a model is added: python -m edge.devices.make_sunspec_models. The agent never
imports pysunspec2; it reads the table made here. The definitions are the SunSpec Alliance's,
Apache-2.0; the made file says so.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

MODELS = (
    *(1, 101, 102, 103, 111, 112, 113, 120, 121, 122, 123, 124, 160),
    *(201, 202, 203, 204, 211, 212, 213, 214, 701, 702, 703, 704, 713, 714, 715, 802),
)
KINDS = {
    "uint16": "u16",
    "enum16": "u16",
    "bitfield16": "u16",
    "count": "u16",
    "raw16": "u16",
    "int16": "i16",
    "sunssf": "i16",
    "uint32": "u32",
    "enum32": "u32",
    "bitfield32": "u32",
    "int32": "i32",
    "uint64": "u64",
    "bitfield64": "u64",
    "int64": "i64",
    "acc32": "acc32",
    "acc64": "acc64",
    "float32": "f32",
    "float64": "f64",
    "string": "str",
}
"""SunSpec types as `registers.Kind`. Pads and addresses are left out."""

Rows = dict[str, list[Any]]


def rows(points: list[dict[str, Any]], offset: int, prefix: str = "") -> tuple[Rows, int]:
    """Points as name -> [offset, kind, registers, scale factor], and the offset behind them."""
    made: Rows = {}
    for point in points:
        kind = KINDS.get(point["type"])
        if kind is not None:
            made[prefix + point["name"]] = [offset, kind, point["size"], point.get("sf", "")]
        offset += point["size"]
    return made, offset


def model(number: int) -> dict[str, Any]:
    """One model: fixed points, and the repeating block where it has one."""
    source = files("sunspec2").joinpath("models", "json", f"model_{number}.json")
    group = json.loads(source.read_text(encoding="utf-8"))["group"]
    points, offset = rows(group["points"], 0)
    made: dict[str, Any] = {"points": points}
    for inner in group.get("groups", []):
        if inner.get("count", 1) in {1, None}:
            nested, offset = rows(inner["points"], offset, f"{inner['name']}.")
            points |= nested
        else:
            nested, end = rows(inner["points"], 0)
            made["repeat"] = {"offset": offset, "length": end, "points": nested}
            break
    made["length"] = offset
    return made


def main() -> None:
    """Writes the file beside this one."""
    content = {
        "source": "SunSpec Alliance model definitions, from pysunspec2 1.3.7 (Apache-2.0)",
        "columns": ["offset from the model's id", "type", "registers", "scale factor"],
        "models": {str(number): model(number) for number in MODELS},
    }
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    text = text.replace('},"', '},\n"').replace('"models":{', '"models":{\n')
    Path(__file__).with_name("sunspec_models.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
