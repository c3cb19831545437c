// Evaluations of a finished model on other data: the form that starts one, and those that there are.
import { html, useEffect, useState } from "./lib.js";
import { all, post } from "./api.js";
import { DatasetLink } from "./named_links.js";
import { number, words } from "./format.js";
import { best, shownScore, status } from "./job_summary.js";
import { useEvery } from "./live.js";
import { useTasks } from "./tasks.js";

export function Evaluations({ job }) {
  const tasks = useTasks();
  const [made, setMade] = useState([]);
  const refresh = async () => setMade(await all("/jobs", { evaluates: job.id }, 100));
  useEvery(5, refresh, [job.id]);
  return html`<section aria-labelledby="evaluations">
    <h2 id="evaluations">On other data</h2>
    <${Form} job=${job} done=${refresh} />
    ${made.length ? html`<div class="scroll card" tabindex="0" role="region" aria-label="Table of evaluations">
      <table class="list">
        <thead><tr><th>Evaluation</th><th>Status</th><th>Model</th><th>Data set</th><th class="num">Result</th></tr></thead>
        <tbody>${made.map(
          (one) => html`<tr key=${one.id}>
            <th scope="row"><a href=${`#/jobs/${one.id}`}>${one.name}</a></th><td>${status(one.status)}</td><td>${one.evaluates.model}</td>
            <td><${DatasetLink} id=${one.evaluates.dataset} /></td><td class="num">${result(one, tasks)}</td>
          </tr>`,
        )}</tbody>
      </table>
    </div>` : null}
  </section>`;
}

function result(job, tasks) {
  const found = best(job);
  return found ? `${words(found[0])} ${shownScore(tasks, job, ...found)}` : "";
}

function Form({ job, done }) {
  const [sets, setSets] = useState([]);
  const [problem, setProblem] = useState(null);
  const [warnings, setWarnings] = useState([]);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    all("/datasets", {}, 500).then(setSets, (error) => setProblem(error.message));
  }, [job.id]);
  const send = async (event) => {
    event.preventDefault();
    const { dataset, model } = Object.fromEntries(new FormData(event.target));
    setBusy(true);
    try {
      setWarnings((await post(`/jobs/${job.id}/evaluate`, { dataset, model })).resolved.warnings);
      setProblem(null);
      await done();
    } catch (error) {
      setProblem(error.message);
    }
    setBusy(false);
  };
  return html`<form class="card row" onSubmit=${send}>
    <label>Data set, with labels <select name="dataset" required><option value="">choose</option>${sets.map((one) => html`<option key=${one.id} value=${one.id}>${one.name} (${number(one.rows)} rows)</option>`)}</select></label>
    <label>Model <select name="model"><option value="trained">trained</option><option value="base">its base model alone</option></select></label>
    <button disabled=${busy || !sets.length}>${busy ? "Starting…" : "Evaluate"}</button>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    ${warnings.map((warning) => html`<p class="notice" role="alert" key=${warning}>${warning}</p>`)}
  </form>`;
}
