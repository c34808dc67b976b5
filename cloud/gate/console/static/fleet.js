// The gateways, as many as there are: only the rows in sight exist, here and on the wire.
import { html } from "/static/vendor/lit-html.js";
import { repeat } from "/static/vendor/directives/repeat.js";
import { age, kilo, percent } from "/static/format.js";
import { mark, number } from "/static/parts.js";
import { named } from "/static/wire.js";

const ROW_PX = 22;
const SPARE_ROWS = 4;
const SCROLL_ROWS = 40;
const ROWS_ASKED_MAX = 200;
const SILENT_MS = 300_000;
const HEADS = [
  ["Home", "account"], ["Node", "node", "extra"], ["PV kW", "pv_w"], ["Load kW", "load_w"], ["Bat. kW", "battery_w"],
  ["Grid kW", "grid_w"], ["SoC %", "soc_per_mille"], ["Batch", "seq", "extra"], ["Age", "seen_ms"],
];
const FIRST_DESCENDING = new Set(["pv_w", "load_w", "grid_w", "soc_per_mille", "seq"]);

const view = { text: "", silent: false, order: "account", descending: false };
const fleet = { rows: new Map(), matched: 0, total: 0, asking: false, again: false, redraw: () => {} };

export const startFleet = (redraw) => (fleet.redraw = redraw);

// Asks for what is in sight; one question at a time, the newest wish last.
export async function refreshFleet(spare = SPARE_ROWS) {
  if (fleet.asking) {
    fleet.again = true;
    return;
  }
  fleet.asking = true;
  try {
    await ask(spare);
  } catch (problem) {
    // No answer is told by the stream's age; the next tick asks again.
    if (!(problem instanceof TypeError)) throw problem;
  } finally {
    fleet.asking = false;
  }
  if (fleet.again) {
    fleet.again = false;
    await refreshFleet(SCROLL_ROWS);
  }
}

async function ask(spare) {
  const [from, to] = inSight(spare);
  const query = new URLSearchParams({ ...view, first: from, count: Math.min(to - from, ROWS_ASKED_MAX) });
  const answer = await fetch(`/api/gateways?${query}`);
  if (!answer.ok) return;
  const { total, matched, first, columns, rows } = await answer.json();
  Object.assign(fleet, { total, matched });
  fleet.rows = new Map(rows.map((row, at) => [first + at, named(columns, row)]));
  fleet.redraw();
}

function inSight(spare) {
  const box = document.querySelector("#gateways .scroll");
  const top = Math.floor((box?.scrollTop ?? 0) / ROW_PX);
  const height = Math.ceil((box?.clientHeight || 600) / ROW_PX);
  return [Math.max(0, top - spare), top + height + spare];
}

export function gateways(page) {
  const [from, to] = inSight(SPARE_ROWS);
  const positions = [];
  for (let at = from; at < Math.min(to, fleet.matched); at++) positions.push(at);
  const below = fleet.matched - from - positions.length;
  return html`<div class="filter"><label>Filter <input type="search" maxlength="64" .value=${view.text} @input=${(event) => wish({ text: event.target.value })}></label>
      <label><input type="checkbox" .checked=${view.silent} @change=${(event) => wish({ silent: event.target.checked })}> Silent only</label>
      <span class="count">${fleet.matched} of ${fleet.total}</span></div>
    <div class="scroll" tabindex="0" role="region" aria-label="Gateways" @scroll=${scrolled}>
      <table class="fleet" aria-rowcount=${fleet.matched + 1}><thead><tr>${HEADS.map(head)}</tr></thead>
      <tbody>${gap(from)}${repeat(positions, (at) => fleet.rows.get(at)?.device ?? at, (at) => line(fleet.rows.get(at), at, page.state.nowMs))}${gap(below)}</tbody></table>
      ${fleet.matched ? "" : html`<p class="empty">No gateway matches.</p>`}</div>`;
}

const gap = (rows) => (rows > 0 ? html`<tr class="gap" aria-hidden="true"><td colspan=${HEADS.length} .height=${String(rows * ROW_PX)}></td></tr>` : "");

const head = ([name, order, kind]) => {
  const sorted = view.order === order ? (view.descending ? "descending" : "ascending") : "none";
  return html`<th scope="col" class="${order === "account" ? "" : "n"} ${kind ?? ""}" aria-sort=${sorted}><button type="button" class="sort"
    @click=${() => wish({ order, descending: sorted === "none" ? FIRST_DESCENDING.has(order) : !view.descending })}>${name}<span
    aria-hidden="true">${{ ascending: " ▲", descending: " ▼", none: "" }[sorted]}</span></button></th>`;
};

function line(row, at, nowMs) {
  if (!row) return html`<tr aria-rowindex=${at + 2}><td colspan=${HEADS.length} class="seen">…</td></tr>`;
  const { capacity_wh: battery, seen_ms: seen } = row;
  const silent = nowMs - seen >= SILENT_MS;
  return html`<tr aria-rowindex=${at + 2}><td title=${row.device}>${row.account}</td>${number(row.node, "extra")}${number(kilo(row.pv_w))}${number(kilo(row.load_w))}
    ${number(battery ? kilo(row.battery_w) : "–")}${number(kilo(row.grid_w))}${number(battery ? percent(row.soc_per_mille) : "–")}${number(row.seq, "extra")}
    <td class="n">${silent ? mark(3, "silent, priority 3") : ""}${row.is_glimpse ? html`<span title="Shown ahead of the gateway's backlog; not yet in order">⇡</span>` : ""} ${seen ? age(nowMs - seen) : "never"}</td></tr>`;
}

function wish(change) {
  Object.assign(view, change);
  fleet.redraw();
  refreshFleet();
}

function scrolled() {
  const [from, to] = inSight(0);
  const known = fleet.rows.has(from) && fleet.rows.has(Math.min(to, fleet.matched) - 1);
  fleet.redraw();
  if (!known) refreshFleet(SCROLL_ROWS);
}
