// Charts of a job's metrics, by step, epoch or time.
import { html, useState } from "./lib.js";
import { words } from "./format.js";
import { AXES, Chart, points, position, xTitle } from "./charts.js";

const REASONS = { queued: "The job is queued.", running: "Model and data are loading." };

export function Learning({ job, rows, folded = false }) {
  const [view, setView] = useState({ axis: "step", log: false, smooth: 0 });
  return html`<section aria-labelledby="curves">
    <h2 id="curves">Learning</h2>
    ${rows === null ? html`<p class="muted" role="status">Loading…</p>` : null}
    ${rows?.length === 0 ? html`<p class="muted">No metrics yet. ${REASONS[job.status]}</p>` : null}
    ${rows?.length ? html`<${Controls} view=${view} set=${(changed) => setView({ ...view, ...changed })} /><${Curves} rows=${rows} view=${view} folded=${folded} />` : null}
  </section>`;
}

function Controls({ view, set }) {
  return html`<div class="row controls">
    <label>By <select id="learning-axis" value=${view.axis} onChange=${(event) => set({ axis: event.target.value })}>${AXES.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
    <label><input type="checkbox" checked=${view.log} onChange=${(event) => set({ log: event.target.checked })} /> logarithmic</label>
    <label class="smooth">Smoothing <input type="range" min="0" max="0.95" step="0.05" value=${view.smooth} onInput=${(event) => set({ smooth: Number(event.target.value) })} /></label>
  </div>`;
}

// Exponential moving average, started without bias to zero.
export function smoothed(line, weight) {
  let sum = 0;
  let total = 0;
  return line.map(([x, y]) => {
    if (y === null) return [x, y];
    sum = weight * sum + (1 - weight) * y;
    total = weight * total + (1 - weight);
    return [x, sum / total];
  });
}

function Curves({ rows, view, folded }) {
  const x = position(view.axis, rows);
  const train = rows.filter((row) => row.kind === "train");
  const has = (name) => train.some((row) => row.values[name] !== undefined);
  const line = (name, label = words(name)) => ({ label, points: points(train, name, x) });
  const inGigabytes = ([place, value]) => [place, value === null ? null : value / 1e9];
  const loss = line("loss", "training");
  const average = view.smooth ? [{ label: "training, smoothed", points: smoothed(loss.points, view.smooth) }] : [];
  const chart = (name, title, lines) => html`<${Chart} key=${name} name=${name} title=${title} lines=${lines} xLabel=${xTitle(view.axis)} log=${view.log} />`;
  const further = html`<div class="charts">
    ${chart("learning_rate", "Learning rate", [line("learning_rate")])}
    ${chart("grad_norm", "Gradient norm", [line("grad_norm")])}
    ${chart("throughput", "Rows per second", [line("samples_per_second", "rows")])}
    ${chart("tokens", "Tokens per second", [line("tokens_per_second", "tokens")])}
    ${chart("memory", "Memory (GB)", MEMORY.filter(([name]) => has(name)).map(([name, label]) => ({ label, points: points(train, name, x).map(inGigabytes) })))}
    ${has("cpu_percent") ? chart("load", "Use of the machine (%)", [line("cpu_percent", "CPU (100 is a core)"), ...(has("gpu_percent") ? [line("gpu_percent", "GPU")] : [])]) : null}
  </div>`;
  return html`<div class="charts">
      ${chart("loss", "Loss", [loss, ...average, { label: "evaluation", points: points(rows, "eval_loss", x) }])}
      ${scoreCharts(rows, x).map(([name, title, lines]) => chart(name, title, lines))}
    </div>
    <details open=${!folded}><summary>Rate, gradient, speed and use of the machine</summary>${further}</details>`;
}

const MEMORY = [["memory_bytes", "peak"], ["process_memory_bytes", "process"], ["gpu_memory_bytes", "GPU"]];

// Scores of at most 1 share a chart; others have charts of their own, as their sizes differ.
function scoreCharts(rows, x) {
  const names = [...new Set(rows.filter((row) => row.kind === "eval").flatMap((row) => Object.keys(row.values)))];
  const scores = names.filter((name) => name !== "eval_loss" && !/second|rows|examples/.test(name));
  const lines = scores.map((name) => ({ name, label: words(name.replace("eval_", "")), points: points(rows, name, x) }));
  const large = ({ points: all }) => all.some(([, value]) => Math.abs(value) > 1);
  const small = lines.filter((line) => !large(line)).slice(0, 6);
  const title = (label) => label[0].toUpperCase() + label.slice(1);
  return [...(small.length ? [["scores", "Evaluation", small]] : []), ...lines.filter(large).map((line) => [line.name, title(line.label), [line]])];
}
