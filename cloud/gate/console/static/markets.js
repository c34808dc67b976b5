// The wholesale page: markets, limits, prices beside their forecast, bids and statements.
// Asks the REST routes, and again when the news stream says that something happened.
import { html, nothing, render, svg } from "/static/vendor/lit-html.js";
import { age, kilo, money, time } from "/static/format.js";
import { mark, number, table } from "/static/parts.js";

const NS_PER_MS = 1e6;
const HOUR_MS = 3_600_000;
const PERIOD_MS = 5_000;
const STALE_AFTER_MS = 15_000;
const SOON_MS = 300;
const WIDTH = 1000;
const HEIGHT = 190;
const HOURS_SHOWN = 24;
const ISOS = ["caiso", "pjm"];
const page = { markets: [], bids: [], settlements: [], days: {}, risk: null, prices: {}, forecast: {}, receivedAt: 0, asking: false, lost: true };
const sections = new Map([...document.querySelectorAll("section")].map((one) => [one.id, one]));
for (const section of sections.values()) section.querySelector(".body").textContent = "";

const ms = (ns) => Math.round(ns / NS_PER_MS);

async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: HTTP ${answer.status}`);
  return answer.json();
}

// Whole or not at all: a page of which one half is older than the other misleads.
async function refresh() {
  if (page.asking || document.hidden) return;
  page.asking = true;
  try {
    const [markets, bids, settlements, risk] = await Promise.all(["/api/markets", "/api/bids", "/api/settlements", "/api/risk"].map(ask));
    const prices = await Promise.all(ISOS.map((iso) => ask(`/api/markets/${iso}/prices`)));
    const forecast = await Promise.all(ISOS.map((iso) => ask(`/api/forecast?iso=${iso}&hours=12`)));
    const newest = settlements.slice(-8);
    const days = await Promise.all(newest.map((one) => ask(`/api/settlements/${one.iso}/${one.day}`)));
    Object.assign(page, { markets, bids, settlements: days, risk, receivedAt: performance.now() });
    ISOS.forEach((iso, at) => Object.assign(page, { prices: { ...page.prices, [iso]: prices[at] }, forecast: { ...page.forecast, [iso]: forecast[at] } }));
  } catch (problem) {
    // Not reached: what is shown keeps its age and is marked stale.
    if (!(problem instanceof TypeError) && !/HTTP/.test(problem.message)) throw problem;
  } finally {
    page.asking = false;
  }
  draw();
}

const isos = () =>
  table(
    "Markets", [["ISO"], ["Node", "spare"], ["Next gate UTC"], ["Newest price", "n"], ["Missing today", "n"]],
    page.markets.map((one) => ({ key: one.iso, ...one })),
    (one) => html`<td>${one.iso.toUpperCase()}</td><td class="spare">${one.node}</td><td>${time(ms(one.next_gate_ns))}</td>
      <td class="n">${one.is_stale ? mark(3, "stale, priority 3") : ""} ${one.price_age_ns === null ? "none yet" : `${age(Math.max(0, ms(one.price_age_ns)))} old`}</td>
      <td class="n">${one.missing_intervals ? mark(3, "missing, priority 3") : ""} ${one.missing_intervals}</td>`,
    "No market.",
  );

const limit = (name, used, of) => html`<dt>${name}</dt><dd>${used}</dd><dd class="of">${of}</dd>`;

function risk() {
  const one = page.risk;
  if (!one) return nothing;
  const no = "no limit";
  return html`<dl>
    ${limit("Trading", one.is_halted ? html`${mark(1, "halted, priority 1")} halted` : one.is_open ? "on" : "not open", "")}
    ${limit("Power an interval, kW", "", kilo(one.power_max_w, 0))}
    ${limit("Exposure a day, USD", "", money(one.exposure_max_micro, 0))}
    ${limit("Strayed, kWh", kilo(one.deviation_wh), one.deviation_max_wh ? `of ${kilo(one.deviation_max_wh)}` : no)}
    ${limit("Earned, USD", money(one.revenue_micro), one.loss_max_micro ? `loss to ${money(one.loss_max_micro)}` : no)}
    ${limit("State of charge, %", "", `${one.soc_min_per_mille / 10} to ${one.soc_max_per_mille / 10}`)}
  </dl>`;
}

function chart(iso) {
  const rows = page.prices[iso]?.prices ?? [];
  const forecast = page.forecast[iso];
  if (!rows.length || !forecast) return html`<p class="empty">No price yet.</p>`;
  const from = ms(forecast.starts_ns) - (HOURS_SHOWN - 12) * HOUR_MS;
  const to = from + HOURS_SHOWN * HOUR_MS;
  const ahead = forecast.price_micro_per_mwh.map((price, at) => [ms(forecast.starts_ns) + at * HOUR_MS, price]).filter(([, price]) => price !== null);
  const shown = rows.filter((one) => ms(one.ends_ns) > from && ms(one.starts_ns) < to);
  const values = [0, ...shown.map((one) => one.price_micro_per_mwh), ...ahead.map(([, price]) => price)];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (at) => (WIDTH * (Math.min(Math.max(at, from), to) - from)) / (to - from);
  const y = (price) => HEIGHT - 8 - ((HEIGHT - 16) * (price - low)) / Math.max(1, high - low);
  // A price holds until the next: steps, never a slope; a gap stays a gap.
  const steps = shown.map((one, at) => {
    const joined = at > 0 && shown[at - 1].ends_ns === one.starts_ns;
    return `${joined ? "L" : "M"}${x(ms(one.starts_ns))},${y(one.price_micro_per_mwh)} H${x(ms(one.ends_ns))}`;
  });
  const path = ahead.map(([at, price], index) => `${index ? "L" : "M"}${x(at)},${y(price)} H${x(at + HOUR_MS)}`);
  const newest = shown.at(-1);
  const hours = Array.from({ length: 5 }, (_, at) => time(from + (at * (to - from)) / 4));
  const label = `${iso.toUpperCase()}: newest price ${money(newest?.price_micro_per_mwh ?? 0)}, lowest ${money(low)}, highest ${money(high)} dollars per MWh`;
  return html`<svg class="chart" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label=${label}>
      ${svg`<line class="zero" x1="0" x2=${WIDTH} y1=${y(0)} y2=${y(0)}></line>
        <path class="ahead" d=${path.join(" ")}></path><path class="real" d=${steps.join(" ")}></path>`}</svg>
    <p class="ticks" aria-hidden="true">${hours.map((one) => html`<span>${one}</span>`)}</p>
    <p class="legend"><span>— real time ${newest ? money(newest.price_micro_per_mwh) : "–"}</span><span>- - forecast</span><span>lowest ${money(low)}, highest ${money(high)}</span></p>`;
}

function curveOf(one) {
  const sells = one.curve.filter((step) => step.power_w > 0);
  const buys = one.curve.filter((step) => step.power_w < 0);
  return `${buys.length ? kilo(buys[0].power_w, 0) : 0} to ${sells.length ? kilo(sells.at(-1).power_w, 0) : 0}`;
}

const bids = () =>
  table(
    "Bids", [["ISO"], ["Hour UTC"], ["State"], ["kW", "n"], ["Steps", "n extra"], ["Earned USD", "n"], ["Stated USD", "n spare"]],
    page.bids.map((one) => ({ key: one.bid_id, ...one })).reverse(),
    (one) => html`<td>${one.iso.toUpperCase()}</td><td>${time(ms(one.starts_ns))}</td>
      <td class="wrap">${one.state === "rejected" ? mark(2, "rejected, priority 2") : ""} ${one.state}${one.reason ? `: ${one.reason}` : ""}</td>
      ${number(curveOf(one))}${number(one.curve.length, "extra")}
      ${number(one.awards ? money(one.revenue_micro) : "–")}${number(one.statement ? money(one.statement.amount_micro) : "–", "spare")}`,
    "No bids yet. The desk bids when the homes' batteries are worth it.",
  );

const cents = (value) => money(value * 10_000);
const statements = () =>
  table(
    "Statements", [["ISO"], ["Day"], ["Version", "n"], ["Stated USD", "n"], ["Ours USD", "n spare"], ["Apart USD", "n"], ["Disputes", "n"]],
    page.settlements.map((one) => ({ key: `${one.iso}/${one.day}`, ...one })).reverse(),
    (one) => html`<td>${one.iso.toUpperCase()}</td><td>${one.day}</td>${number(one.versions.at(-1))}${number(cents(one.stated_cents))}
      ${number(cents(one.expected_cents), "spare")}<td class="n">${one.difference_cents ? mark(2, "apart, priority 2") : ""} ${cents(one.difference_cents)}</td>${number(one.disputes.length)}`,
    "No statement yet. Send one to /api/settlements/reconcile.",
  );

const PANELS = { isos, risk, caiso: () => chart("caiso"), pjm: () => chart("pjm"), bids, settlements: statements };

function draw() {
  const ageMs = performance.now() - page.receivedAt;
  const stale = !page.receivedAt || ageMs > STALE_AFTER_MS;
  document.body.classList.toggle("stale", stale);
  document.getElementById("stream").textContent = page.receivedAt ? `${stale ? "Stale, " : ""}read ${age(ageMs)} ago${page.lost ? ", news not connected" : ""}` : "Connecting";
  for (const [name, section] of sections) {
    section.dataset.stale = page.receivedAt ? `stale ${age(ageMs)}` : "no data yet";
    if (page.receivedAt) render(PANELS[name](), section.querySelector(".body"));
  }
}

let soon = 0;
function changed() {
  clearTimeout(soon);
  soon = setTimeout(refresh, SOON_MS);
}

const KINDS = ["BidPrepared", "BidHeldBack", "BidSubmitted", "BidAnswered", "BidCancelled", "Awarded", "AwardMetered", "BidSettled", "DeskHalted", "Alert"];
function connect() {
  const stream = new EventSource("/api/markets/stream");
  stream.onopen = () => { page.lost = false; };
  for (const kind of KINDS) stream.addEventListener(kind, changed);
  stream.onerror = () => {
    stream.close();
    page.lost = true;
    setTimeout(connect, PERIOD_MS);
  };
}

connect();
refresh();
setInterval(refresh, PERIOD_MS);
setInterval(draw, 1_000);
document.addEventListener("visibilitychange", refresh);
