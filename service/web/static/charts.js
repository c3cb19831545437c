// Line charts, each with a text summary for screen readers.
import uPlot from "./vendor/uplot.js";
import { html, useEffect, useRef } from "./lib.js";
import { number } from "./format.js";

const HEIGHT = 200;
const WHOLE_INCREMENTS = Array.from({ length: 24 }, (_, index) => [1, 2, 5][index % 3] * 10 ** Math.floor(index / 3));
const DASHES = [undefined, [6, 4], [2, 3], [9, 3, 2, 3]]; // distinguish overlaid lines without colours
const dark = matchMedia("(prefers-color-scheme: dark)");
export const COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6"];

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// lines: [{ label, points: [[x, y], ...], stepped, dashed }]; all x of all lines become one axis.
export function joined(lines) {
  const xs = [...new Set(lines.flatMap((line) => line.points.map(([x]) => x)))].sort((a, b) => a - b);
  const indexOf = new Map(xs.map((x, index) => [x, index]));
  const columns = lines.map((line) => {
    const column = new Array(xs.length).fill(null);
    for (const [x, y] of line.points) column[indexOf.get(x)] = y;
    return column;
  });
  return [xs, ...columns];
}

// A constant has no extent: room around it, not from 0 to 100.
function range(_, least, most) {
  if (least !== most || least === null) return uPlot.rangeNum(least, most, 0.1, true);
  const room = Math.abs(least) / 10 || 1;
  return [least - room, least + room];
}

function options(lines, width, xLabel, log) {
  const axis = { stroke: style("--muted"), grid: { stroke: style("--grid"), width: 1 }, ticks: { show: false } };
  return {
    width,
    height: HEIGHT,
    scales: { x: { time: false }, y: log ? { distr: 3 } : { range } },
    cursor: { points: { size: 6 }, sync: { key: "step" } },
    legend: { live: true },
    axes: [
      { ...axis, size: 30, label: xLabel, labelSize: 16, labelGap: -4, labelFont: "12px system-ui", incrs: xLabel === "step" ? WHOLE_INCREMENTS : undefined },
      { ...axis, size: (_, shown) => Math.max(60, ...(shown ?? []).map((tick) => 16 + 8 * tick.length)), values: (_, ticks, _axis, _space, incr) => ticks.map((tick) => (tick === null ? "" : tickText(tick, incr))) },
    ],
    series: [
      { label: xLabel, value: (_, value) => number(value) },
      ...lines.map((line, index) => ({
        label: line.label,
        stroke: style(COLOURS[index % COLOURS.length]),
        width: 1.6,
        dash: line.dashed ? [5, 4] : line.compared ? DASHES[index % DASHES.length] : undefined,
        spanGaps: true,
        paths: line.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
        points: { show: line.points.length < 30, size: 5 },
        value: (_, value) => number(value),
      })),
    ],
  };
}

// With as many digits as tell neighbours apart.
function tickText(tick, incr) {
  const digits = tick === 0 ? 1 : Math.ceil(Math.log10(Math.abs(tick) / incr) + 1.01);
  return number(tick, Math.min(7, Math.max(3, digits)));
}

function summary(line) {
  const values = line.points.map(([, y]) => y).filter((y) => y !== null);
  if (!values.length) return `${line.label}: nothing yet.`;
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  return `${line.label}: ${values.length} points, last ${number(values.at(-1))}, between ${number(low)} and ${number(high)}.`;
}

// A logarithm has no place for zero and less.
const positive = (lines) => lines.map((line) => ({ ...line, points: line.points.map(([x, y]) => [x, y > 0 ? y : null]) }));

// log: whether the values stand on a logarithmic axis.
export function Chart({ name, title, lines: given, xLabel = "step", log = false }) {
  const lines = log ? positive(given) : given;
  const box = useRef(null);
  const chart = useRef(null);
  const shown = lines.filter((line) => line.points.some(([, y]) => y !== null));
  const shape = shown.map((line) => [line.label, line.stepped, line.dashed, line.points.length < 30].join()).join("|");

  useEffect(() => {
    if (!shown.length) return undefined;
    const element = box.current;
    const draw = () => {
      chart.current?.destroy();
      chart.current = new uPlot(options(shown, element.clientWidth, xLabel, log), joined(shown), element);
      element.chart = chart.current; // lets tests and the console read the data
    };
    const fit = new ResizeObserver(() => chart.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    draw();
    fit.observe(element);
    dark.addEventListener("change", draw);
    return () => {
      fit.disconnect();
      dark.removeEventListener("change", draw);
      chart.current?.destroy();
      chart.current = null;
    };
  }, [shape, xLabel, log]);

  useEffect(() => {
    chart.current?.setData(joined(shown));
  }, [given]);

  if (!shown.length) return null;
  return html`<figure class="card chart">
    <figcaption>${title}</figcaption>
    <div ref=${box} data-chart=${name} role="img" aria-label=${`${title}. ${shown.map(summary).join(" ")}`}></div>
  </figure>`;
}

export const AXES = ["step", "epoch", "time"];
export const xTitle = (axis) => (axis === "time" ? "seconds" : axis);

// The place of a row on an axis of AXES.
export function position(axis, rows) {
  if (axis === "epoch") return (row) => row.epoch;
  if (axis === "time") return (row) => (new Date(row.time) - new Date(rows[0].time)) / 1000;
  return (row) => row.step;
}

// One line of a job's rows: [x, value of this name].
export function points(rows, name, x = (row) => row.step) {
  return rows.filter((row) => name in row.values).map((row) => [x(row), row.values[name]]);
}
