// The page's only state: the newest screen as the aggregator sent it, and when it came.
import { render } from "/static/vendor/lit-html.js";
import { drawMarket } from "/static/charts.js";
import { alarms, bids, blocks, feeders, flow, gateways, slots, status } from "/static/panels.js";

const STALE_AFTER_MS = 3000;
const RECONNECT_MS = 1000;
const screen = { gateways: new Map(), filter: "", receivedAt: 0, stale: false, data: null };
const bodies = new Map(
  [...document.querySelectorAll("section")].map((section) => {
    const body = section.querySelector(".body");
    body.textContent = "";
    return [section.id, body];
  }),
);

function receive(message) {
  const data = JSON.parse(message);
  if (data.complete) screen.gateways.clear();
  for (const row of data.gateways) screen.gateways.set(row.device, row);
  screen.data = data;
  screen.receivedAt = performance.now();
  draw();
}

function draw() {
  const { data } = screen;
  const ageMs = performance.now() - screen.receivedAt;
  screen.stale = !data || ageMs > STALE_AFTER_MS;
  document.body.classList.toggle("stale", screen.stale);
  for (const section of document.querySelectorAll("section")) {
    section.dataset.stale = data ? `stale ${Math.floor(ageMs / 1000)} s` : "no data yet";
  }
  render(status(screen, ageMs), document.getElementById("status"));
  if (!data) return;
  render(alarms(screen, acknowledge), bodies.get("alarms"));
  render(gateways(screen, setFilter), bodies.get("gateways"));
  render(feeders(data), bodies.get("feeders"));
  render(flow(data), bodies.get("flow"));
  render(slots(data), bodies.get("slots"));
  render(bids(data), bodies.get("bids"));
  render(blocks(data), bodies.get("blocks"));
  if (!screen.stale) drawMarket(bodies.get("market"), data);
}

function setFilter(event) {
  screen.filter = event.target.value.toLowerCase();
  draw();
}

async function acknowledge(key) {
  await fetch("/api/alarms/acknowledge", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-GridTokenX": "console" },
    body: JSON.stringify({ key }),
  });
}

function connect() {
  const stream = new EventSource("/api/stream");
  stream.onmessage = (event) => receive(event.data);
  // The browser's own retry gives up on some errors; a new stream does not.
  stream.onerror = () => {
    stream.close();
    setTimeout(connect, RECONNECT_MS);
  };
}

connect();
setInterval(draw, 1000);
