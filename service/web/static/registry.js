// Trained models under a name: versions with metric and labels, publishing, and the way back.
import { html, useEffect, useState } from "./lib.js";
import { all, post, remove } from "./api.js";
import { Ago } from "./ago.js";
import { score, when } from "./format.js";
import { metricNamed } from "./job_summary.js";
import { DatasetLink, JobLink } from "./named_links.js";
import { useTasks } from "./tasks.js";

const NEWEST = 500; // jobs to choose from
const address = (name) => `/registry/${encodeURIComponent(name)}`;

export function Registry() {
  const [models, setModels] = useState([]);
  const [problem, setProblem] = useState(null);
  const load = () => all("/registry").then(setModels, (error) => setProblem(error.message));
  useEffect(() => void load(), []);
  const run = async (work) => {
    setProblem(null);
    try {
      await work();
    } catch (error) {
      setProblem(error.message);
    }
    await load();
  };
  return html`<section aria-labelledby="registry">
    <h2 id="registry">Registered</h2>
    <${Publish} run=${run} />
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    ${models.map((model) => html`<${Registered} key=${model.name} model=${model} run=${run} />`)}
    ${models.length === 0 && !problem ? html`<p class="muted">None yet: publish the model of a job that has succeeded.</p>` : null}
  </section>`;
}

function Publish({ run }) {
  const [jobs, setJobs] = useState([]);
  const [job, setJob] = useState("");
  const [name, setName] = useState("");
  useEffect(() => void all("/jobs", { status: "succeeded" }, NEWEST).then((found) => setJobs(found.filter((one) => !one.evaluates && !one.inspects)), () => undefined), []);
  const publish = (event) => {
    event.preventDefault();
    run(() => post(`${address(name.trim())}/versions`, { job }));
  };
  return html`<form class="card row" onSubmit=${publish}>
    <label for="publish-job">Job</label> <select id="publish-job" value=${job} onChange=${(event) => setJob(event.target.value)}><option value="">choose</option>
      ${jobs.map(({ id, name: title, created_at: at }) => html`<option key=${id} value=${id}>${title}, ${when(at)}</option>`)}</select>
    <label>published as <input type="text" value=${name} onInput=${(event) => setName(event.target.value)} placeholder="sentiment" pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*" title="Letters, digits, . _ and -; it begins with a letter or a digit" autocomplete="off" spellcheck=${false} /></label>
    <button disabled=${!job || !name.trim()}>Publish</button>
  </form>`;
}

function Registered({ model, run }) {
  const tasks = useTasks();
  const { name, previous, versions } = model;
  const live = (version) => run(() => post(`${address(name)}/labels`, { label: "live", version }));
  const withdraw = (version) => {
    if (confirm(`Withdraw ${name}@${version}?`)) run(() => remove(`${address(name)}/versions/${version}?force=true`));
  };
  return html`<div class="row head"><h3>${name}</h3>
      ${previous.live ? html`<button onClick=${() => run(() => post(`${address(name)}/rollback`, {}))}>Back to version ${previous.live}</button>` : null}</div>
    <div class="scroll card" tabindex="0" role="region" aria-label=${`Versions of ${name}`}>
      <table class="list">
        <thead><tr><th class="num">Version</th><th>Labels</th><th>Job</th><th class="num">Metric</th><th>Data</th><th>Published</th><th></th></tr></thead>
        <tbody>${versions.map(({ version, labels, job, metric, datasets, created_at }) => html`<tr key=${version}>
          <td class="num">${version}</td><td>${labels.map((label) => html`<span class="tag" key=${label}>${label}</span> `)}</td>
          <td><${JobLink} id=${job} /></td><td class="num">${metric ? `${metric.name} ${score(metricNamed(tasks, undefined, metric.name), metric.value)}` : "–"}</td>
          <td>${datasets.map((id) => html`<${DatasetLink} key=${id} id=${id} /> `)}</td><td class="when"><${Ago} time=${created_at} /></td>
          <td>${labels.includes("live") ? null : html`<button onClick=${() => live(version)} aria-label=${`Make ${name}@${version} live`}>Make live</button> `}
            <button onClick=${() => withdraw(version)} aria-label=${`Withdraw ${name}@${version}`}>Withdraw</button></td>
        </tr>`)}</tbody>
      </table>
    </div>`;
}
