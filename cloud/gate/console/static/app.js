// The page's only state: what the aggregator told, and when. Draws it, and says when it grows old.
import { render } from "/static/vendor/lit-html.js";
import { alarms, alarmsAge } from "/static/alarms.js";
import { drawMarket } from "/static/charts.js";
import { gateways, refreshFleet, startFleet } from "/static/fleet.js";
import { age } from "/static/format.js";
import { bids, blocks, changedAge, feeders, feedersAge, flow, flowAge, followNow, slots, status, streamWords } from "/static/panels.js";
import { apply, newState, rowsOf } from "/static/wire.js";

const STALE_AFTER_MS = 2_500;
// Sooner where the connection is known to be gone.
const LOST_AFTER_MS = 1_500;
const WATCH_MS = 250;
const RECONNECT_MS = 1_000;
const SPEED_OVER_MS = 4_500;
const page = { state: newState(), zone: "", slots: [], receivedAt: 0, stale: true, lost: false, speed: 1, anchor: null };
const PANELS = {
  alarms: [() => alarms(page, acknowledge), () => alarmsAge(page)],
  gateways: [() => gateways(page), () => "each row has its age"],
  feeders: [() => feeders(page), () => feedersAge(page)],
  flow: [() => flow(page), () => flowAge(page)],
  slots: [() => slots(page), () => changedAge(page, "slots")],
  bids: [() => bids(page), () => changedAge(page, "bids")],
  blocks: [() => blocks(page), () => changedAge(page, "blocks")],
  market: [null, () => changedAge(page, "slots")],
};
const sections = new Map([...document.querySelectorAll("section")].map((section) => [section.id, section]));
const places = new Map(
  [...sections].map(([name, section]) => {
    const body = section.querySelector(".body");
    body.textContent = "";
    return [name, [body, section.querySelector(".age")]];
  }),
);

function receive(text) {
  const message = JSON.parse(text);
  apply(page.state, message);
  page.receivedAt = performance.now();
  page.lost = false;
  // The first message tells of the last tick, which may be a second old.
  if (!message.columns) measureSpeed();
  draw();
  if (!document.hidden) refreshFleet();
}

// How fast the aggregator's clock runs: in a demo faster than the wall's, and ages with it.
function measureSpeed() {
  const { nowMs } = page.state;
  const elapsed = page.anchor ? page.receivedAt - page.anchor.at : 0;
  if (elapsed > SPEED_OVER_MS) page.speed = Math.round((nowMs - page.anchor.nowMs) / elapsed);
  if (!page.anchor || elapsed > SPEED_OVER_MS) page.anchor = { nowMs, at: page.receivedAt };
}

function draw() {
  watch();
  if (!page.state.columns) return;
  const zones = Object.keys(page.state.values.currencies);
  const found = rowsOf(page.state, "slots");
  page.zone ||= zones[0] ?? found[0]?.zone ?? "";
  page.slots = found.filter((row) => row.zone === page.zone).sort((a, b) => a.starts_ms - b.starts_ms);
  render(status(page, zones, chooseZone), document.getElementById("status"));
  for (const [name, [panel, told]] of Object.entries(PANELS)) {
    const [body, heading] = places.get(name);
    if (panel) render(panel(), body);
    render(told(), heading);
  }
  followNow(places.get("slots")[0], page);
  if (!document.hidden) drawMarket(places.get("market")[0], page);
  const waiting = page.state.values.alarms.waiting.reduce((sum, count) => sum + count, 0);
  document.title = `${waiting ? `(${waiting}) ` : ""}GridTokenX operator console`;
}

// Runs also when nothing comes: that is when it matters.
function watch() {
  const ageMs = performance.now() - page.receivedAt;
  const was = page.stale;
  page.stale = !page.state.columns || ageMs > (page.lost ? LOST_AFTER_MS : STALE_AFTER_MS);
  document.body.classList.toggle("stale", page.stale);
  for (const section of sections.values()) section.dataset.stale = page.state.columns ? `stale ${age(ageMs)}` : "no data yet";
  render(streamWords(page, ageMs), document.getElementById("stream"));
  return was !== page.stale;
}

function drawGateways() {
  if (page.state.columns) render(gateways(page), places.get("gateways")[0]);
}

function chooseZone(event) {
  page.zone = event.target.value;
  draw();
}

async function acknowledge(key) {
  try {
    await fetch("/api/alarms/acknowledge", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-GridTokenX": "console" },
      body: JSON.stringify({ key }),
    });
  } catch (problem) {
    // Not reached: the alarm stays as it is, and the stream's age tells why.
    if (!(problem instanceof TypeError)) throw problem;
  }
}

function connect() {
  const stream = new EventSource("/api/stream");
  stream.onmessage = (event) => receive(event.data);
  // The browser's own retry gives up on some errors; a new stream does not.
  stream.onerror = () => {
    stream.close();
    page.lost = true;
    setTimeout(connect, RECONNECT_MS);
  };
}

document.getElementById("stream").textContent = "";
startFleet(drawGateways);
new ResizeObserver(draw).observe(document.getElementById("screen"));
connect();
refreshFleet();
setInterval(() => watch() && draw(), WATCH_MS);
