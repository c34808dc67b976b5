// Price and volume of the slots around now. The table beside it holds the same figures.
const SLOT_S = 900;
const HEIGHT_PX = 216;
const LEGEND_PX = 34;
const oneScreen = matchMedia("(min-width: 1101px) and (min-height: 760px)");
const ink = "#3c464d";
let chart = null;
let nowS = 0;
let currency = "";

export function drawMarket(body, page) {
  const rows = page.slots;
  const width = body.clientWidth;
  // The chart library comes last; the figures in the table do not wait for it.
  if (rows.length === 0 || width === 0 || !window.uPlot) return;
  // Where the page does not scroll, the panel has the height; elsewhere the chart makes it.
  const height = oneScreen.matches ? Math.max(120, body.clientHeight - LEGEND_PX) : HEIGHT_PX;
  nowS = page.state.nowMs / 1000;
  const series = columnsOf(rows);
  const money = page.state.values.currencies[page.zone] ?? "";
  if (chart !== null && currency !== money) {
    chart.destroy();
    chart = null;
  }
  currency = money;
  if (chart === null) chart = new uPlot(options(width, height), series, body);
  else {
    if (chart.width !== width || chart.height !== height) chart.setSize({ width, height });
    chart.setData(series);
  }
  // At rest the legend tells of the slot that is being delivered.
  if (chart.cursor.idx == null) chart.setLegend({ idx: Math.max(0, rows.findLastIndex((row) => row.starts_ms <= page.state.nowMs)) });
}

// Every quarter hour has its place, also where nobody traded; a last one closes the steps.
function columnsOf(rows) {
  const bySlot = new Map(rows.map((row) => [row.starts_ms / 1000, row]));
  const first = rows[0].starts_ms / 1000;
  const last = Math.max(rows.at(-1).starts_ms / 1000, first + 11 * SLOT_S);
  const columns = [[], [], []];
  let before = null;
  for (let at = first; at <= last + SLOT_S; at += SLOT_S) {
    const row = bySlot.get(at);
    const price = row?.trades ? row.price_micro_per_kwh / 1e6 : null;
    columns[0].push(at);
    columns[1].push(row ? row.volume_wh / 1000 : null);
    // A step ends where the next begins; where no next one is, at its own end.
    columns[2].push(price ?? before);
    before = price;
  }
  return columns;
}

const hours = (_, splits) => splits.map((s) => new Date(s * 1000).toISOString().slice(11, 16));
const axis = { stroke: ink, grid: { stroke: "#cbd0d3", width: 1 }, ticks: { stroke: "#b4b9bd", width: 1 }, font: "11px sans-serif", labelFont: "11px sans-serif", labelSize: 16, labelGap: 0 };
const incrs = [900, 1800, 3600, 7200, 14400, 21600];

function options(width, height) {
  return {
    width,
    height,
    padding: [8, 0, 0, 0],
    cursor: { drag: { setScale: false } },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    scales: {
      x: { range: (_, min, max) => [min, max] },
      kwh: { range: (_, __, max) => [0, (max || 1) * 1.1] },
      price: { range: (_, min, max) => [Math.floor((min ?? 0) * 2) / 2, Math.ceil(((max ?? 1) + 0.01) * 2) / 2] },
    },
    axes: [
      { ...axis, values: hours, incrs, space: 52, size: 32 },
      { ...axis, scale: "kwh", size: 40, label: "kWh" },
      { ...axis, scale: "price", side: 1, size: 44, grid: { show: false }, label: `${currency}/kWh` },
    ],
    series: [
      { label: "Slot UTC", value: (_, s) => (s == null ? "–" : hours(null, [s])[0]) },
      { label: "kWh traded", scale: "kwh", stroke: "#6f7c85", width: 1, fill: "#a4b1ba", paths: uPlot.paths.bars({ size: [0.86, 60], align: 1 }), points: { show: false }, value: figure(2) },
      { label: `${currency}/kWh`, scale: "price", stroke: "#1d4f7c", width: 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false }, value: figure(3) },
    ],
    hooks: { draw: [drawNow] },
  };
}

const figure = (digits) => (_, value) => (value == null ? "–" : value.toFixed(digits));

function drawNow(plot) {
  const { ctx, bbox } = plot;
  const x = Math.round(plot.valToPos(nowS, "x", true));
  if (x < bbox.left || x > bbox.left + bbox.width) return;
  ctx.save();
  ctx.strokeStyle = ink;
  ctx.setLineDash([4, 3]);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.restore();
}
