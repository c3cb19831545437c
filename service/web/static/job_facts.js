// What is known of a job, as pairs of a name and a value.
import { html } from "./lib.js";
import { address } from "./address.js";
import { Ago } from "./ago.js";
import { DatasetLink, JobLink } from "./named_links.js";
import { duration, elements, number, when, words } from "./format.js";
import { best, devicesOf } from "./job_summary.js";
import { useList } from "./live.js";

export function Facts({ job, map, before }) {
  const phases = useList(job, "phases");
  const kept = useList(job, "retention");
  const facts = [...whatFacts(job), ...methodFacts(job, map), ...resultFacts(job, before), ...phasesFact(phases), ...keptFact(kept), ...attemptFacts(job)];
  return html`<dl class="facts">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function whatFacts({ resolved, evaluates, progress, spec, status }) {
  const { step, total_steps: total, epoch, eta_seconds: eta, contender } = progress;
  const evaluated = () => [
    ["evaluates", html`the ${evaluates.model} model of <${JobLink} id=${evaluates.job} />`],
    ["on", html`<${DatasetLink} id=${evaluates.dataset} />`],
    ["batch", `${number(step)} of ${number(total)}`],
  ];
  const trained = () => [...dataFacts(resolved.spec.dataset), ["step", `${number(step)} of ${number(total)}`], ["epoch", epoch.toFixed(2)]];
  return [
    ["task", resolved.spec.task],
    ["model", html`<a href=${`#/models/${resolved.spec.base_model}`}>${resolved.spec.base_model}</a>`],
    ...(evaluates ? evaluated() : trained()),
    ...(spec.time_limit_seconds ? [["time limit", `${duration(resolved.time_limit_seconds)} of training`]] : []),
    ...(status === "running" && eta && !contender ? [["time left", duration(eta)]] : []),
    ...(contender ? [["comparing", contender.contender]] : []),
  ];
}

// The data sets that the job reads, as links.
function dataFacts(dataset) {
  const sets = [["trained on", [dataset.train].flat()], ["evaluated on", dataset.eval], ["tested on", dataset.test]];
  const link = (id) => html`<${DatasetLink} key=${id} id=${id} /> `;
  return sets.filter(([, ids]) => ids).map(([name, ids]) => [name, [ids].flat().map((one) => link(one.id ?? one))]);
}

function methodFacts(job, map) {
  return [
    ...(job.inspects
      ? [["measures", html`the spectrum on <${DatasetLink} id=${job.inspects.dataset} />`]]
      : [...basisFact(job), ...parametersFact(job.resolved.estimate), ...elementsFact(job, map)]),
    ...(job.resolved.spec.adamss?.bias === "frozen" ? [["biases", "frozen"]] : []),
    ...(map ? [["subspaces", `${map.active} of ${map.total}${removes(job) ? ", pruned ones are removed" : ""}`]] : []),
    ...(job.metrics_archived_at ? [["metrics", `in an artifact since ${when(job.metrics_archived_at)}`]] : []),
  ];
}

function resultFacts(job, before) {
  const metric = best(job);
  return [
    ...(metric && !job.evaluates ? [[`eval ${words(metric[0])}`, number(metric[1])]] : []),
    ...(before === undefined ? [] : [[`eval ${words(job.best_metric?.name)} before training`, number(before)]]),
    ...baselineFacts(job.judgement),
    ...testFacts(job),
  ];
}

function attemptFacts(job) {
  return [
    ...(job.owner ? [["owner", html`<a href=${address("jobs", { owner: job.owner })}>${job.owner}</a>`]] : []),
    ...(job.priority ? [["priority", job.priority]] : []),
    ...(job.preemptible === false ? [["preemptible", "no"]] : []),
    ...(job.devices > 1 || job.runs_on?.length ? [["devices", devicesOf(job)]] : []),
    ["attempt", job.attempt],
    ...(job.status === "queued" && job.spec_version > 1 ? [["waits for", `a worker of spec version ${job.spec_version} or later`]] : []),
    ["submitted", html`<${Ago} time=${job.created_at} />`],
    ...(job.ended_at && job.started_at ? [["duration", duration((new Date(job.ended_at) - new Date(job.started_at)) / 1000)]] : []),
  ];
}

// The seconds of each phase, over all attempts; the current one of a job that has not ended is marked.
function phasesFact(phases) {
  const seconds = new Map();
  for (const phase of phases) seconds.set(phase.phase, (seconds.get(phase.phase) ?? 0) + (phase.seconds ?? Math.max(0, Date.now() - new Date(phase.began_at)) / 1000));
  const current = phases.at(-1)?.seconds === null ? phases.at(-1).phase : null;
  const shown = [...seconds].map(([name, spent]) => `${name} ${spent < 60 ? `${spent.toFixed(1)} s` : duration(spent)}${name === current ? " …" : ""}`);
  return shown.length ? [["phases", shown.join(", ")]] : [];
}

function keptFact(kept) {
  const ends = kept.filter((one) => one.kept_until !== null).map((one) => `${one.what} ${when(one.kept_until)}`);
  return ends.length ? [["kept until", ends.join(", ")]] : [];
}

// The cost of a basis from rows is known of a job that has ended.
function basisFact({ resolved, result }) {
  const { basis = "weights", r, row_share: share = 1 } = resolved.spec.adamss ?? {};
  const { rows, seconds } = result?.calibration ?? {};
  return [["basis", [basis, ...(r ? [`r ${r}`] : []), ...(share < 1 ? [`${number(100 * share)} % of the rows`] : []), ...(rows ? [`by ${number(rows)} training rows in ${duration(seconds)}`] : [])].join(", ")]];
}

// Before pruning: bounds until the run has counted them.
function parametersFact(estimate) {
  const { trainable_parameters: most, least_trainable_parameters: least, range_reason: reason } = estimate ?? {};
  if (most === undefined) return [];
  return [["parameters at start", reason ? html`${number(least)} to ${number(most)} <span class="muted">${reason}</span>` : number(most)]];
}

// Counted once pruning has ended; planned, at most, until then.
function elementsFact(job, map) {
  const planned = job.resolved.estimate?.elements;
  const end = map?.active === map?.target ? map?.trainable_parameters : null;
  const counted = job.result?.elements ?? (planned && end ? { ...planned, end, published: removes(job) ? end : planned.peak } : null);
  const counts = counted ?? planned;
  return counts ? [["elements of A and B", elements(counts, !counted)]] : [];
}

function baselineFacts(judgement) {
  if (!judgement) return [];
  const { baseline, predicts, low, high, level, method } = judgement;
  return [
    [`baseline: ${predicts}`, number(baseline)],
    ...(low === null ? [] : [[`${100 * level} % interval (${method})`, `${number(low)} to ${number(high)}`]]),
  ];
}

// The metric that chose the checkpoint, on data that did not choose it.
function testFacts({ best_metric: best, result }) {
  const value = result?.[`test_${best?.name}`];
  return typeof value === "number" ? [[`test ${words(best.name)}`, number(value)]] : [];
}

const removes = ({ resolved }) => resolved.spec.adamss?.use_asa && resolved.spec.adamss.asa_pruned === "removed";
