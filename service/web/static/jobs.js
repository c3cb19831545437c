// View of all jobs.
import { html, useState } from "./lib.js";
import { post, remove } from "./api.js";
import { duration, number, when, words } from "./format.js";
import { useJobs } from "./job_list.js";
import { ENDED, LIVE } from "./live.js";
import { tags } from "./notes.js";

const ROWS = 100; // shown at first

export const status = (name) => html`<span class=${`status ${name}`}>${name}</span>`;

// The metric that chose the published checkpoint, and its value there; of an evaluation, its value on the data.
export function best(job) {
  const name = job.best_metric?.name;
  const value = job.result?.[`${job.evaluates ? "test" : "eval"}_${name}`];
  return typeof value === "number" ? [name, value] : null;
}

const baseline = (job) => (typeof job.judgement?.baseline === "number" ? html`<br />baseline ${number(job.judgement.baseline)}` : "");

// Larger is better, whatever the metric's direction; jobs without a result are last.
function goodness(job) {
  const value = best(job)?.[1];
  if (value === undefined) return -Infinity;
  return job.best_metric.direction === "min" ? -value : value;
}

const COLUMNS = [
  ["name", "Name", (job) => job.name.toLowerCase()],
  ["status", "Status", (job) => job.status],
  ["progress", "Progress", (job) => job.progress.step / Math.max(1, job.progress.total_steps)],
  ["task", "Task", (job) => job.task],
  ["model", "Model", (job) => job.base_model],
  ["subspaces", "Subspaces", (job) => job.asa?.active ?? Infinity],
  ["best", "Best", goodness],
  ["created", "Created", (job) => job.created_at],
];

// Actions that a job's state allows: [label, name in the API].
export function actions(job) {
  const allowed = [];
  if (["queued", "running"].includes(job.status)) allowed.push(["Pause", "pause"]);
  if (job.resumable) allowed.push(["Resume", "resume"]);
  if (!ENDED.includes(job.status) && job.status !== "cancelling") allowed.push(["Cancel", "cancel"]);
  if (ENDED.includes(job.status)) allowed.push(["Delete", "delete"]);
  return allowed;
}

// The body of an action: a job that its time limit has ended asks for a larger one. Null where the user gives none.
function bodyOf(job, name) {
  if (name !== "resume" || job.status !== "failed") return undefined;
  const given = prompt(`New time limit of ${job.name} in seconds of training, all attempts together:`, job.resolved ? 2 * job.resolved.time_limit_seconds : "");
  return given === null ? null : { time_limit_seconds: Number(given) };
}

// Asks before irreversible actions.
function isConfirmed(job, name) {
  if (name === "cancel" && job.progress.step > 0) return confirm(`Cancel ${job.name}? A cancelled job cannot be resumed, a paused one can.`);
  if (name === "delete") return confirm(`Delete ${job.name}, with its metrics, checkpoints and artifacts?`);
  return true;
}

export function Actions({ job, done, gone = done }) {
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
  return html`<span class="row tight">
    ${actions(job).map(
      ([label, name]) => html`<button key=${name} disabled=${busy} onClick=${() => act(name)} aria-label=${`${label} ${job.name}`}>${label}</button>`,
    )}
    ${job.evaluates || job.inspects ? null : html`<a class="button" href=${`#/new?from=${job.id}`} aria-label=${`Clone ${job.name}`}>Clone</a>`}
    ${problem ? html`<span class="error" role="alert">${problem}</span>` : null}
  </span>`;
}

function Row({ job, chosen, choose, reload, forget }) {
  const { step, total_steps: total, eta_seconds: eta } = job.progress;
  const metric = best(job);
  return html`<tr>
    <td><input type="checkbox" checked=${chosen} onChange=${choose} aria-label=${`Compare ${job.name}`} /></td>
    <td><a href=${`#/jobs/${job.id}`}>${job.name}</a><br /><code class="muted">${job.id}</code>${job.owner ? html` <span class="muted">${job.owner}</span>` : null}${job.tags?.length ? html`<br />${tags(job)}` : null}</td>
    <td>${status(job.status)}${job.priority ? html`<br /><span class="muted">priority ${job.priority}</span>` : null}</td>
    <td>
      <progress max=${Math.max(1, total)} value=${step} aria-label=${`Progress of ${job.name}`}></progress>
      <br /><span class="muted">${number(step)} of ${number(total)}${job.status === "running" && eta ? `, ${duration(eta)} left` : ""}</span>
    </td>
    <td>${job.task}</td>
    <td>${job.base_model}</td>
    <td class="num">${job.asa ? html`${job.asa.active}<span class="muted"> of ${job.asa.total}${job.asa.target === null ? "" : `, target ${job.asa.target}`}</span>` : "–"}</td>
    <td class="num">${metric ? html`${number(metric[1])}<br /><span class="muted">${metric[0]}${baseline(job)}</span>` : "–"}${(job.warnings ?? []).map(
      (warning) => html`<br /><span class="error" title=${warning.message} key=${warning.code + warning.data}>${words(warning.code)}</span>`,
    )}</td>
    <td class="when">${when(job.created_at)}</td>
    <td><${Actions} job=${job} done=${reload} gone=${forget} /></td>
  </tr>`;
}

export function Jobs() {
  const [jobs, problem, load, forget] = useJobs();
  const [text, setText] = useState("");
  const [onlyStatus, setOnlyStatus] = useState("");
  const [order, setOrder] = useState(["created", -1]);
  const [chosen, setChosen] = useState([]);
  const [maxRows, setMaxRows] = useState(ROWS);

  const value = COLUMNS.find(([name]) => name === order[0])[2];
  const search = text.toLowerCase();
  const shown = (jobs ?? [])
    .filter((job) => !onlyStatus || job.status === onlyStatus)
    .filter((job) => `${job.name} ${job.id} ${job.base_model} ${job.task} ${job.group ?? ""} ${job.owner ?? ""} ${(job.tags ?? []).join(" ")}`.toLowerCase().includes(search))
    .sort((a, b) => (value(a) < value(b) ? -order[1] : value(a) > value(b) ? order[1] : 0));
  const toggle = (id) => setChosen(chosen.includes(id) ? chosen.filter((other) => other !== id) : [...chosen, id]);

  return html`<main id="main" class="wide">
    <div class="row head">
      <h1>Jobs</h1>
      <a class="button primary" href="#/new">New job</a>
    </div>
    <div class="row">
      <label class="grow">Search <input type="search" value=${text} onInput=${(event) => setText(event.target.value)} placeholder="name, tag, group, owner, id, model, task" /></label>
      <label>Status
        <select value=${onlyStatus} onChange=${(event) => setOnlyStatus(event.target.value)}>
          <option value="">all</option>
          ${[...LIVE, ...ENDED].map((name) => html`<option value=${name}>${name}</option>`)}
        </select>
      </label>
      <a class="button" href=${`#/compare?jobs=${chosen.join(",")}`} aria-disabled=${chosen.length < 2}
        onClick=${(event) => chosen.length < 2 && event.preventDefault()}>Compare ${chosen.length || ""}</a>
    </div>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    <div class="scroll card" tabindex="0" role="region" aria-label="Table of jobs">
      <table class="list jobs">
        <thead>
          <tr>
            <th><span class="visually-hidden">Compare</span></th>
            ${COLUMNS.map(
              ([name, title]) => html`<th key=${name} aria-sort=${order[0] === name ? (order[1] > 0 ? "ascending" : "descending") : undefined}>
                <button class="plain" onClick=${() => setOrder([name, order[0] === name ? -order[1] : 1])}>${title}${order[0] === name ? (order[1] > 0 ? " ▲" : " ▼") : ""}</button>
              </th>`,
            )}
            <th><span class="visually-hidden">Actions</span></th>
          </tr>
        </thead>
        <tbody>
          ${shown.slice(0, maxRows).map((job) => html`<${Row} key=${job.id} job=${job} chosen=${chosen.includes(job.id)} choose=${() => toggle(job.id)} reload=${load} forget=${forget} />`)}
        </tbody>
      </table>
    </div>
    ${shown.length > maxRows ? html`<p class="row"><span class="muted">${number(maxRows)} of ${number(shown.length)} jobs</span>
      <button onClick=${() => setMaxRows(maxRows + 10 * ROWS)}>Show more</button></p>` : null}
    ${jobs === null && !problem ? html`<p class="muted" role="status">Loading…</p>` : null}
    ${jobs && !shown.length ? html`<p class="muted">${jobs.length ? "No matching jobs." : html`No jobs yet. <a href="#/new">Submit a job.</a>`}</p>` : null}
  </main>`;
}
