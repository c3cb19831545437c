// Several jobs: their metrics, whether they differ, shared charts, and the differences of their specs.
import { html, useEffect, useState } from "./lib.js";
import { get } from "./api.js";
import { address } from "./address.js";
import { flat, words } from "./format.js";
import { Metrics, Paired } from "./compare_numbers.js";
import { AXES, Chart, points, position, xTitle } from "./charts.js";
import { status } from "./job_summary.js";
import { ENDED, useEvery } from "./live.js";

const POINTS = 1000;
const RELOAD_SECONDS = 5; // while a compared job runs

// reference: the job that the others are tested against; by default the first one, or the baseline of a single job.
export function Compare({ ids: asked, axis, reference }) {
  const [ids, noBaseline] = useWithBaseline(asked);
  const [jobs, setJobs] = useState(null);
  const [problems, setProblems] = useState([]);
  const running = Boolean(jobs?.some(({ job }) => !ENDED.includes(job.status)));

  useEffect(() => setJobs(null), [ids.join()]);
  useEvery(running ? RELOAD_SECONDS : 3600, () => {
    const load = async (id) => ({
      job: await get(`/jobs/${id}`),
      rows: (await get(`/jobs/${id}/metrics`, { max_points: POINTS })).data,
    });
    Promise.allSettled(ids.map(load)).then((loaded) => {
      const found = loaded.flatMap(({ value }) => value ?? []);
      setJobs((known) => (found.length ? found : (known ?? [])));
      setProblems([...new Set(loaded.flatMap(({ reason }) => reason?.message ?? []))]);
    });
  }, [ids.join(), running]);

  const choose = (event) => {
    location.hash = address("compare", { jobs: ids.join(), x: event.target.value, with: reference });
  };
  const test = (id) => {
    location.hash = address("compare", { jobs: ids.join(), x: axis, with: id });
  };
  return html`<main id="main">
    <div class="row head">
      <h1>Compare</h1>
      <label>by <select value=${axis} onChange=${choose}>${AXES.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
    </div>
    ${problems.map((problem) => html`<p class="error" role="alert" key=${problem}>${problem}</p>`)}
    ${noBaseline ? html`<p class="notice">${noBaseline}</p>` : null}
    ${ids.length < 2 ? html`<p class="muted">Select two or more jobs in the <a href="#/">list</a>.</p>` : null}
    ${ids.length && !jobs ? html`<p class="muted" role="status">Loading…</p>` : null}
    ${jobs?.length > 1 ? html`<${Metrics} jobs=${jobs} label=${label} /><${Paired} jobs=${jobs} reference=${referenceOf(jobs, reference, asked)} choose=${test} label=${label} />` : null}
    ${jobs?.length ? html`<${Overlays} jobs=${jobs} axis=${axis} />` : null}
    ${jobs?.length > 1 ? html`<${Differences} jobs=${jobs} />` : null}
  </main>`;
}

function referenceOf(jobs, reference, asked) {
  const ids = jobs.map(({ job }) => job.id);
  return ids.includes(reference) ? reference : ids.at(asked.length === 1 ? 1 : 0);
}

const NO_BASELINE = "No baseline is pinned. Pin one by “Pin as baseline” on its job's page.";

// A single job is shown beside the baseline that is pinned for it: [ids, why there is none].
function useWithBaseline(asked) {
  const [found, setFound] = useState([null, null]);
  const key = asked.join();
  useEffect(() => {
    setFound([null, null]);
    if (asked.length !== 1) return;
    get(`/jobs/${asked[0]}/comparison`).then(({ other }) => setFound([[...new Set([...asked, other])], null]), (error) => setFound([null, error.code === "no_baseline" ? NO_BASELINE : error.status === 404 ? null : error.message]));
  }, [key]);
  return [found[0]?.[0] === asked[0] && asked.length === 1 ? found[0] : asked, found[1]];
}

function Overlays({ jobs, axis }) {
  const names = [...new Set(jobs.flatMap(({ rows }) => rows.flatMap((row) => Object.keys(row.values))))];
  const plotted = names.filter((name) => !/target_subspaces|tokens_per|memory/.test(name)).sort((one, other) => rank(one) - rank(other));
  return html`<div class="charts">${plotted.map(
    (name) => html`<${Chart} key=${name + axis} name=${name} title=${title(name)} xLabel=${xTitle(axis)}
      lines=${jobs.map(({ job, rows }) => ({ label: label(job), compared: true, points: points(rows, name, position(axis, rows)) }))} />`,
  )}</div>`;
}

// What decides comes first; the sort keeps the order of equals.
const rank = (name) => (name === "loss" ? 0 : name.startsWith("eval_") ? 1 : 2);
const title = (name) => titled(words(name.replace(/^eval_/, "evaluation_").replace(/^cpu/, "CPU")));
const titled = (text) => text[0].toUpperCase() + text.slice(1);
const label = (job) => `${job.name} ${job.id.slice(-4)}`;

// The fields of a spec that have an effect: without pruning, those that steer it have none.
const PRUNING = /^adamss\.(asa_|init_warmup$|final_warmup$|mask_interval$)/;
const effective = (spec) => (spec["adamss.use_asa"] === false ? Object.fromEntries(Object.entries(spec).filter(([name]) => !PRUNING.test(name))) : spec);

function Differences({ jobs }) {
  const specs = jobs.map(({ job }) => effective(flat(job.resolved.spec)));
  const names = [...new Set(specs.flatMap(Object.keys))].sort();
  const text = (value) => (value === undefined ? "–" : JSON.stringify(value));
  const differing = names.filter((name) => new Set(specs.map((spec) => text(spec[name]))).size > 1);
  return html`<section aria-labelledby="differences">
    <h2 id="differences">Differences</h2>
    <div class="scroll card" tabindex="0" role="region" aria-label="Differences of the specs">
      <table class="list">
        <thead><tr><th>Field</th>${jobs.map(({ job }) => html`<th key=${job.id}><a href=${`#/jobs/${job.id}`}>${label(job)}</a> ${status(job.status)}</th>`)}</tr></thead>
        <tbody>${differing.map((name) => html`<tr key=${name}><th scope="row"><code>${name}</code></th>${specs.map((spec) => html`<td>${text(spec[name])}</td>`)}</tr>`)}</tbody>
      </table>
    </div>
  </section>`;
}
