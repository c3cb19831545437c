// How a finished model does in full: tables of each report that the job has.
import { html } from "./lib.js";
import { number, score, words } from "./format.js";
import { metricNamed } from "./job_summary.js";
import { useTasks } from "./tasks.js";

const ROWS_OF = { train: "held-out rows", eval: "rows of the evaluation data", test: "rows of the test data" };
const CLASS = { classes: "Class", entities: "Entity", tags: "Tag" };
const SCORES = ["expected", "predicted", "right", "precision", "recall", "f1"];

export function Evaluation({ reports, task }) {
  const tasks = useTasks();
  if (!reports.length) return null;
  return html`<section aria-labelledby="evaluation">
    <h2 id="evaluation">Evaluation</h2>
    ${reports.map((report) => html`<${Report} key=${report.data} report=${report} shown=${(name, value) => score(metricNamed(tasks, task, name), value)} />`)}
  </section>`;
}

function Report({ report, shown }) {
  const { baseline, classes, confusion, confused, residuals, generation, answers } = report;
  const where = `${number(report.rows)} ${ROWS_OF[report.data]}`;
  const beside = baseline ? html` The baseline predicts ${baseline.predicts}.` : "";
  const scores = Object.entries(report.metrics).map(([name, value]) => [words(name), shown(name, value), shown(name, baseline?.[name])]);
  return html`<h3>${where}</h3>
    <p class="muted">${beside}</p>
    <${Table} name=${`Metrics on ${where}`} head=${["Metric", "Model", "Baseline"]} rows=${scores} />
    ${classes ? html`<${Table} name=${`${CLASS[report.classes_are]} scores on ${where}`} head=${[CLASS[report.classes_are], ...SCORES.map(words)]}
      rows=${classes.map((entry) => [entry.name, ...SCORES.map((name) => number(entry[name]))])} />` : null}
    ${confusion ? html`<${Confusion} confusion=${confusion} where=${where} />` : null}
    ${!confusion && confused?.length ? html`<${Table} name=${`Confusions on ${where}`} head=${["Expected", "Predicted", "Rows"]}
      rows=${confused.map((entry) => [entry.expected, entry.predicted, number(entry.rows)])} />` : null}
    ${residuals ? html`<${Residuals} residuals=${residuals} where=${where} />` : null}
    ${generation ? html`<p>Of ${generation.rows} written answers: exact match ${number(generation.exact_match)}, ROUGE-L ${number(generation.rouge_l)}, ended by the model ${number(generation.ended)}.</p>
      <${Table} name=${`Answers on ${where}`} head=${["Row", "Expected", "Answer", "ROUGE-L"]}
        rows=${answers.map((entry) => [entry.row, entry.expected, entry.answer, number(entry.rouge_l)])} texts=${true} />` : null}`;
}

const SHADES = 8; // as those of the map of subspaces

// Each cell is shaded by its share of the rows of its class.
function Confusion({ confusion: { names, counts }, where }) {
  const shade = (count, row) => (count ? `level-${Math.min(SHADES - 1, Math.floor((SHADES * count) / row.reduce((sum, one) => sum + one, 0)))}` : "");
  return html`<div class="scroll card tall" tabindex="0" role="region" aria-label=${`Confusion matrix on ${where}`}>
    <table class="list confusion">
      <thead><tr><th>Expected ↓ predicted →</th>${names.map((name) => html`<th key=${name} class="num">${name}</th>`)}</tr></thead>
      <tbody>${counts.map(
        (row, place) => html`<tr key=${place}><th scope="row">${names[place]}</th>${row.map((count, column) => html`<td key=${column} class=${`num ${shade(count, row)}`}>${number(count)}</td>`)}</tr>`,
      )}</tbody>
    </table>
  </div>`;
}

function Residuals({ residuals, where }) {
  const { edges, rows } = residuals.histogram;
  const facts = [
    ["mean", residuals.mean], ["mean absolute", residuals.mean_absolute], ["root mean square", residuals.root_mean_square],
    ...residuals.quantiles.map(({ share, value }) => [`${100 * share} % below`, value]),
  ];
  return html`<p>Predicted less expected: ${facts.map(([name, value]) => `${name} ${number(value)}`).join(", ")}.</p>
    <${Table} name=${`Residuals on ${where}`} head=${["From", "To", "Rows"]}
      rows=${rows.map((count, place) => [number(edges[place]), number(edges[place + 1]), number(count)])} />`;
}

function Table({ name, head, rows, texts = false }) {
  const kind = (place) => (texts && (place === 1 || place === 2) ? "text" : place ? "num" : "");
  return html`<div class="scroll card tall" tabindex="0" role="region" aria-label=${name}>
    <table class="list">
      <thead><tr>${head.map((title, place) => html`<th key=${place} class=${kind(place)}>${title}</th>`)}</tr></thead>
      <tbody>${rows.map(
        ([first, ...others], line) => html`<tr key=${line}>
          <th scope="row">${first}</th>${others.map((value, place) => html`<td key=${place} class=${kind(place + 1)}>${value}</td>`)}
        </tr>`,
      )}</tbody>
    </table>
  </div>`;
}
