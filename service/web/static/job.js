// View of one job, in the order of what is asked: of a running one how it goes, of an ended one what came of it.
import { html } from "./lib.js";
import { capitalised, words } from "./format.js";
import { ENDED, useJob, useList } from "./live.js";
import { Pruning } from "./asa.js";
import { Checkpoints } from "./checkpoints.js";
import { Contenders } from "./contenders.js";
import { Evaluation } from "./evaluation.js";
import { Evaluations } from "./evaluations.js";
import { HardestExamples } from "./hardest.js";
import { Actions } from "./job_actions.js";
import { Facts } from "./job_facts.js";
import { Artifacts, Events, Log, Reproduce, Samples } from "./job_parts.js";
import { status } from "./job_summary.js";
import { Learning } from "./learning.js";
import { Notes } from "./notes.js";
import { Now, positionOf } from "./now.js";
import { MEASURES } from "./plan.js";
import { Directions, JobSpectrum } from "./spectrum.js";
import { useTitle } from "./title.js";
import { TryIt } from "./try_it.js";
import { Verdict } from "./verdict.js";

const STOPPED = { halving: "Its sweep stopped this trial early: others did better.", limit: "Its sweep stopped this trial early, at the sweep's limit." };

const TITLES = { no_better_than_baseline: "not shown to be better than the baseline" };

export function Job({ id, edited }) {
  const [known, problem, reload] = useJob(id);
  useTitle("Job", known?.job.name, problem);
  if (problem?.status === 404) return html`<main id="main"><h1>Job</h1><p class="error" role="alert">There is no such job, or it was deleted. <a href="#/">All jobs</a></p></main>`;
  if (problem) return html`<main id="main"><h1>Job</h1><p class="error" role="alert">${problem.message}</p></main>`;
  if (!known) return html`<main id="main"><h1>Job</h1><p class="muted" role="status">Loading…</p></main>`;
  const { job, rows, events, map } = known;
  const ended = ENDED.includes(job.status);
  const before = rows?.find((row) => row.kind === "eval" && row.step === 0)?.values[`eval_${job.best_metric?.name}`];
  const parts = { job, rows, events, map, before };
  const body = job.inspects ? html`<${JobSpectrum} job=${job} /><${Facts} job=${job} />`
    : job.evaluates ? html`<${Facts} job=${job} /><${FullEvaluation} job=${job} /><${HardestExamples} job=${job} />`
    : ended ? html`<${Ended} ...${parts} />` : html`<${Running} ...${parts} />`;
  return html`<main id="main" data-job=${id}>
    <${Head} job=${job} edited=${edited} done=${() => ended && reload()} />
    ${body}
    <div class="pair">
      <${Events} events=${events} />
      <${Log} job=${job} />
    </div>
    ${job.inspects || job.evaluates ? null : html`<${Checkpoints} job=${job} /><${Reproduce} job=${job} />`}
  </main>`;
}

// What the plan said of the job, which holds for its result too.
function remarks({ resolved, warnings = [] }) {
  const said = warnings.map(({ message }) => message);
  return (resolved?.warnings ?? []).filter((remark) => !MEASURES.test(remark) && !said.includes(remark));
}

function Head({ job, edited, done }) {
  const { step, total } = positionOf(job);
  return html`<div class="row head">
      <h1>${job.name} ${status(job.status)}</h1>
      <${Actions} job=${job} done=${done} gone=${() => (location.hash = "#/")} />
    </div>
    <${Notes} key=${job.id} job=${job} edited=${edited} done=${done} />
    ${job.sweep ? html`<p class="muted">Trial ${job.trial} of the sweep <a href=${`#/sweeps/${job.sweep}`}>${job.sweep}</a>.</p>` : null}
    ${ENDED.includes(job.status) ? null : html`<progress class="wide" max=${Math.max(1, total)} value=${step} aria-label="Progress"></progress>`}
    ${job.error ? html`<p class="error" role="alert"><strong>${job.error.message}</strong> ${job.error.hint ?? ""}</p>` : null}
    ${(job.warnings ?? []).map((warning) => html`<p class="notice" role="alert" key=${warning.code + warning.data}><strong>${capitalised(TITLES[warning.code] ?? words(warning.code))}</strong>: ${warning.message}</p>`)}
    ${remarks(job).map((remark) => html`<p class="notice" key=${remark}>${remark}</p>`)}`;
}

function Running({ job, rows, events, map, before }) {
  return html`<${Now} job=${job} rows=${rows ?? []} before=${before} />
    <${Learning} job=${job} rows=${rows} folded />
    <${Subspaces} job=${job} map=${map} rows=${rows} />
    <${Samples} events=${events} />
    <${Contenders} job=${job} />
    <${Details} job=${job} map=${map} before=${before} events=${events} />
    <${Artifacts} job=${job} />`;
}

function Ended({ job, rows, events, map, before }) {
  const stopped = STOPPED[job.result?.stopped_early]; // a training that ended by its patience has true there
  const usable = ["succeeded", "failed"].includes(job.status) && job.result && !stopped;
  return html`${stopped ? html`<p class="notice">${stopped} It has no model.</p>` : null}
    <${Verdict} job=${job} before=${before} />
    <${Artifacts} job=${job} />
    ${usable ? html`<${TryIt} job=${job} events=${events} />` : null}
    <${Samples} events=${events} />
    <${FullEvaluation} job=${job} />
    <${HardestExamples} job=${job} />
    <${Contenders} job=${job} />
    ${usable ? html`<${Evaluations} job=${job} />` : null}
    <${Learning} job=${job} rows=${rows} />
    <${Subspaces} job=${job} map=${map} rows=${rows} />
    <${Details} job=${job} map=${map} before=${before} events=${events} />`;
}

// The map where subspaces are pruned; without pruning it shows nothing that changes, and is folded.
function Subspaces({ job, map, rows }) {
  if (!map) return null;
  const pruning = html`<${Pruning} key=${job.id} id=${job.id} map=${map} rows=${rows ?? []} />`;
  return map.target === null ? html`<details><summary>${map.total} subspaces, none is pruned</summary>${pruning}</details>` : pruning;
}

function Details({ job, map, before, events }) {
  return html`<section aria-labelledby="details">
      <h2 id="details">Details</h2>
      <${Facts} job=${job} map=${map} before=${before} />
    </section>
    <${Directions} job=${job} events=${events} />`;
}

function FullEvaluation({ job }) {
  return html`<${Evaluation} reports=${useList(job, "evaluation")} task=${job.resolved.spec.task} />`;
}
