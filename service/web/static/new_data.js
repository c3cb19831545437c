// The data of a new job: a file to upload, and what the service understood of the chosen data set.
import { html, useState } from "./lib.js";
import { orNull, get, upload } from "./api.js";
import { cell, number, words } from "./format.js";
import { useEvery } from "./live.js";
import { Thumbnail } from "./thumbnail.js";

const SHOWN_ROWS = 3;
const SHOWN_CHARACTERS = 160;

export function Upload({ done }) {
  const [state, setState] = useState({ busy: "", problem: null, over: false });
  const send = async (file) => {
    if (!file) return;
    setState({ busy: `Uploading ${file.name}…`, problem: null, over: false });
    try {
      const form = new FormData();
      form.append("file", file);
      const made = await upload("/datasets", form);
      await done(made.id);
      setState({ busy: "", problem: null, over: false });
    } catch (error) {
      setState({ busy: "", problem: error.message, over: false });
    }
  };
  const drop = (event) => {
    event.preventDefault();
    send(event.dataTransfer.files[0]);
  };
  return html`<div class=${state.over ? "field drop small over" : "field drop small"} onDrop=${drop}
    onDragOver=${(event) => (event.preventDefault(), setState({ ...state, over: true }))} onDragLeave=${() => setState({ ...state, over: false })}>
    <label>or drop a file here, or choose one <input type="file" id="new-file" onChange=${(event) => send(event.target.files[0])} /></label>
    <span role="status" class="muted">${state.busy}</span>
    ${state.problem ? html`<p class="error" role="alert">${state.problem}</p>` : null}
  </div>`;
}

export function DatasetSummary({ dataset }) {
  const found = dataset.suggestion;
  const columns = Object.entries(found?.dataset ?? {}).map(([field, column]) => html` <span class="tag" key=${field}>${field}: ${[column].flat().join(" + ")}</span>`);
  return html`<div class="understood">
    <p>${number(dataset.rows)} rows.${found
      ? html` Understood as <b>${words(found.task)}</b>${found.problem_type ? ` (${words(found.problem_type)})` : ""}, with${columns}. <span class="muted">${words(found.confidence)}: ${found.reason}.</span>`
      : html` <span class="muted">What it is for is not clear: choose the task and its columns below.</span>`}
      ${dataset.problem_count ? html` <a href=${`#/datasets/${dataset.id}`}>${number(dataset.problem_count)} problems</a>` : null}</p>
    <${FirstRows} dataset=${dataset} />
  </div>`;
}

const shortened = (text) => (text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text);

function FirstRows({ dataset }) {
  const [preview, setPreview] = useState(null);
  useEvery(3600, () => orNull(get(`/datasets/${dataset.id}/preview`)).then(setPreview), [dataset.id]);
  if (!preview) return null;
  const images = dataset.format === "images";
  const shown = (row, name) => (images && name === "image" && row.image ? html`<${Thumbnail} dataset=${dataset.id} name=${row.image} />` : shortened(cell(row[name])));
  return html`<div class="scroll" tabindex="0" role="region" aria-label="First rows">
    <table class="list">
      <thead><tr>${preview.columns.map((name) => html`<th key=${name}>${name}</th>`)}</tr></thead>
      <tbody>${preview.rows.slice(0, SHOWN_ROWS).map((row, place) => html`<tr key=${place}>${preview.columns.map((name) => html`<td class="text" key=${name}>${shown(row, name)}</td>`)}</tr>`)}</tbody>
    </table>
  </div>`;
}
