// View of one job.
import { html, useEffect, useState } from "./lib.js";
import { get, orNull } from "./api.js";
import { bytes, cell, duration, elements, number, when, words } from "./format.js";
import { Chart, points } from "./charts.js";
import { ENDED, useEvery, useJob, useList } from "./live.js";
import { Pruning } from "./asa.js";
import { Checkpoints } from "./checkpoints.js";
import { Actions, best, status } from "./jobs.js";
import { Contenders } from "./contenders.js";
import { Notes } from "./notes.js";
import { Evaluation } from "./evaluation.js";
import { Evaluations } from "./evaluations.js";
import { Directions, JobSpectrum } from "./spectrum.js";
import { TryIt } from "./try_it.js";
import { snippets } from "./snippets.js";

export function Job({ id }) {
  const [known, problem, reload] = useJob(id);
  if (problem) return html`<main id="main"><h1>Job</h1><p class="error" role="alert">${problem.message}</p></main>`;
  if (!known) return html`<main id="main"><h1>Job</h1><p class="muted" role="status">Loading…</p></main>`;
  const { job, rows, events, map } = known;
  const done = () => ENDED.includes(job.status) && reload();
  if (job.inspects) return html`<${SpectrumJob} job=${job} events=${events} done=${done} />`;
  if (job.evaluates) return html`<${EvaluationJob} job=${job} events=${events} done=${done} />`;
  return html`<main id="main" data-job=${id}>
    <${Head} job=${job} map=${map} rows=${rows ?? []} done=${done} />
    ${map ? html`<${Pruning} key=${id} id=${id} map=${map} rows=${rows ?? []} />` : null}
    <${Directions} job=${job} events=${events} />
    <section aria-labelledby="curves"><h2 id="curves">Learning</h2><${Curves} job=${job} rows=${rows} /></section>
    <${Artifacts} job=${job} />
    <${Contenders} job=${job} />
    ${["succeeded", "failed"].includes(job.status) && job.result ? html`<${TryIt} job=${job} /><${Evaluations} job=${job} />` : null}
    <${Samples} events=${events} />
    <${FullEvaluation} job=${job} />
    <${HardestExamples} job=${job} />
    <div class="pair">
      <${Events} events=${events} />
      <${Log} job=${job} />
    </div>
    <${Checkpoints} job=${job} />
    <${Reproduce} job=${job} />
  </main>`;
}

// A job that evaluates another one's model, and trains nothing.
function EvaluationJob({ job, events, done }) {
  return html`<main id="main" data-job=${job.id}>
    <${Head} job=${job} map=${null} rows=${[]} done=${done} />
    <${FullEvaluation} job=${job} />
    <${HardestExamples} job=${job} />
    <div class="pair">
      <${Events} events=${events} />
      <${Log} job=${job} />
    </div>
  </main>`;
}

// A job that measures the spectrum of a base model.
function SpectrumJob({ job, events, done }) {
  return html`<main id="main" data-job=${job.id}>
    <${Head} job=${job} map=${null} rows=${[]} done=${done} />
    <${JobSpectrum} job=${job} />
    <div class="pair">
      <${Events} events=${events} />
      <${Log} job=${job} />
    </div>
  </main>`;
}

function Head({ job, map, rows, done }) {
  useEffect(() => {
    document.title = `${job.name} · AdaMSS`;
  }, [job.name]);
  const { step, total_steps: total, epoch, eta_seconds: eta } = job.progress;
  const metric = best(job);
  const chosen = job.best_metric?.name;
  const spent = useList(job, "phases");
  const kept = useList(job, "retention");
  const before = rows.find((row) => row.kind === "eval" && row.step === 0)?.values[`eval_${chosen}`];
  const facts = [
    ["task", job.resolved.spec.task],
    ["model", job.resolved.spec.base_model],
    ...(job.evaluates
      ? [
          ["evaluates", html`the ${job.evaluates.model} model of <a href=${`#/jobs/${job.evaluates.job}`}>${job.evaluates.job}</a>`],
          ["on", html`<code>${job.evaluates.dataset}</code>`],
          ["batch", `${number(step)} of ${number(total)}`],
        ]
      : [["step", `${number(step)} of ${number(total)}`], ["epoch", epoch.toFixed(2)]]),
    ...(job.spec.time_limit_seconds ? [["time limit", `${duration(job.resolved.time_limit_seconds)} of training`]] : []),
    ...(job.status === "running" && eta ? [["time left", duration(eta)]] : []),
    ...(job.progress.contender ? [["comparing", job.progress.contender.contender]] : []),
    ...(job.inspects
      ? [["measures", html`the spectrum on <code>${job.inspects.dataset}</code>`]]
      : [...basisFact(job), ...parametersFact(job.resolved.estimate), ...elementsFact(job)]),
    ...(job.resolved.spec.adamss?.bias === "frozen" ? [["biases", "frozen"]] : []),
    ...(map ? [["subspaces", `${map.active} of ${map.total}${removes(job) ? ", pruned ones are removed" : ""}`]] : []),
    ...(job.metrics_archived_at ? [["metrics", `in an artifact since ${when(job.metrics_archived_at)}`]] : []),
    ...(metric && !job.evaluates ? [[`eval ${words(metric[0])}`, number(metric[1])]] : []),
    ...(before === undefined ? [] : [[`eval ${words(chosen)} before training`, number(before)]]),
    ...baselineFacts(job.judgement),
    ...testFacts(job),
    ...phasesFact(spent),
    ...keptFact(kept),
    ["attempt", job.attempt],
    ...(job.status === "queued" && job.spec_version > 1 ? [["waits for", `a worker of spec version ${job.spec_version} or later`]] : []),
    ["created", when(job.created_at)],
    ...(job.ended_at && job.started_at ? [["duration", duration((new Date(job.ended_at) - new Date(job.started_at)) / 1000)]] : []),
  ];
  return html`<div class="row head">
      <h1>${job.name} ${status(job.status)}</h1>
      <${Actions} job=${job} done=${done} gone=${() => (location.hash = "#/")} />
    </div>
    <p class="muted"><code>${job.id}</code> ${job.evaluates || job.inspects ? null : html`<a href=${`/jobs/${job.id}/metrics.parquet`} download=${`${job.id}.parquet`}>metrics.parquet</a>`}</p>
    <${Notes} key=${job.id} job=${job} done=${done} />
    <progress class="wide" max=${Math.max(1, total)} value=${step} aria-label="Progress"></progress>
    ${job.error ? html`<p class="error" role="alert"><strong>${job.error.message}</strong> ${job.error.hint ?? ""}</p>` : null}
    ${(job.warnings ?? []).map((warning) => html`<p class="notice" role="alert" key=${warning.code + warning.data}><strong>${words(warning.code)}</strong>: ${warning.message}</p>`)}
    <dl class="facts">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

// The seconds of each phase, over all attempts; the current one of a job that has not ended is marked.
function phasesFact(phases) {
  const seconds = new Map();
  for (const phase of phases) seconds.set(phase.phase, (seconds.get(phase.phase) ?? 0) + (phase.seconds ?? 0));
  const current = phases.at(-1)?.seconds === null ? phases.at(-1).phase : null;
  const shown = [...seconds].map(([name, spent]) => `${name} ${spent < 60 ? `${spent.toFixed(1)} s` : duration(spent)}${name === current ? " …" : ""}`);
  return shown.length ? [["phases", shown.join(", ")]] : [];
}

function keptFact(kept) {
  const ends = kept.filter((one) => one.kept_until !== null).map((one) => `${one.what} ${when(one.kept_until)}`);
  return ends.length ? [["kept until", ends.join(", ")]] : [];
}

const removes = ({ resolved }) => resolved.spec.adamss?.use_asa && resolved.spec.adamss.asa_pruned === "removed";

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

// Counted by the run once it has ended; planned, at most, until then.
function elementsFact({ resolved, result }) {
  const counts = result?.elements ?? resolved.estimate?.elements;
  return counts ? [["elements of A and B", elements(counts)]] : [];
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

function Curves({ job, rows }) {
  if (rows === null) return html`<p class="muted" role="status">Loading…</p>`;
  const names = [...new Set(rows.filter((row) => row.kind === "eval").flatMap((row) => Object.keys(row.values)))];
  const scores = names.filter((name) => name !== "eval_loss" && !/second|rows|examples/.test(name));
  const train = rows.filter((row) => row.kind === "train");
  const has = (name) => train.some((row) => row.values[name] !== undefined);
  const line = (name, label = words(name)) => ({ label, points: points(train, name) });
  if (!rows.length) {
    const reason = { queued: "The job is queued.", running: "Model and data are loading." }[job.status];
    return html`<p class="muted">No metrics yet. ${reason}</p>`;
  }
  return html`<div class="charts">
    <${Chart} name="loss" title="Loss" lines=${[line("loss", "training"), { label: "evaluation", points: points(rows, "eval_loss") }]} />
    <${Chart} name="scores" title="Evaluation" lines=${scores.slice(0, 6).map((name) => ({ label: words(name.replace("eval_", "")), points: points(rows, name) }))} />
    <${Chart} name="learning_rate" title="Learning rate" lines=${[line("learning_rate")]} />
    <${Chart} name="grad_norm" title="Gradient norm" lines=${[line("grad_norm")]} />
    <${Chart} name="throughput" title="Rows per second" lines=${[line("samples_per_second", "rows")]} />
    <${Chart} name="tokens" title="Tokens per second" lines=${[line("tokens_per_second", "tokens")]} />
    <${Chart} name="memory" title="Memory (GB)" lines=${[["memory_bytes", "peak"], ["process_memory_bytes", "process"], ["gpu_memory_bytes", "GPU"]].filter(([name]) => has(name)).map(([name, label]) => ({ label, points: points(train, name).map(([x, y]) => [x, y === null ? null : y / 1e9]) }))} />
    ${has("cpu_percent") ? html`<${Chart} name="load" title="Use of the machine (%)" lines=${[line("cpu_percent", "CPU (100 is a core)"), ...(has("gpu_percent") ? [line("gpu_percent", "GPU")] : [])]} />` : null}
  </div>`;
}

function Artifacts({ job }) {
  const entries = useList(job, "artifacts");
  if (!entries.length) return null;
  return html`<section aria-labelledby="artifacts">
    <h2 id="artifacts">Artifacts</h2>
    <div class="scroll card" tabindex="0" role="region" aria-label="Table of artifacts">
      <table class="list">
        <thead><tr><th>Name</th><th class="num">Size</th><th>SHA-256</th><th><span class="visually-hidden">Download</span></th></tr></thead>
        <tbody>${entries.map(
          (entry) => html`<tr key=${entry.name}>
            <th scope="row">${entry.name}</th><td class="num">${bytes(entry.size_bytes)}</td>
            <td class="text"><code class="hash">${entry.sha256}</code></td>
            <td><a class="button" href=${`/jobs/${job.id}/artifacts/${entry.name}`} download>Download ${entry.name}</a></td>
          </tr>`,
        )}</tbody>
      </table>
    </div>
  </section>`;
}

function FullEvaluation({ job }) {
  return html`<${Evaluation} reports=${useList(job, "evaluation")} />`;
}

// What a model that writes makes of a few held-out prompts: before training, and by now.
function Samples({ events }) {
  const all = events.filter((event) => event.type === "samples").map((event) => event.data);
  const [first, last] = [all[0], all.at(-1)];
  if (!last) return null;
  const shown = first.step === last.step ? [last] : [first, last];
  const written = ({ samples }, row) => samples.find((sample) => sample.row === row)?.completion ?? "";
  return html`<section aria-labelledby="samples">
    <h2 id="samples">Samples</h2>
    <div class="scroll card tall" tabindex="0" role="region" aria-label="Table of samples">
      <table class="list">
        <thead><tr><th class="num">Row</th><th>Prompt</th><th>Expected</th>${shown.map(({ step }) => html`<th key=${step}>${step ? `Step ${number(step)}` : "Before training"}</th>`)}</tr></thead>
        <tbody>${last.samples.map(
          ({ row, prompt, expected }) => html`<tr key=${row}>
            <td class="num">${row}</td><td class="text">${prompt}</td><td class="text">${expected}</td>
            ${shown.map((evaluation) => html`<td class="text" key=${evaluation.step}>${written(evaluation, row)}</td>`)}
          </tr>`,
        )}</tbody>
      </table>
    </div>
  </section>`;
}

function HardestExamples({ job }) {
  const entries = useList(job, "worst");
  if (!entries.length) return null;
  const predicted = entries.some((entry) => entry.predicted !== null); // generated text has a loss only
  return html`<section aria-labelledby="hardest">
    <h2 id="hardest">Hardest examples</h2>
    <p class="muted">${job.evaluates ? "Rows" : "Held-out rows"} with the highest loss. Wrong labels show up here first.</p>
    <div class="scroll card tall" tabindex="0" role="region" aria-label="Table of hardest examples">
      <table class="list">
        <thead><tr><th class="num">Row</th><th>Input</th><th>Expected</th>${predicted ? html`<th>Predicted</th>` : null}<th class="num">Loss</th></tr></thead>
        <tbody>${entries.map(
          (entry) => html`<tr key=${entry.place}>
            <td class="num">${entry.row}${entry.dataset ? html`<br /><code class="muted">${entry.dataset}</code>` : null}</td><td class="text">${Object.values(entry.input).map(cell).join(" · ")}</td>
            <td>${cell(entry.expected)}</td>${predicted ? html`<td>${cell(entry.predicted)}</td>` : null}<td class="num">${number(entry.loss)}</td>
          </tr>`,
        )}</tbody>
      </table>
    </div>
  </section>`;
}

function Events({ events }) {
  return html`<section aria-labelledby="events">
    <h2 id="events">Events</h2>
    <ol class="card tall events scroll" tabindex="0" aria-label="Events">${[...events].reverse().map(
      (event) => html`<li key=${event.seq}><time class="muted">${when(event.time)}</time> ${event.message}</li>`,
    )}</ol>
  </section>`;
}

function Log({ job }) {
  const [text, setText] = useState("");
  useEvery(ENDED.includes(job.status) ? 3600 : 3, async () => setText((await orNull(get(`/jobs/${job.id}/logs`, { limit: 20000 })))?.data ?? ""), [job.id, job.status]);
  return html`<section aria-labelledby="log">
    <h2 id="log">Log</h2>
    <pre class="card tall scroll" tabindex="0" role="region" aria-label="End of the training log">${text || "Empty."}</pre>
  </section>`;
}

function Reproduce({ job }) {
  const [copied, setCopied] = useState("");
  useEffect(() => setCopied(""), [job.id]);
  const copy = async (name, text) => {
    await navigator.clipboard.writeText(text);
    setCopied(name);
  };
  return html`<section aria-labelledby="reproduce">
    <h2 id="reproduce">Reproduce this job</h2>
    ${snippets(job, location.origin).map(
      ([name, text]) => html`<details class="card" key=${name} open=${name === "curl"}>
        <summary>${name}</summary>
        <button class="copy" onClick=${() => copy(name, text)}>${copied === name ? "Copied" : `Copy ${name}`}</button>
        <pre class="scroll" tabindex="0" role="region" aria-label=${name}>${text}</pre>
      </details>`,
    )}
  </section>`;
}
