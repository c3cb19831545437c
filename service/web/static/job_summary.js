// What lists say of a job: its state, its metric, and what it waits for.
import { html } from "./lib.js";
import { duration, number, score, words } from "./format.js";
import { startsIn } from "./queue.js";

export const status = (name) => html`<span class=${`status ${name}`}>${name}</span>`;

// The metric that chose the published checkpoint, and its value there; of an evaluation, its value on the data.
export function best(job) {
  const name = job.best_metric?.name;
  const value = resultOf(job, name);
  return typeof value === "number" ? [name, value] : null;
}

export const resultOf = (job, name) => job.result?.[`${job.evaluates ? "test" : "eval"}_${name}`];

// Larger is better, whatever the metric's direction; jobs without a result are last.
export function goodness(job) {
  const value = best(job)?.[1];
  if (value === undefined) return -Infinity;
  return job.best_metric.direction === "min" ? -value : value;
}

// A metric as a task describes it: tasks share names, and some have titles of their own.
export function metricNamed(tasks, task, name) {
  const owns = (entry) => entry.metrics.find((metric) => metric.name === name);
  return tasks.filter((entry) => task === undefined || entry.name === task).map(owns).find(Boolean) ?? { name, title: words(name) };
}

// A metric's value with its unit.
export const shownScore = (tasks, job, name, value) => score(metricNamed(tasks, job.task, name), value);

// The devices that a job runs or ran on, with a kind that their names do not tell; else what it asks for.
export function devicesOf({ devices: asked = 1, device_kind: wanted, runs_on: used }) {
  if (!used?.length) return `${number(asked)} ${asked === 1 ? "device" : "devices"}${wanted ? ` (${wanted})` : ""}`;
  const kinds = [...new Set(used.map((device) => device.kind))].filter((kind) => kind !== used[0].name.split(":")[0]);
  return `${used.map((device) => device.name).join(", ")}${kinds.length ? ` (${kinds.join(", ")})` : ""}`;
}

// The line under a job's state: how far it is, why it waits, why it failed, or how long it took.
export function situation(job) {
  const { step, total_steps: total, eta_seconds: eta } = job.progress;
  const steps = `step ${number(step)} of ${number(total)}`;
  if (job.status === "queued") return waiting(job);
  if (job.status === "failed") return words(job.error?.code ?? "");
  if (job.status === "succeeded") return job.started_at && job.ended_at ? `took ${duration((new Date(job.ended_at) - new Date(job.started_at)) / 1000)}` : "";
  if (job.status === "cancelled") return step ? `after ${steps}` : "";
  return job.status === "running" && eta ? `${steps}, ${duration(eta)} left` : steps;
}

// queue: the place in the queue and why the job waits, from services that tell.
function waiting({ queue, devices = 1, device_kind: kind, priority }) {
  const parts = [
    queue?.place ? `place ${number(queue.place)}` : null,
    queue?.reason ?? null,
    queue ? startsIn(queue) : null,
    !queue?.reason && (devices > 1 || kind) ? `needs ${number(devices)} ${devices === 1 ? "device" : "devices"}${kind ? ` of kind ${kind}` : ""}` : null,
    priority ? `priority ${priority}` : null,
  ];
  return parts.filter(Boolean).join(", ");
}
