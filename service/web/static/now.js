// What a job that has not ended is doing: its phase, how far it is, and its newest numbers.
import { html, useState } from "./lib.js";
import { get, orNull } from "./api.js";
import { bytes, duration, number, score, words } from "./format.js";
import { useEvery, useList } from "./live.js";
import { expectedStart } from "./queue.js";
import { metricOf, useTasks } from "./tasks.js";

const QUEUE_SECONDS = 5;
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

// The place of a waiting job in the queue, which changes with other jobs: no event of its own tells.
function usePlace({ id, status, queue }) {
  const [place, setPlace] = useState(queue ?? null);
  const waits = status === "queued";
  useEvery(QUEUE_SECONDS, async () => setPlace(waits ? ((await orNull(get(`/jobs/${id}`)))?.queue ?? null) : null), [id, status]);
  return waits ? place : null;
}

// Step, steps and seconds left of what is trained: of a contender its own, not those of the job's training, which has ended.
export function positionOf({ progress }) {
  const { step, total_steps: total, eta_seconds: eta, contender } = progress;
  return contender ? { step: contender.step, total: contender.steps, eta: contender.eta_seconds } : { step, total, eta };
}

// The use of the device: of a GPU, else of the process on the CPU.
function useOf(last) {
  const gpu = last("gpu_memory_bytes");
  const memory = gpu ?? last("process_memory_bytes") ?? last("memory_bytes");
  const share = gpu === undefined ? ["CPU (100 % is a core)", last("cpu_percent")] : ["GPU", last("gpu_percent")];
  return [
    ...(memory === undefined ? [] : [[gpu === undefined ? "Memory" : "Memory of the GPU", bytes(memory)]]),
    ...(share[1] === undefined ? [] : [[share[0], `${number(share[1], 3)} %`]]),
  ];
}

export function Now({ job, rows, before }) {
  const tasks = useTasks();
  const phase = useList(job, "phases").at(-1);
  const queue = usePlace(job);
  const { contender } = job.progress;
  const { step, total, eta } = positionOf(job);
  const last = (kind, name) => rows.findLast((row) => row.kind === kind && typeof row.values[name] === "number")?.values[name];
  const metric = metricOf(tasks, job);
  const evaluated = metric && last("eval", `eval_${metric.name}`);
  const doing = contender ? `Trains the contender ${contender.contender}` : job.status === "running" ? (PHASES[phase?.phase] ?? "Runs") : STATES[job.status];
  const numbers = [
    ["Training loss", number(last("train", "loss"))],
    ...(metric ? [[metric.title, evaluated === undefined ? "–" : score(metric, evaluated)]] : []),
    ...(before === undefined ? [] : [["Before training", score(metric ?? {}, before)]]),
    ["Rows per second", number(last("train", "samples_per_second"), 3)],
    ...useOf((name) => last("train", name)),
  ];
  return html`<section class="card now" aria-labelledby="now">
    <h2 id="now" class="visually-hidden">Now</h2>
    <p class="headline"><strong>${doing}</strong> <span class="muted">step ${number(step)} of ${number(total)}${job.status === "running" && eta ? `, about ${duration(eta)} left` : ""}</span></p>
    ${queue ? html`<p>${queue.place ? `Place ${number(queue.place)} in the queue: ` : ""}${queue.reason}. <span class="muted">${expectedStart(queue)}</span></p>` : null}
    ${rows.length && !contender ? html`<dl class="facts">${numbers.map(([name, value]) => html`<div key=${name}><dt>${words(name)}</dt><dd class="large">${value}</dd></div>`)}</dl>` : null}
  </section>`;
}
