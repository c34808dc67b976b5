"""The gateway's own page: what flows now, what is abnormal and why, who steers, every value with its
age. Pure: a status document in, one self-contained page out.

It looks like the operators' console: grey field, colour only for what is abnormal, each with a shape
and a number. Must never show a value without its age, or an old one as if it were new.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from typing import Any

STALE_S = 10
"""A value this old is shown as old: ten times the usual period."""

SCALES = {
    "_w": (1_000, "kW", 3),
    "_wh": (1_000, "kWh", 2),
    "_mv": (1_000, "V", 1),
    "_ma": (1_000, "A", 2),
    "_mhz": (1_000, "Hz", 2),
    "_var": (1_000, "kvar", 3),
    "_va": (1_000, "kVA", 3),
    "factor_per_mille": (1_000, "", 3),
    "_per_mille": (10, "%", 1),
    "_deci_c": (10, "°C", 1),
}
"""What a quantity's unit is shown in: divided by, as, with how many decimals."""

STYLE = """
:root{--field:#d3d5d7;--panel:#e3e5e7;--line:#b4b9bd;--soft:#cfd3d6;--ink:#1d2429;--muted:#454f56;
--series:#1d4f7c;--high:#8f1420;--medium:#8a4b00;--low:#585400}
*{box-sizing:border-box}
body{margin:0;background:var(--field);color:var(--ink);font:13px/1.4 "DejaVu Sans",Verdana,sans-serif}
header{display:flex;flex-wrap:wrap;gap:2px 20px;align-items:baseline;padding:7px 14px;
background:#c3c7ca;border-bottom:1px solid var(--line)}
h1{font-size:17px;margin:0}header p{margin:0;color:var(--muted)}#said{font-weight:700;color:var(--ink)}
main{columns:2;column-gap:8px;padding:8px 8px 0}
section{background:var(--panel);border:1px solid var(--line);padding:7px 10px;margin:0 0 8px;
break-inside:avoid}
.wide{column-span:all}
h2{font-size:12px;letter-spacing:.03em;text-transform:uppercase;color:var(--muted);margin:0 0 4px;
display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 8px}
h2 span{font-weight:normal;text-transform:none;letter-spacing:0}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:600;padding:2px 7px 2px 0;vertical-align:top}
td{padding:2px 7px 2px 0;border-bottom:1px solid var(--soft);vertical-align:top;overflow-wrap:anywhere}
tr>th{border-bottom:1px solid var(--soft)}
.n{text-align:right;white-space:nowrap}.quiet{color:var(--muted)}
.flow{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:8px}
.flow div{border-left:3px solid var(--line);padding:0 8px}
.flow b{display:block;font-size:20px;font-variant-numeric:tabular-nums}
.old,.stale section{background-image:repeating-linear-gradient(135deg,#d3d5d766 0 8px,#a9aeb280 8px 16px)}
.old b,td.old{color:var(--muted)}
.mark{display:inline-block;min-width:18px;height:16px;line-height:16px;text-align:center;color:#fff;
font-weight:700;font-size:11px}
.p1{background:var(--high);clip-path:polygon(50% 0,100% 100%,0 100%);min-width:20px;line-height:20px}
.p2{background:var(--medium)}.p3{background:var(--low);border-radius:9px}
.stale #said{color:var(--high)}.stale .age,.stale h2 span{visibility:hidden}.kept{white-space:nowrap}
@media (max-width:720px){main{columns:1}th,td{font-size:12px;padding-right:4px}.n{white-space:normal}}
"""

SCRIPT = """
const silent = document.querySelector("#said");
let heard = Date.now();
async function look() {
  try {
    const answer = await fetch("/part", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    document.querySelector("main").innerHTML = await answer.text();
    silent.textContent = document.querySelector("main > section").dataset.said;
    document.body.classList.remove("stale");
    heard = Date.now();
  } catch {
    document.body.classList.add("stale");
    const seconds = Math.round((Date.now() - heard) / 1000);
    silent.textContent = `The agent has been silent for ${seconds} s: nothing here is current`;
  }
}
setInterval(look, 2000);
"""

SCRIPT_HASH = b64encode(sha256(SCRIPT.encode()).digest()).decode()
"""What the page's own script is allowed by; any other is not run."""

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something abnormal: how much it matters (1 most), what it is, and why."""

    level: int
    what: str
    why: str


def troubles(status: Status) -> list[Trouble]:
    """Everything that is abnormal, what matters most first."""
    found = [
        *_device_troubles(status["devices"]),
        *_cloud_troubles(status),
        *_own_troubles(status),
        *(
            Trouble(2, name, f"{count} times since the start")
            for name, count in status["alarms"].items()
        ),
    ]
    return sorted(found, key=lambda trouble: trouble.level)


def _device_troubles(devices: Status) -> Iterator[Trouble]:
    for name, item in devices.items():
        if item["problem"]:
            level = 1 if item["role"] == "GRID" else 2
            age = item["age_s"]
            since = "it never answered" if age is None else f"its last answer is {_age(age)} old"
            yield Trouble(level, f"{name} is not read: {since}", str(item["problem"]))
        odd = [_label(v) for v in item["values"] if v["quality"] not in {"GOOD", "NOT_AVAILABLE"}]
        if odd:
            why = "not believed as they are, and never billed"
            yield Trouble(3, f"{name}: {', '.join(odd)} in doubt", why)


def _cloud_troubles(status: Status) -> Iterator[Trouble]:
    uplink, outbox, certificate = status["uplink"], status["outbox"], status["certificate"]
    if not uplink["connected"]:
        kept = f"{outbox['waiting']} batches are kept here until it is back"
        why = str(uplink["problem"]) or "no connection yet"
        yield Trouble(2, "no connection to the cloud", f"{why}; {kept}")
    if certificate["problem"]:
        yield Trouble(2, "the certificate is not renewed", str(certificate["problem"]))
    if outbox["used_per_mille"] > 800:
        yield Trouble(1, "the outbox is nearly full", f"{outbox['used_per_mille'] / 10:.0f} %")
    if outbox["stride"] > 1:
        why = "to outlast the time without a connection"
        yield Trouble(2, f"only every {outbox['stride']}th reading is kept", why)


def _own_troubles(status: Status) -> Iterator[Trouble]:
    sampling, dispatch = status["sampling"], status["dispatch"]
    if sampling["problem"]:
        yield Trouble(1, "readings are not kept", str(sampling["problem"]))
    if sampling["clock_quality"] != "SYNCHRONISED":
        yield Trouble(
            3,
            f"the clock is {str(sampling['clock_quality']).replace('_', ' ').lower()}",
            "nobody could be asked for the time yet, or it differs from the cloud's",
        )
    if not dispatch["idle"] and not dispatch["holding"]:
        yield Trouble(2, "a default is not restored yet", "a device has not confirmed it")
    if dispatch["droop_per_mille"]:
        share = dispatch["droop_per_mille"] / 10
        yield Trouble(3, f"the home answers the grid's frequency: {share:+.0f} %", "local droop")


# --- the page ------------------------------------------------------------------------------------


def page(status: Status) -> str:
    """The whole page."""
    name = escape(str(status["name"]))
    where = f"{escape(str(status['site']))}, zone {escape(str(status['zone']))}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<noscript><meta http-equiv="refresh" content="5"></noscript>'
        f"<title>{name}</title><style>{STYLE}</style></head><body><header><h1>{name}</h1>"
        f'<p id="said" role="status">{escape(_said(status))}</p>'
        f"<p>{where}</p><p>device {escape(str(status['device']))}</p></header>"
        f"<main>{part(status)}</main><script>{SCRIPT}</script></body></html>"
    )


def part(status: Status) -> str:
    """What changes: the sections."""
    found = troubles(status)
    marks = [
        f'<tr><td><span class="mark p{t.level}">{t.level}</span></td><th scope="row">'
        f"{escape(t.what)}</th><td>{escape(t.why)}</td></tr>"
        for t in found
    ]
    rows = f"<table>{''.join(marks)}</table>" if marks else '<p class="quiet">Nothing.</p>'
    abnormal = (
        f'<section class="wide" data-said="{escape(_said(status))}">'
        f"<h2>Abnormal</h2>{rows}</section>"
    )
    return "".join(
        (
            abnormal,
            _section("Power now", _flow(status["devices"]), wide=True),
            _section("Who steers", _steering(status["dispatch"])),
            _section("Cloud and disk", _cloud(status)),
            *(_device(name, item) for name, item in status["devices"].items()),
        )
    )


def _said(status: Status) -> str:
    count = len(troubles(status))
    return "All is well" if not count else f"{count} thing{'s' * (count > 1)} out of the ordinary"


def _section(title: str, body: str, note: str = "", *, wide: bool = False) -> str:
    mark = ' class="wide"' if wide else ""
    aside = f"<span>{escape(note)}</span>" if note else ""
    return f"<section{mark}><h2>{escape(title)}{aside}</h2>{body}</section>"


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="n">{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table>{cells}</table>"


FLOWS = {
    "GRID": ("Grid", "drawn", "fed in"),
    "PV": ("Roof", "produced", "taken"),
    "BATTERY": ("Battery", "discharged", "charged"),
    "EV_CHARGER": ("Car", "charged", "given back"),
    "LOAD": ("Load", "taken", "given back"),
}


def _flow(devices: Status) -> str:
    """Each device's power, with its direction in words and its age."""
    cells = []
    for name, item in devices.items():
        title, plus, minus = FLOWS[item["role"]]
        power = next((v for v in item["values"] if v["quantity"] == "power_w"), None)
        dc = next((v for v in item["values"] if v["quantity"] == "dc_power_w"), None)
        shown = power if power is not None and not power["phase"] else dc
        value = None if shown is None else shown["value"]
        text = "not known" if value is None else f"{abs(value) / 1000:.2f} kW"
        way = "" if not value else plus if value > 0 else minus
        charge = next(
            (v for v in item["values"] if v["quantity"] == "state_of_charge_per_mille"), None
        )
        if charge is not None and charge["value"] is not None:
            way = f"{way}, {charge['value'] / 10:.0f} % full".lstrip(", ")
        old = ' class="old"' if _is_old(item) or value is None else ""
        age = "never read" if item["age_s"] is None else f"{_age(item['age_s'])} ago"
        cells.append(
            f'<div{old}>{escape(title)} <span class="quiet">{escape(name)}</span>'
            f'<b>{text}</b>{escape(way)} <span class="quiet age">{age}</span></div>'
        )
    return f'<div class="flow">{"".join(cells)}</div>' if cells else "<p>No device.</p>"


def _steering(dispatch: Status) -> str:
    if not dispatch["leases"]:
        rest = "every device does what it does by itself" if dispatch["idle"] else "being restored"
        return f'<p class="quiet">Nobody: {rest}.</p>'
    rows = "".join(
        f'<tr><th scope="row">{escape(lease["id"])}</th><td>{escape(lease["orders"])}</td>'
        f"<td class='kept'>{escape(lease['state'].lower())}</td>"
        f'<td class="n">ends in {_age(lease["left_s"])}</td></tr>'
        for lease in dispatch["leases"]
    )
    return f"<table>{rows}</table>"


def _cloud(status: Status) -> str:
    uplink, outbox, sampling = status["uplink"], status["outbox"], status["sampling"]
    left_s = status["certificate"]["left_s"]
    return _table(
        [
            ("connected", "yes" if uplink["connected"] else "no"),
            ("batches waiting here", str(outbox["waiting"])),
            ("disk used of what is allowed", f"{outbox['used_per_mille'] / 10:.1f} %"),
            ("readings since the start", str(sampling["sweeps"])),
            ("readings lost", str(sampling["lost"])),
            ("certificate", "none" if left_s is None else f"valid for {_age(int(left_s))}"),
            ("offers open", str(status["offers"]["open"])),
            ("traded since the start", f"{status['offers']['traded_wh'] / 1000:.2f} kWh"),
        ]
    )


def _device(name: str, item: Status) -> str:
    age = "never read" if item["age_s"] is None else f"read {_age(item['age_s'])} ago"
    tried = item["reads"] + item["failures"]
    note = f"{item['profile']}, {age}, {item['failures']} of {tried} failed"
    if not item["values"]:
        return _section(name, f"<p>{escape(str(item['problem']) or 'No value yet.')}</p>", note)
    phases = sorted({value["phase"] for value in item["values"]} | {0})
    titles = "".join(f'<th scope="col" class="n">L{phase}</th>' for phase in phases if phase)
    head = f'<tr><th></th><th scope="col" class="n">all</th>{titles}</tr>' if titles else ""
    cells: dict[str, dict[int, str]] = {}
    for value in item["values"]:
        cells.setdefault(str(value["quantity"]), {})[value["phase"]] = _shown(value)
    old = " old" if _is_old(item) else ""
    rows = "".join(
        f'<tr><th scope="row">{escape(_name(quantity))}</th>'
        + "".join(f'<td class="n{old}">{escape(by.get(phase, ""))}</td>' for phase in phases)
        + "</tr>"
        for quantity, by in cells.items()
    )
    return _section(name, f"<table>{head}{rows}</table>", note)


def _is_old(item: Status) -> bool:
    return item["age_s"] is None or item["age_s"] > STALE_S


def _name(quantity: str) -> str:
    """A quantity in words, without its unit."""
    for ending in SCALES:
        if quantity.endswith(ending):
            quantity = quantity[: -len(ending)] + ("factor" if "factor" in ending else "")
            break
    return quantity.replace("_", " ")


def _label(value: Status) -> str:
    """A value's name in a sentence."""
    return _name(str(value["quantity"])) + (f" L{value['phase']}" if value["phase"] else "")


def _shown(value: Status) -> str:
    number, name = value["value"], str(value["quantity"])
    if number is None:
        return "not available"
    mark = "" if value["quality"] == "GOOD" else f" ({str(value['quality']).lower()})"
    for ending, (divisor, unit, decimals) in SCALES.items():
        if name.endswith(ending):
            return f"{number / divisor:.{decimals}f} {unit}".rstrip() + mark
    return f"{number}{mark}"


def _age(seconds: int) -> str:
    """A time in the two largest units that it has."""
    for unit, size, rest, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // part} {rest}"
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"
