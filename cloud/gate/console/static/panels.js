// One function a panel: what the page knows in, template out.
import { html, svg } from "/static/vendor/lit-html.js";
import { age, kilo, money, percent, powerUnit, short, time, timeSeconds } from "/static/format.js";
import { mark, number, table } from "/static/parts.js";
import { rowsOf } from "/static/wire.js";

const SLOT_MS = 900_000;
const NEAR_SHARE = 0.8;
const FULL_PER_MILLE = 1000;

export const streamWords = (page, ageMs) => (page.stale ? html`<span>Stream <b class="bad">stale ${age(ageMs)}</b></span>` : html`<span>Stream <b>live</b></span>`);

export function status(page, zones, chooseZone) {
  const { fleet, totals } = page.state.values;
  return html`<span>Time <b>${timeSeconds(page.state.nowMs)} UTC</b>${page.speed > 1 ? ` at ${page.speed}×` : ""}</span>
    <span>Online <b>${fleet.online}</b></span> <span>Silent ${fleet.silent ? mark(3, "abnormal, priority 3") : ""} <b>${fleet.silent}</b></span>
    <span>Trades <b>${totals.trades}</b></span> <span>Settled slots <b>${totals.slots_settled}</b></span>
    <span>Minted <b>${kilo(totals.minted_wh)} kWh</b></span> <span>Burned <b>${kilo(totals.burned_wh)} kWh</b></span>
    <span>Conservation error ${totals.conservation_error_wh ? mark(1, "abnormal, priority 1") : ""} <b>${totals.conservation_error_wh} Wh</b></span>
    ${zones.length > 1 ? html`<label>Zone <select @change=${chooseZone}>${zones.map((zone) => html`<option ?selected=${zone === page.zone}>${zone}</option>`)}</select></label>` : ""}`;
}

export function feeders(page) {
  const rows = rowsOf(page.state, "feeders")
    .filter((row) => row.zone === page.zone)
    .map((row) => ({ ...row, share: row.limit_w ? Math.abs(row.power_w) / row.limit_w : 0 }))
    .sort((a, b) => b.share - a.share);
  const scale = 1.05 * Math.max(1.25, ...rows.map((row) => row.share));
  return table(
    "Feeders", [["Element"], ["Loading"], ["%", "n"], ["kW", "n"], ["Limit kW", "n extra"]], rows,
    (row) => html`<td class="wrap name">${row.name}</td><td class="gauge">${gauge(row.share / scale, 1 / scale, row.share)}</td>
      <td class="n">${row.share > 1 ? mark(2, "over the limit, priority 2") : ""} ${(row.share * 100).toFixed(0)}</td>
      ${number(kilo(row.power_w, 1))}${number(kilo(row.limit_w, 0), "extra")}`,
    "No gate has closed yet.",
  );
}

const gauge = (filled, limit, share) => html`<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
  <rect class="track" y="2" width="100" height="6"></rect>
  <rect class="bar ${share > 1 ? "over" : share > NEAR_SHARE ? "near" : ""}" y="2" width=${100 * filled} height="6"></rect>
  <line class="limit" x1=${100 * limit} x2=${100 * limit} y1="0" y2="10"></line></svg>`;

export function feedersAge(page) {
  const [row] = rowsOf(page.state, "feeders").filter((one) => one.zone === page.zone);
  return row ? `slot ${time(row.slot * SLOT_MS)}, ${age(page.state.nowMs - page.state.changedMs.feeders)} ago` : "";
}

export function flow(page) {
  const { pv_w, battery_w, load_w, grid_w } = page.state.values.fleet;
  const all = [pv_w, battery_w, load_w, grid_w];
  const unit = powerUnit(all);
  const widest = Math.max(1, ...all.map(Math.abs));
  const supply = Math.max(1, pv_w + Math.max(0, battery_w) + Math.max(0, grid_w));
  const box = (x, y, name, watts) => svg`<rect class="equipment" x=${x} y=${y} width="128" height="48"></rect>
    <text class="quiet" x=${x + 8} y=${y + 17}>${name}</text>
    <text class="strong" x=${x + 8} y=${y + 38}>${unit.of(watts)} ${unit.name}</text>
    <text class="quiet right" x=${x + 121} y=${y + 17}>${Math.round((100 * Math.abs(watts)) / supply)} %</text>`;
  // Positive towards the bus in the middle.
  const wire = (x, y, watts) => {
    const width = watts ? 1 + (7 * Math.abs(watts)) / widest : 0.5;
    const inward = watts > 0 === x < 190 ? 1 : -1;
    const at = (x + 190) / 2;
    return svg`<line class="wire" x1=${x} y1=${y} x2="190" y2=${y} stroke-width=${width}></line>
      ${watts ? svg`<path class="arrow" d="M${at - 7 * inward},${y - 8} l${14 * inward},8 l${-14 * inward},8 z"></path>` : ""}`;
  };
  return html`<svg class="flow" viewBox="0 0 380 116" role="img" aria-label="Energy flow of all homes: PV ${unit.of(pv_w)}, battery ${unit.of(battery_w)}, grid ${unit.of(grid_w)}, homes ${unit.of(load_w)} ${unit.name}">
      ${wire(132, 30, pv_w)}${wire(132, 86, battery_w)}${wire(248, 30, grid_w)}${wire(248, 86, -load_w)}
      <line class="bus" x1="190" x2="190" y1="10" y2="106"></line>
      ${box(4, 6, "PV", pv_w)}${box(4, 62, battery_w < 0 ? "Charging" : "Battery", battery_w)}
      ${box(248, 6, grid_w < 0 ? "Feed-in" : "Grid", grid_w)}${box(248, 62, "Homes", load_w)}</svg>`;
}

export function flowAge(page) {
  const { at_ms } = page.state.values.fleet;
  return at_ms ? `newest reading ${age(page.state.nowMs - at_ms)} old, % of supply` : "no reading yet";
}

export function slots(page) {
  const currency = page.state.values.currencies[page.zone] ?? "";
  return table(
    "Slots", [["Slot UTC"], ["State"], [`${currency}/kWh`, "n"], ["Sold kWh", "n"], ["Given kWh", "n spare"], ["AC %", "n"]], page.slots,
    (row) => html`<td class=${row.starts_ms <= page.state.nowMs && page.state.nowMs < row.starts_ms + SLOT_MS ? "now" : ""}>${time(row.starts_ms)}</td><td>${row.state}</td>
      ${number(row.trades ? money(row.price_micro_per_kwh, 3) : "–")}${number(kilo(row.volume_wh))}
      ${number(row.state === "settled" ? kilo(row.delivered_wh) : "–", "spare")}
      <td class="n">${row.referee_per_mille > FULL_PER_MILLE ? mark(2, "over the limit, priority 2") : ""} ${row.referee_per_mille === null ? "–" : percent(row.referee_per_mille)}</td>`,
    "No offers yet.",
  );
}

// The slot that is being delivered comes into sight when it begins, unless somebody reads there.
let shownSlot = null;
export function followNow(body, page) {
  const list = body.querySelector(".scroll");
  const now = page.slots.findLast((row) => row.starts_ms <= page.state.nowMs);
  if (!list || !now || now.key === shownSlot || list.matches(":hover, :focus")) return;
  shownSlot = now.key;
  const row = list.querySelector(".now");
  if (row) list.scrollTop = row.offsetTop - list.clientHeight / 3;
}

export const bids = (page) =>
  table(
    "VPP bids", [["ISO"], ["Hour UTC"], ["kW", "n"], ["USD/MWh", "n"], ["USD", "n"], ["Status"]],
    rowsOf(page.state, "bids").sort((a, b) => b.starts_ms - a.starts_ms),
    (row) => html`<td>${row.venue.toUpperCase()}</td><td>${time(row.starts_ms)}</td>
      ${number(kilo(row.awarded_w ?? row.power_w, 0))}${number(money(row.price_micro_per_mwh))}
      ${number(row.revenue_micro === null ? "–" : money(row.revenue_micro))}
      <td class="wrap">${row.state === "rejected" ? mark(2) : ""} ${row.state}${row.reason ? `: ${row.reason}` : ""}</td>`,
    "No bids yet. The desk bids when the homes' batteries are worth it.",
  );

export const blocks = (page) =>
  table(
    "Ledger blocks", [["Block", "n"], ["Root"], ["Leaves", "n"], ["UTC"]], rowsOf(page.state, "blocks").sort((a, b) => b.key - a.key),
    (row) => html`${number(row.key)}<td title=${row.root}><code>${short(row.root)}</code></td>${number(row.size)}<td>${timeSeconds(row.at_ms)}</td>`,
    "No block yet.",
  );

export function changedAge(page, name) {
  const changed = page.state.changedMs[name];
  return changed ? `changed ${age(page.state.nowMs - changed)} ago` : "";
}
