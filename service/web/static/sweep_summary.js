// What lists say of a sweep: its state, its trials and the best of them.
import { html, useState } from "./lib.js";
import { get } from "./api.js";
import { number, score, words } from "./format.js";
import { metricNamed, status } from "./job_summary.js";
import { useEvery } from "./live.js";
import { useTasks } from "./tasks.js";

export const GOING = ["running", "paused"]; // states of a sweep that has not ended
const SECONDS = 5;

// The name of a field without its block, where no other path ends in the same one.
export function shortNames(paths) {
  const last = (path) => path.split(".").at(-1);
  return Object.fromEntries(paths.map((path) => [path, paths.filter((other) => last(other) === last(path)).length > 1 ? path : words(last(path))]));
}

// A field's value as people read it; a list or null as JSON.
export const shownValue = (value) => (typeof value === "number" ? number(value) : typeof value === "string" ? value : JSON.stringify(value));

// The objective as the sweep's task describes it.
export const objectiveOf = (tasks, sweep) => metricNamed(tasks, sweep.request?.spec.task, sweep.objective);

// A trial's objective, with its standard error over seeds.
export function shownObjective(metric, { value, error }) {
  if (value === null) return "–";
  return error === null ? score(metric, value) : `${score(metric, value)} ± ${score(metric, error)}`.replaceAll(" ", "\u00a0");
}

export function counted({ counts }) {
  const parts = Object.entries(counts).map(([state, count]) => `${number(count)} ${state === "stopped" ? "stopped early" : state}`);
  return parts.join(", ");
}

// The values of a trial in one line.
export function chosen({ params }) {
  const names = shortNames(Object.keys(params));
  return Object.entries(params).map(([path, value]) => `${names[path]} ${shownValue(value)}`).join(", ");
}

// The best value of a sweep; in a list, which has no specs, as the metric that any task has under the objective's name.
export const bestScore = (tasks, sweep) => score(objectiveOf(tasks, sweep), sweep.best.value);

// The line of a sweep in the table of jobs, in the place of all its trials.
export function SweepLine({ sweep }) {
  const tasks = useTasks();
  return html`<a class="job-name" href=${`#/sweeps/${sweep.id}`}>${sweep.name}</a> ${status(sweep.status)}${" "}<span class="muted">sweep: ${counted(sweep)}${sweep.best ? `; best ${words(sweep.objective)} ${bestScore(tasks, sweep)} with ${chosen(sweep.best)}` : ""}</span>`;
}

// [the newest sweeps or null, a problem, load]
export function useSweeps(limit) {
  const [sweeps, setSweeps] = useState(null);
  const [problem, setProblem] = useState(null);
  const isGoing = !sweeps || sweeps.some((sweep) => GOING.includes(sweep.status));
  const load = async () => {
    try {
      setSweeps((await get("/sweeps", { limit })).data);
      setProblem(null);
    } catch (error) {
      setProblem(error.message);
    }
  };
  useEvery(isGoing ? SECONDS : 12 * SECONDS, load, [isGoing]);
  return [sweeps, problem, load];
}
