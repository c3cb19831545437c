// Predictions for all rows of a file, as the service reads it, or for several images; the result is a CSV file.
import { html, useEffect, useRef, useState } from "./lib.js";
import { all, ApiError, post, remove, uploadDataset } from "./api.js";
import { csvOf, download } from "./csv.js";
import { cell, number } from "./format.js";
import { partsOf } from "./tasks.js";
import { requestOf } from "./writing.js";

const MAX_ROWS = 100000;
const INPUTS = 16; // of a request
const CHARACTERS = 4e6;
const SHOWN_ROWS = 20;
const BUSY_MS = 5000; // until a busy service is asked again

// A file's content as a data URL, which the API and the page's policy both take.
export const dataUrl = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });

export function BatchFile({ job, task, fields, beside, settings }) {
  const [state, setState] = useState(null); // { name, columns, rows: with their predictions, total, busy, problem }
  const control = useRef(null);
  useEffect(() => () => control.current?.abort(), []);
  const ofImages = fields.some(({ kind }) => kind === "image");

  const run = async (files) => {
    if (!files.length) return;
    control.current?.abort();
    const { signal } = (control.current = new AbortController());
    const name = files.length > 1 ? `${files.length} images` : files[0].name;
    let shown = { name, columns: [], rows: [], total: null, busy: true, problem: null };
    const show = (changed) => {
      shown = { ...shown, ...changed };
      if (!signal.aborted || !shown.busy) setState(shown);
    };
    show({});
    try {
      const given = ofImages ? await imageRows(files, fields[0].name) : await fileRows(files[0], job, [...fields, ...beside], fields.length, signal);
      show({ total: given.length, columns: [...new Set(given.flatMap(({ row }) => Object.keys(row)))] });
      for (const group of groups(given)) {
        const inputs = group.map(({ input }) => input).filter(Boolean);
        const answers = inputs.length ? await ask(job, inputs, requestOf(task, settings), signal) : [];
        show({ rows: [...shown.rows, ...group.map(({ row, input }) => ({ row, answer: input ? answers.shift() : null }))] });
      }
      show({ busy: false });
    } catch (error) {
      show({ busy: false, problem: signal.aborted ? null : error.message });
    }
  };
  return html`<details class="card" id="try-batch"><summary>${ofImages ? "Predict several images" : "Predict a file"}</summary>
    <label>${ofImages ? "Image files" : html`A file with ${columnNames(job, fields)}`}${" "}
      <input type="file" id="try-file" multiple=${ofImages} accept=${ofImages ? "image/*" : undefined} onChange=${(event) => {
        const files = [...event.target.files];
        event.target.value = ""; // lets the same file be chosen again after a repair
        run(files);
      }} /></label>
    ${state ? html`<${Progress} state=${state} task=${task} stop=${() => control.current.abort()} />` : null}
  </details>`;
}

const columnsOf = (job, { name }) => [job.resolved.spec.dataset[name]].flat();

function columnNames(job, fields) {
  const names = fields.flatMap((field) => columnsOf(job, field));
  return html`${names.length > 1 ? "the columns" : "a column"} ${names.map((name, place) => html`${place ? ", " : ""}<code key=${name}>${name}</code>`)}`;
}

// [{ row: as it is shown, input: as it is sent }] of a file; the data set that it becomes for that is deleted, unless it was there.
async function fileRows(file, job, fields, needed, signal) {
  const dataset = await uploadDataset(file);
  try {
    const parts = Object.keys(dataset.splits ?? {});
    if (parts.length) throw new Error(`${file.name} holds ${parts.length} data sets (${parts.join(", ")}). Give the file of one of them.`);
    signal.throwIfAborted();
    const rows = await all(`/datasets/${dataset.id}/rows`, {}, MAX_ROWS);
    return rows.map(({ values }) => {
      const [input, reason] = inputOf(values, job, fields, needed);
      return reason ? { row: { ...values, no_answer: reason }, input: null } : { row: values, input };
    });
  } finally {
    if (dataset.created) await Promise.all([dataset.id, ...Object.values(dataset.splits ?? {})].map((id) => remove(`/datasets/${id}`)));
  }
}

// [input, why there is none]: a row with an empty input gets a line without an answer.
function inputOf(row, job, fields, needed) {
  const input = {};
  let reason = null;
  fields.forEach((field, place) => {
    const columns = columnsOf(job, field);
    const missing = columns.find((name) => !(name in row));
    if (missing !== undefined && place < needed) throw new Error(`The file has no column '${missing}'. Its columns: ${Object.keys(row).join(", ")}.`);
    const filled = columns.map((name) => row[name]).filter((value) => value !== null && value !== undefined && String(value).trim());
    if (filled.length) input[field.name] = valueOf(field.kind, filled);
    else if (place < needed) reason ??= `column '${columns[0]}' is empty`;
  });
  return [input, reason];
}

// Several columns of a field are joined as training joins them; a chat is asked up to its last answer.
function valueOf(kind, filled) {
  if (kind === "chat") return asked(typeof filled[0] === "string" ? [{ role: "user", content: filled[0] }] : filled[0]);
  if (filled.length > 1) return filled.map((text) => String(text).trim()).join("\n\n");
  return typeof filled[0] === "object" ? filled[0] : String(filled[0]);
}

function asked(messages) {
  const last = messages.findLastIndex(({ role }) => role !== "assistant");
  return last < 0 ? messages : messages.slice(0, last + 1);
}

const imageRows = (files, field) => Promise.all(files.map(async (file) => ({ row: { file: file.name }, input: { [field]: await dataUrl(file) } })));

// Rows of one request each.
function groups(rows) {
  const made = [];
  let size = Infinity;
  for (const one of rows) {
    const own = JSON.stringify(one.input).length;
    if (size + own > CHARACTERS || made.at(-1).length === INPUTS) {
      made.push([]);
      size = 0;
    }
    made.at(-1).push(one);
    size += own;
  }
  return made;
}

async function ask(job, inputs, options, signal) {
  for (;;) {
    try {
      return (await post(`/jobs/${job.id}/predict`, { inputs, ...options }, signal)).data;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 429) throw error;
      await new Promise((resolve) => setTimeout(resolve, BUSY_MS));
      signal.throwIfAborted();
    }
  }
}

function Progress({ state: { name, columns, rows, total, busy, problem }, task, stop }) {
  const partsWithBase = (answer) => [...partsOf(task, answer), ...(answer.base ? partsOf(task, answer.base).map((part) => ({ ...part, title: `Base ${part.title}` })) : [])];
  const answered = rows.find(({ answer }) => answer);
  const titles = answered ? partsWithBase(answered.answer).map(({ title }) => title) : [];
  const text = (answer) => (answer ? partsWithBase(answer).map((part) => part.text) : titles.map(() => ""));
  const save = () => {
    const added = titles.map((title) => `predicted_${title.toLowerCase().replaceAll(" ", "_")}`);
    const lines = rows.map(({ row, answer }) => ({ ...row, ...Object.fromEntries(text(answer).map((value, place) => [added[place], value])) }));
    download(`${name.replace(/\.\w+$/, "")}-predictions.csv`, csvOf([...columns, ...added], lines));
  };
  return html`<div class="row">
      <span role="status">${total === null ? (busy ? `Reading ${name}…` : "") : `${number(rows.length)} of ${number(total)} rows of ${name}`}</span>
      ${busy && total ? html`<progress max=${total} value=${rows.length} aria-label="Progress of the file"></progress>` : null}
      ${busy ? html`<button type="button" onClick=${stop}>Stop</button>` : null}
      ${rows.length && !busy ? html`<button type="button" class="primary" onClick=${save}>Download CSV</button>` : null}
    </div>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    ${rows.length ? html`<div class="scroll tall" tabindex="0" role="region" aria-label="First predictions of the file">
      <table class="list"><thead><tr>${columns.map((column) => html`<th key=${column}>${column}</th>`)}${titles.map((title) => html`<th key=${title}>${title}</th>`)}</tr></thead>
        <tbody>${rows.slice(0, SHOWN_ROWS).map(
          ({ row, answer }, place) => html`<tr key=${place}>${columns.map((column) => html`<td class="text" key=${column}>${cell(row[column])}</td>`)}${text(answer).map((value, part) => html`<td class="text" key=${titles[part]}><strong>${value}</strong></td>`)}</tr>`,
        )}</tbody></table>
    </div>` : null}`;
}
