// One function a panel: data in, template out. Rows are keyed, so that a focused button never
// becomes another row's button when new data comes.
import { html, nothing, svg } from "/static/vendor/lit-html.js";
import { repeat } from "/static/vendor/directives/repeat.js";
import { age, kilowattHours, kilowatts, percent, price, short, time, timeSeconds } from "/static/format.js";

const ROWS_SHOWN_MAX = 400;

const table = (label, heads, rows, key, cells, empty) =>
  rows.length === 0
    ? html`<p class="empty">${empty}</p>`
    : html`<div class="scroll" tabindex="0" role="region" aria-label=${label}>
        <table><thead><tr>${heads.map(([name, kind]) => html`<th scope="col" class=${kind ?? nothing}>${name}</th>`)}</tr></thead>
        <tbody>${repeat(rows, key, (row) => html`<tr>${cells(row)}</tr>`)}</tbody></table></div>`;
const n = (value) => html`<td class="n">${value}</td>`;

export function status(screen, ageMs) {
  const { data } = screen;
  if (!data) return html`<span>Connecting</span>`;
  return html`<span>Stream <b>${screen.stale ? `stale ${age(ageMs)}` : "live"}</b></span>
    <span>Time <b>${timeSeconds(data.now_ms)} UTC</b></span>
    <span>Online <b>${data.online}</b></span> <span>Silent <b>${data.silent}</b></span>
    <span>Trades <b>${data.totals.trades}</b></span>
    <span>Slots settled <b>${data.totals.slots_settled}</b></span>
    <span>Minted <b>${kilowattHours(data.totals.minted_wh)} kWh</b></span>`;
}

export function alarms(screen, acknowledge) {
  const open = screen.data.alarms
    .slice()
    .sort((a, b) => a.acknowledged - b.acknowledged || a.priority - b.priority || b.at_ms - a.at_ms);
  return table(
    "Alarms", [["Pri"], ["Time"], ["Source"], ["Message"], ["Action"]], open, (row) => row.key,
    (row) => html`<td><span class="mark p${row.priority}">${row.priority}</span></td>
      <td>${time(row.at_ms)}</td><td>${short(row.source)}</td>
      <td class="wrap ${row.acknowledged ? "seen" : ""}">${row.message}${row.count > 1 ? ` (${row.count}×)` : ""}</td>
      <td>${row.acknowledged
        ? html`<span class="seen">seen</span>`
        : html`<button ?disabled=${screen.stale} aria-label=${`Acknowledge: ${row.message}`}
            @click=${() => acknowledge(row.key)}>Ack</button>`}</td>`,
    "No alarms.",
  );
}

export function gateways(screen, setFilter) {
  const all = [...screen.gateways.values()].sort((a, b) => a.account.localeCompare(b.account));
  const rows = all.filter((row) => row.account.includes(screen.filter) || row.device.includes(screen.filter));
  const now = screen.data.now_ms;
  return html`<div class="filter"><label>Filter <input type="search" .value=${screen.filter} @input=${setFilter}></label>
      <span>${rows.length} of ${all.length}${rows.length > ROWS_SHOWN_MAX ? `, first ${ROWS_SHOWN_MAX} shown` : ""}</span></div>
    ${table(
      "Gateways",
      [["Home"], ["Node", "n"], ["PV kW", "n"], ["Load kW", "n"], ["Battery kW", "n"], ["Grid kW", "n"], ["SoC %", "n"], ["Batch", "n"], ["Age", "n"]],
      rows.slice(0, ROWS_SHOWN_MAX), (row) => row.device,
      (row) => html`<td title=${row.device}>${row.account}</td>${n(row.node)}${n(kilowatts(row.pv_w))}${n(kilowatts(row.load_w))}
        ${n(row.capacity_wh ? kilowatts(row.battery_w) : "–")}${n(kilowatts(row.grid_w))}
        ${n(row.capacity_wh ? percent(row.soc_per_mille) : "–")}${n(row.seq)}
        ${n(row.seen_ms ? age(now - row.seen_ms) : "never")}`,
      "No gateway matches.",
    )}`;
}

export function feeders(data) {
  const rows = data.feeders
    .map((row) => ({ ...row, share: row.limit_w ? Math.abs(row.power_w) / row.limit_w : 0 }))
    .sort((a, b) => b.share - a.share)
    .slice(0, 10);
  if (rows.length === 0) return html`<p class="empty">No gate has closed yet.</p>`;
  const height = 22;
  const scale = 260;
  return html`<svg viewBox="0 0 560 ${rows.length * height + 18}" role="img" aria-label="Feeder loading, most loaded first">
      ${rows.map((row, i) => {
        const y = i * height;
        const state = row.share > 1 ? "over" : row.share > 0.8 ? "near" : "";
        return svg`<text x="0" y=${y + 15}>${(row.name ?? `element ${row.element}`).slice(-22)}</text>
          <rect class="track" x="170" y=${y + 3} width=${scale} height="14"></rect>
          <rect class="bar ${state}" x="170" y=${y + 3} width=${Math.min(1.2, row.share) * scale} height="14"></rect>
          <text x="500" y=${y + 15}>${(row.share * 100).toFixed(0)} %${row.share > 1 ? " !" : ""}</text>`;
      })}
      <line class="limit" x1=${170 + scale} x2=${170 + scale} y1="0" y2=${rows.length * height}></line>
      <text class="quiet" x=${170 + scale - 36} y=${rows.length * height + 14}>limit</text></svg>
    <details><summary>As a table, slot ${time(rows[0].slot * 900000)}</summary>
    ${table("Feeders", [["Element"], ["kW", "n"], ["Limit kW", "n"], ["Loading %", "n"]], rows, (row) => row.element,
      (row) => html`<td>${row.name ?? row.element}</td>${n(kilowatts(row.power_w))}${n(kilowatts(row.limit_w))}${n((row.share * 100).toFixed(1))}`, "")}</details>`;
}

export function flow(data) {
  const { pv_w, battery_w, load_w, grid_w, at_ms } = data.flow;
  const widest = Math.max(1, ...[pv_w, battery_w, load_w, grid_w].map(Math.abs));
  const wire = (x1, y1, x2, y2, watts) =>
    svg`<line class="wire" x1=${x1} y1=${y1} x2=${x2} y2=${y2} stroke-width=${1 + (9 * Math.abs(watts)) / widest}></line>`;
  const box = (x, y, name, watts, word) => svg`<rect class="equipment" x=${x} y=${y} width="150" height="50"></rect>
    <text class="quiet" x=${x + 8} y=${y + 18}>${name}${word ? `, ${word}` : ""}</text>
    <text class="strong" x=${x + 8} y=${y + 40}>${kilowatts(watts)} kW</text>`;
  return html`<svg viewBox="0 0 560 140" role="img" aria-label="Energy flow of all homes">
    ${wire(170, 35, 280, 70, pv_w)}${wire(170, 105, 280, 70, battery_w)}${wire(280, 70, 390, 35, grid_w)}${wire(280, 70, 390, 105, load_w)}
    <circle class="equipment" cx="280" cy="70" r="11"></circle>
    ${box(20, 10, "PV", pv_w, "")}${box(20, 80, "Battery", battery_w, battery_w < 0 ? "charging" : "discharging")}
    ${box(390, 10, "Grid", grid_w, grid_w < 0 ? "feeding in" : "drawing")}${box(390, 80, "Homes", load_w, "")}</svg>
    <p class="empty">Newest reading ${at_ms ? age(data.now_ms - at_ms) : "not yet"} old.</p>`;
}

export const slots = (data) =>
  table(
    "Slots", [["Slot"], ["State"], ["Price", "n"], ["kWh", "n"], ["Delivered", "n"], ["AC max %", "n"]], data.slots, (row) => row.slot,
    (row) => html`<td>${time(row.starts_ms)}</td><td>${row.state}</td>${n(row.trades ? price(row.price_micro_per_kwh) : "–")}
      ${n(kilowattHours(row.volume_wh))}${n(row.state === "settled" ? kilowattHours(row.delivered_wh) : "–")}
      ${n(row.referee_per_mille === null ? "–" : percent(row.referee_per_mille))}`,
    "No offers yet.",
  );

export const bids = (data) =>
  table(
    "VPP bids", [["ISO"], ["Hour"], ["kW", "n"], ["$/MWh", "n"], ["Status"]], data.bids.slice().reverse(), (row) => row.bid_id,
    (row) => html`<td>${row.venue.toUpperCase()}</td><td>${time(row.starts_ms)}</td>
      ${n(((row.awarded_w ?? row.power_w) / 1000).toFixed(0))}${n((row.price_micro_per_mwh / 1e6).toFixed(2))}
      <td class="wrap">${row.state}${row.reason ? `: ${row.reason}` : ""}</td>`,
    "No bids yet.",
  );

export const blocks = (data) =>
  table(
    "Ledger blocks", [["#", "n"], ["Root"], ["Leaves", "n"], ["Time"]], data.blocks.slice().reverse(), (row) => row.number,
    (row) => html`${n(row.number)}<td title=${row.root}><code>${short(row.root)}</code></td>${n(row.size)}<td>${timeSeconds(row.at_ms)}</td>`,
    "No block yet.",
  );
