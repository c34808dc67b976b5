// Price and volume of the slots around now. The table beside it holds the same figures.
let chart = null;

export function drawMarket(body, data) {
  const rows = data.slots;
  const width = body.clientWidth;
  if (rows.length === 0 || width === 0) return;
  const series = [
    rows.map((row) => row.starts_ms / 1000),
    rows.map((row) => row.volume_wh / 1000),
    rows.map((row) => (row.trades ? row.price_micro_per_kwh / 1e6 : null)),
  ];
  if (chart === null) chart = new uPlot(options(width), series, body);
  else {
    if (chart.width !== width) chart.setSize({ width, height: 210 });
    chart.setData(series);
  }
}

const ink = "#4a545b";
const axis = { stroke: ink, grid: { stroke: "#cbd0d3" }, font: "11px sans-serif" };

function options(width) {
  return {
    width,
    height: 210,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    scales: { kwh: { range: (_, __, max) => [0, max || 1] }, price: { auto: true } },
    axes: [axis, { ...axis, scale: "kwh", size: 44 }, { ...axis, scale: "price", side: 1, size: 50, grid: { show: false } }],
    series: [
      { label: "Slot (UTC)" },
      { label: "kWh traded", scale: "kwh", stroke: "#87939b", fill: "#a4b1ba", paths: uPlot.paths.bars({ size: [0.8, 40] }), points: { show: false } },
      { label: "Last price per kWh", scale: "price", stroke: "#1d4f7c", width: 2, paths: uPlot.paths.stepped({ align: 1 }), spanGaps: true },
    ],
  };
}
