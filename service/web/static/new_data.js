// The data of a new job: a file to upload, and what the service understood of the chosen data set.
import { html, useEffect, useState } from "./lib.js";
import { get, orNull } from "./api.js";
import { Drop } from "./drop.js";
import { cell, number, words } from "./format.js";
import { FirstRows } from "./first_rows.js";

const SHOWN_ROWS = 3;
const SHOWN_CHARACTERS = 160;

export const Upload = ({ done }) => html`<${Drop} id="new-file" className="field drop small" multiple=${false} uploaded=${([made]) => done(made.id)}>or drop a file here, or choose one <//>`;

export function DatasetSummary({ dataset }) {
  const found = dataset.suggestion;
  const columns = Object.entries(found?.dataset ?? {}).map(([field, column]) => html` <span class="tag" key=${field}>${field}: ${[column].flat().join(" + ")}</span>`);
  return html`<div class="understood">
    <p>${number(dataset.rows)} rows.${found
      ? html` Understood as <b>${words(found.task)}</b>${found.problem_type ? ` (${words(found.problem_type)})` : ""}, with${columns}. <span class="muted">${found.confidence === "certain" ? "Certain" : "Likely"}: ${found.reason}.</span>`
      : html` <span class="muted">What it is for is not clear: choose the task and its columns below.</span>`}
      ${dataset.problem_count ? html` <a href=${`#/datasets/${dataset.id}`}>${number(dataset.problem_count)} problems</a>` : null}</p>
    <${SomeRows} key=${dataset.id} dataset=${dataset} />
  </div>`;
}

const shortened = (text) => (text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text);

function SomeRows({ dataset }) {
  const [preview, setPreview] = useState(null);
  useEffect(() => void orNull(get(`/datasets/${dataset.id}/preview`)).then(setPreview, () => undefined), []);
  if (!preview) return null;
  const some = { ...preview, rows: preview.rows.slice(0, SHOWN_ROWS) };
  return html`<${FirstRows} dataset=${dataset} preview=${some} className="scroll" name="First rows" shown=${(value) => shortened(cell(value))} />`;
}
