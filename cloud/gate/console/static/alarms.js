// The alarm list: most urgent first, except while somebody works in it. Then nothing moves: what is
// new waits below, and the heading says so.
import { html } from "/static/vendor/lit-html.js";
import { time, short } from "/static/format.js";
import { mark, table } from "/static/parts.js";
import { rowsOf } from "/static/wire.js";

const PRIORITIES = [1, 2, 3];
let order = [];
let waitingBelow = 0;

export function alarms(page, acknowledge) {
  const rows = ordered(rowsOf(page.state, "alarms"), isHeld());
  return table(
    "Alarms", [["Pri"], ["UTC"], ["Source"], ["Message"], ["Action"]], rows,
    (row) => html`<td>${mark(row.priority)}</td><td>${time(row.at_ms)}</td><td>${short(row.source)}</td>
      <td class="wrap ${row.acknowledged ? "seen" : ""}">${row.message}${row.count > 1 ? ` (${row.count}×)` : ""}</td>
      <td><button type="button" aria-disabled=${String(row.acknowledged || page.stale)}
        aria-label=${`${row.acknowledged ? "Acknowledged" : "Acknowledge"}: ${row.source}, ${row.message}`}
        @click=${() => row.acknowledged || page.stale || acknowledge(row.key)}>${row.acknowledged ? "Seen" : "Ack"}</button></td>`,
    "No alarms.",
  );
}

export function alarmsAge(page) {
  const { waiting, risen } = page.state.values.alarms;
  const counts = PRIORITIES.filter((priority) => waiting[priority - 1])
    .map((priority) => html`${mark(priority)} × ${waiting[priority - 1]}, `);
  return html`${waitingBelow ? html`<b>${waitingBelow} new below, list held</b> ` : ""}${counts.length ? counts : "none waiting, "}${risen} risen in 10 min`;
}

// Held while its rows have the focus or the pointer.
function isHeld() {
  const list = document.querySelector("#alarms tbody");
  return Boolean(list && (list.contains(document.activeElement) || list.matches(":hover")));
}

function ordered(rows, held) {
  const byKey = new Map(rows.map((row) => [row.key, row]));
  const urgent = rows
    .sort((a, b) => a.acknowledged - b.acknowledged || a.priority - b.priority || b.at_ms - a.at_ms)
    .map((row) => row.key);
  const kept = held ? order.filter((key) => byKey.has(key)) : [];
  const known = new Set(kept);
  order = [...kept, ...urgent.filter((key) => !known.has(key))];
  waitingBelow = held ? waitingBelow + order.length - kept.length : 0;
  return order.map((key) => byKey.get(key));
}
