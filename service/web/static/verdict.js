// What came of a job, first of all: its metric beside what it must beat, with intervals, and in words.
import { html } from "./lib.js";
import { differences, duration, number, score, words } from "./format.js";
import { metricOf, useTasks } from "./tasks.js";

const FEW = 20; // rows below which a result has the warning few_held_out_rows
const BASE = "what the base model does"; // the baseline of tasks without a new head

export function Verdict({ job, before }) {
  const tasks = useTasks();
  const { judgement, best_metric: best, result } = job;
  const value = result?.[`eval_${best?.name}`];
  if (typeof value !== "number") return html`<${Undefined} job=${job} />`;
  const metric = metricOf(tasks, job) ?? { title: words(best.name), is_share: false };
  const shown = (number) => score(metric, number);
  const entries = entriesOf(job, value, before);
  const { peak, published } = result.elements ?? {};
  return html`<section class="card verdict" aria-labelledby="verdict">
    <h2 id="verdict" class="visually-hidden">Result</h2>
    <p class="headline"><strong>${shown(value)}</strong> ${metric.title.toLowerCase()}${judgement?.low === null || !judgement ? "" : html` <span class="muted">${100 * judgement.level} % interval ${shown(judgement.low)} to ${shown(judgement.high)}</span>`}</p>
    ${sentences(job, metric, shown).map((text) => html`<p key=${text}>${text}</p>`)}
    <${Intervals} entries=${entries} shown=${shown} name=${metric.title} />
    <p class="muted">${facts(job, judgement, published ?? peak)}</p>
  </section>`;
}

// A trained model whose metric is undefined, with the numbers that it has.
function Undefined({ job }) {
  const tasks = useTasks();
  const { best_metric: best, judgement, result } = job;
  const known = Object.entries(result ?? {}).filter(([name, value]) => name.startsWith("eval_") && name !== "eval_rows" && typeof value === "number");
  if (!best || typeof result?.stopped_early === "string" || !(`eval_${best.name}` in (result ?? {})) || !known.length) return null;
  const title = (metricOf(tasks, job) ?? { title: words(best.name) }).title;
  return html`<section class="card verdict" aria-labelledby="verdict">
    <h2 id="verdict" class="visually-hidden">Result</h2>
    <p class="headline"><strong>${title} is undefined</strong>${["pearson", "spearman"].includes(best.name) ? html` <span class="muted">all predictions are equal, or all answers of the rows</span>` : ""}</p>
    <p>${known.map(([name, value]) => `${words(name.slice(5))} ${number(value)}`).join(", ")}</p>
    <p class="muted">${facts(job, judgement, result.elements?.published)}</p>
  </section>`;
}

// [name, value, low, high, own] of all that the metric is known of.
function entriesOf(job, value, before) {
  const { judgement, best_metric: best } = job;
  const trained = (job.comparison?.contenders ?? []).filter((entry) => entry.contender !== "adamss" && entry.held_out);
  return [
    ["AdaMSS (this job)", value, judgement?.low, judgement?.high, true],
    ...trained.map(({ contender, held_out: measured }) => [contender === "head" ? "head alone" : contender, measured.metrics[best.name], measured.low, measured.high]),
    ...(before === undefined || judgement?.predicts === BASE ? [] : [["base model", before]]),
    ...(typeof judgement?.baseline === "number" ? [[judgement.predicts === BASE ? "base model" : judgement.predicts, judgement.baseline]] : []),
  ].filter(([, number]) => typeof number === "number");
}

function doubt({ value, baseline, low, high }, { direction }) {
  const isAhead = typeof value === "number" && typeof baseline === "number" && (direction === "max" ? value > baseline : value < baseline);
  if (!isAhead) return "No better than the baseline";
  return `Not shown to be better than the baseline${typeof low === "number" && low <= baseline && baseline <= high ? ": the interval contains it" : ""}`;
}

// The differences in words: what the intervals show, and what they do not.
function sentences(job, metric, shown) {
  const { judgement, best_metric: best, comparison } = job;
  const sentence = [];
  if (judgement?.no_better) sentence.push(`${doubt(judgement, best)}. See the warning.`);
  else if (judgement) sentence.push(`${judgement.rows < FEW ? "On few rows (see the warning) better" : "Better"} than ${judgement.predicts === BASE ? "the base model" : `a baseline that predicts ${judgement.predicts}`}: ${shown(judgement.baseline)}.`);
  for (const { contender, held_out: measured } of comparison?.contenders ?? []) {
    if (typeof measured?.difference_low !== "number") continue;
    const name = contender === "head" ? "the head alone" : contender;
    const [low, high] = [0 - measured.difference_high, 0 - measured.difference_low]; // of this job less the contender
    const range = `(this job less ${name}: ${differences(metric, low, high)})`;
    if (low <= 0 && high >= 0) sentence.push(`These rows show no difference to ${name} ${range}.`);
    else sentence.push(`${low > 0 === (best.direction === "max") ? "Better" : "Worse"} than ${name} ${range}.`);
  }
  return sentence;
}

function facts({ result, started_at: began, ended_at: ended }, judgement, published) {
  const parts = [];
  if (judgement) parts.push(`on ${number(judgement.rows)} held-out rows`);
  if (typeof published === "number") parts.push(`${number(published)} elements of A and B`);
  if (result.steps) parts.push(`${number(result.steps)} steps`);
  if (began && ended) parts.push(duration((new Date(ended) - new Date(began)) / 1000));
  return parts.join(" · ");
}

// A line for each: the value as a point, its interval as a bar, all on one scale.
function Intervals({ entries, shown, name }) {
  if (entries.length < 2) return null;
  const all = entries.flatMap(([, value, low, high]) => [value, low, high]).filter((number) => typeof number === "number");
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const place = (value) => 2 + (96 * (value - least)) / (most - least || 1);
  return html`<table class="intervals" aria-label=${`${name} beside others`}>
    <tbody>${entries.map(
      ([label, value, low, high, own]) => html`<tr key=${label} class=${own ? "own" : ""}>
        <th scope="row">${label}</th>
        <td aria-hidden="true"><div class="scale">
          ${typeof low === "number" ? html`<i class="range" style=${{ left: `${place(low)}%`, width: `${place(high) - place(low)}%` }}></i>` : null}
          <i class="point" style=${{ left: `${place(value)}%` }}></i>
        </div></td>
        <td class="num">${shown(value)}</td>
      </tr>`,
    )}</tbody>
  </table>`;
}
