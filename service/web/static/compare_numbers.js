// Numbers of compared jobs: their metrics with intervals, and whether the rows that two share show a difference.
import { html, useEffect, useState } from "./lib.js";
import { get } from "./api.js";
import { difference, differences, number, score, words } from "./format.js";
import { metricNamed } from "./job_summary.js";
import { useTasks } from "./tasks.js";

const ROWS = { eval: "rows of the evaluation data", test: "test rows", train: "held-out rows" };
const HIDDEN = /second|_rows|examples|runtime/; // of a run, not of a model

// The comparison of each job with the reference, by the job's id; a job whose state changes is asked for again.
export function useComparisons(jobs, reference) {
  const [found, setFound] = useState({});
  const key = `${reference} ${jobs.map(({ job }) => job.id + job.status)}`;
  useEffect(() => {
    let stale = false;
    setFound({});
    for (const { job } of jobs) {
      if (job.id === reference) continue;
      const take = (comparison) => stale || setFound((known) => ({ ...known, [job.id]: comparison }));
      get(`/jobs/${job.id}/comparison`, { with: reference }).then(take, (error) => take({ problem: error.message }));
    }
    return () => {
      stale = true;
    };
  }, [key]);
  return found;
}

const nameOf = (name) => words(name.replace(/^eval_/, "").replace(/^test_/, "test "));

export function Metrics({ jobs, label }) {
  const tasks = useTasks();
  const measured = jobs.filter(({ job }) => metricsOf(job).length);
  const others = jobs.filter((one) => !measured.includes(one));
  const names = [...new Set(measured.flatMap(({ job }) => metricsOf(job)))];
  return html`<section aria-labelledby="numbers">
    <h2 id="numbers">Metrics</h2>
    ${others.length ? html`<p class="notice">Without numbers: ${others.map(({ job }) => `${label(job)} (${job.status})`).join(", ")}.</p>` : null}
    ${names.length ? html`<div class="scroll card" tabindex="0" role="region" aria-label="Metrics of the jobs">
      <table class="list">
        <thead><tr><th>Metric</th>${measured.map(({ job }) => html`<th key=${job.id} class="num"><a href=${`#/jobs/${job.id}`}>${label(job)}</a></th>`)}</tr></thead>
        <tbody>${names.map((name) => html`<tr key=${name}><th scope="row">${nameOf(name)}</th>
          ${measured.map(({ job }) => html`<td key=${job.id} class="num">${cell(tasks, job, name)}</td>`)}</tr>`)}</tbody>
      </table>
    </div>` : null}
  </section>`;
}

function metricsOf(job) {
  return Object.entries(job.result ?? {}).filter(([name, value]) => /^(eval|test)_/.test(name) && typeof value === "number" && !HIDDEN.test(name)).map(([name]) => name);
}

function cell(tasks, job, name) {
  const value = job.result?.[name];
  if (typeof value !== "number") return "–";
  const plain = name.replace(/^(eval|test)_/, "");
  const metric = metricNamed(tasks, job.task ?? job.resolved.spec.task, plain);
  const { low, high } = job.judgement ?? {};
  const ranked = name === `eval_${job.best_metric?.name}` && typeof low === "number" && low < high;
  return html`${score(metric, value)}${ranked ? html`<div class="under"><span class="whole">${score(metric, low)}</span> to <span class="whole">${score(metric, high)}</span></div>` : null}`;
}

export function Paired({ jobs, reference, choose, label }) {
  const tasks = useTasks();
  const comparisons = useComparisons(jobs, reference);
  const others = jobs.filter(({ job }) => job.id !== reference);
  const baseline = Object.values(comparisons).some((one) => one.is_baseline);
  return html`<section aria-labelledby="paired">
    <div class="row head"><h2 id="paired">Do they differ?</h2>
      <label>Compared with <select value=${reference} onChange=${(event) => choose(event.target.value)}>${jobs.map(({ job }) => html`<option key=${job.id} value=${job.id}>${label(job)}</option>`)}</select></label></div>
    ${baseline ? html`<p class="muted">It is the pinned baseline.</p>` : null}
    <ul class="paired">${others.map(({ job }) => html`<li key=${job.id}><b>${label(job)}</b>: <${Verdict} found=${comparisons[job.id]} metric=${(name) => metricNamed(tasks, job.task ?? job.resolved.spec.task, name)} /></li>`)}</ul>
  </section>`;
}

function Verdict({ found, metric }) {
  if (!found) return html`<span class="muted">testing…</span>`;
  if (found.problem) return html`<span class="error">${found.problem}</span>`;
  if (!found.paired) return html`no paired test: ${found.not_paired}`;
  const { data, rows, measure, method, difference: value, low, high, p_value: p, differ } = found.paired;
  const measured = metric(measure);
  return html`<strong>${differ ? "the rows show a difference" : "the rows show no difference"}</strong>${" "}
    <span>${words(measure)} ${difference(measured, value)} (${differences(measured, low, high)}) on ${number(rows)} ${ROWS[data]}, by ${method}${p === null ? "" : `, p ${p < 0.001 ? "below 0.001" : number(p, 2)}`}</span>`;
}
