// What people do with a job: the actions that its state allows, as buttons or as a menu.
import { html, useState } from "./lib.js";
import { post, remove } from "./api.js";
import { address } from "./address.js";
import { ENDED } from "./live.js";
import { Menu } from "./menu.js";

// Actions that a job's state allows: [label, name in the API]. A trial is paused and resumed with its sweep.
export function actions(job) {
  const allowed = [];
  if (["queued", "running"].includes(job.status) && !job.sweep) allowed.push(["Pause", "pause"]);
  if (job.resumable && !job.sweep) allowed.push(["Resume", "resume"]);
  if (!ENDED.includes(job.status) && job.status !== "cancelling") allowed.push(["Cancel", "cancel"]);
  if (ENDED.includes(job.status)) allowed.push(["Delete", "delete"]);
  return allowed;
}

// The body of an action: a job that its time limit has ended asks for a larger one. Null where the user gives none.
function bodyOf(job, name) {
  if (name !== "resume") return undefined;
  if (job.status !== "failed") return job.devices > 1 ? otherDevices(job) : undefined;
  const given = prompt(`New time limit of ${job.name} in seconds of training, all attempts together:`, job.resolved ? 2 * job.resolved.time_limit_seconds : "");
  return given === null ? null : { time_limit_seconds: Number(given) };
}

// A checkpoint fits any number of devices, so fewer than before may be free sooner.
function otherDevices(job) {
  const given = prompt(`Devices to resume ${job.name} on:`, job.devices);
  return given === null ? null : { resources: { devices: Number(given) } };
}

// Asks before irreversible actions.
function isConfirmed(job, name) {
  if (name === "cancel" && job.progress.step > 0) return confirm(`Cancel ${job.name}? A cancelled job cannot be resumed, a paused one can.`);
  if (name === "delete") return confirm(`Delete ${job.name}, with its metrics, checkpoints and artifacts?`);
  return true;
}

// [act(name), problem, busy]
function useActions(job, done, gone) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const act = async (name) => {
    if (!isConfirmed(job, name)) return;
    const body = bodyOf(job, name);
    if (body === null) return;
    setBusy(true);
    try {
      if (name === "delete") await remove(`/jobs/${job.id}`);
      else await post(`/jobs/${job.id}/${name}`, body);
      setProblem(null);
      (name === "delete" ? gone : done)?.(job.id);
    } catch (error) {
      setProblem(error.message);
    }
    setBusy(false);
  };
  return [act, problem, busy];
}

const isCloned = (job) => !job.evaluates && !job.inspects;
const clone = (job) => address("new", { from: job.id });
const sweep = (job) => address("sweeps", { from: job.id });

export function Actions({ job, done, gone = done }) {
  const [act, problem, busy] = useActions(job, done, gone);
  return html`<span class="row tight">
    ${actions(job).map(
      ([label, name]) => html`<button key=${name} disabled=${busy} onClick=${() => act(name)} aria-label=${`${label} ${job.name}`}>${label}</button>`,
    )}
    ${isCloned(job) ? html`<a class="button" href=${clone(job)} aria-label=${`Clone ${job.name}`}>Clone</a>
      <a class="button" href=${sweep(job)} aria-label=${`Sweep around ${job.name}`}>Sweep</a>` : null}
    ${problem ? html`<span class="error" role="alert">${problem}</span>` : null}
  </span>`;
}

export function ActionMenu({ job, done, gone }) {
  const [act, problem, busy] = useActions(job, done, gone);
  const items = [
    ...actions(job).map(([label, name]) => [label, () => act(name)]),
    ...(isCloned(job) ? [["Clone", clone(job)], ["Sweep", sweep(job)]] : []),
    ["Name, tags, notes", address(`jobs/${job.id}`, { edit: "1" })],
  ];
  return html`<${Menu} label=${`Actions of ${job.name}`} items=${items} disabled=${busy || !items.length} />
    ${problem ? html`<span class="error" role="alert">${problem}</span>` : null}`;
}
