// What a job that has not ended is doing: its phase, how far it is, and its newest numbers.
import { html } from "./lib.js";
import { duration, number, score, words } from "./format.js";
import { useList } from "./live.js";
import { expectedStart } from "./queue.js";
import { metricOf, useTasks } from "./tasks.js";

const STATES = {
  queued: "Waits for a worker",
  pausing: "Writes a checkpoint, then pauses",
  paused: "Paused at its last checkpoint",
  cancelling: "Is being cancelled",
};
const PHASES = {
  starting: "Starts its process",
  fetching_model: "Fetches the base model",
  fetching: "Fetches its files to this host",
  loading: "Loads rows and base model",
  tokenising: "Encodes the rows",
  decomposing: "Decomposes the weights",
  restoring: "Loads its last checkpoint",
  calibrating: "Takes the basis from training rows",
  training: "Trains",
  evaluating: "Evaluates the model",
  publishing: "Writes the artifacts",
  verifying: "Checks the written artifacts",
  comparing: "Trains the contenders",
};

export function Now({ job, rows, before }) {
  const tasks = useTasks();
  const phase = useList(job, "phases").at(-1);
  const { step, total_steps: total, eta_seconds: eta, contender } = job.progress;
  const last = (kind, name) => rows.findLast((row) => row.kind === kind && typeof row.values[name] === "number")?.values[name];
  const metric = metricOf(tasks, job);
  const evaluated = metric && last("eval", `eval_${metric.name}`);
  const doing = contender ? `Trains the contender ${contender.contender}: step ${number(contender.step)} of ${number(contender.steps)}` : job.status === "running" ? (PHASES[phase?.phase] ?? "Runs") : STATES[job.status];
  const numbers = [
    ["Training loss", number(last("train", "loss"))],
    ...(metric ? [[metric.title, evaluated === undefined ? "–" : score(metric, evaluated)]] : []),
    ...(before === undefined ? [] : [["Before training", score(metric ?? {}, before)]]),
    ["Rows per second", number(last("train", "samples_per_second"), 3)],
  ];
  return html`<section class="card now" aria-labelledby="now">
    <h2 id="now" class="visually-hidden">Now</h2>
    <p class="headline"><strong>${doing}</strong> <span class="muted">step ${number(step)} of ${number(total)}${job.status === "running" && eta ? `, about ${duration(eta)} left` : ""}</span></p>
    ${job.queue ? html`<p>${job.queue.place ? `Place ${number(job.queue.place)} in the queue: ` : ""}${job.queue.reason}. <span class="muted">${expectedStart(job.queue)}</span></p>` : null}
    ${rows.length ? html`<dl class="facts">${numbers.map(([name, value]) => html`<div key=${name}><dt>${words(name)}</dt><dd class="large">${value}</dd></div>`)}</dl>` : null}
  </section>`;
}
