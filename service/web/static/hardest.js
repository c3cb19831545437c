// The rows that a finished model found hardest, by their own names, images with their picture.
import { html } from "./lib.js";
import { DatasetLink } from "./named_links.js";
import { cell, number } from "./format.js";
import { useList } from "./live.js";
import { Thumbnail } from "./thumbnail.js";

export function HardestExamples({ job }) {
  const entries = useList(job, "worst");
  if (!entries.length) return null;
  const predicted = entries.some((entry) => entry.predicted !== null); // generated text has a loss only
  const sets = new Set(entries.map((entry) => datasetOf(job, entry)));
  const named = sets.size > 1;
  return html`<section aria-labelledby="hardest">
    <h2 id="hardest">Hardest examples</h2>
    <p class="muted">${job.evaluates ? "Rows" : "Held-out rows"}${named ? "" : html` of <${DatasetLink} id=${[...sets][0]} />`} with the highest loss. Wrong labels show up here first.</p>
    <div class="scroll card tall" tabindex="0" role="region" aria-label="Table of hardest examples">
      <table class="list">
        <thead><tr><th class="num">Row</th><th>Input</th><th>Expected</th>${predicted ? html`<th>Predicted</th>` : null}<th class="num">Loss</th></tr></thead>
        <tbody>${entries.map((entry) => html`<tr key=${entry.place}>
          <td class="num">${number(entry.row)}${named ? html`<br /><${DatasetLink} id=${datasetOf(job, entry)} />` : null}</td>
          <td class="text"><${Input} entry=${entry} dataset=${datasetOf(job, entry)} /></td>
          <td class=${differs(entry) ? "differs" : ""}>${shown(entry.expected)}</td>${predicted ? html`<td class=${differs(entry) ? "differs" : ""}>${shown(entry.predicted)}</td>` : null}
          <td class="num">${number(entry.loss)}</td>
        </tr>`)}</tbody>
      </table>
    </div>
  </section>`;
}

// The data set in which the row has its number.
function datasetOf({ evaluates, resolved }, { dataset, data }) {
  if (dataset || evaluates) return dataset ?? evaluates.dataset;
  const [first] = [resolved.spec.dataset[data]].flat();
  return first?.id ?? first;
}

const shown = (value) => (typeof value === "number" ? number(value) : cell(value));

const differs = ({ expected, predicted }) => predicted !== null && JSON.stringify(expected) !== JSON.stringify(predicted);

function Input({ entry, dataset }) {
  const { image, ...texts } = entry.input;
  const parts = Object.values(texts).map(cell).join(" · ");
  return html`${typeof image === "string" ? html`<${Thumbnail} dataset=${dataset} name=${image} /> ${image} ` : null}${parts}`;
}
