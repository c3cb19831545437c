// View of data sets: upload, profile, problems, preview.
import { html, useEffect, useState } from "./lib.js";
import { all, get, orNull, post, remove, upload } from "./api.js";
import { bytes, number, when, words } from "./format.js";
import { taskOf, useTasks } from "./tasks.js";
import { FirstRows } from "./first_rows.js";
import { Thumbnail } from "./thumbnail.js";

export function Datasets({ id }) {
  const [datasets, setDatasets] = useState(null);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState("");
  const load = () => all("/datasets").then(setDatasets, (error) => setProblem(error.message));
  useEffect(() => void load(), []);

  const send = async (files) => {
    const refused = [];
    const again = [];
    for (const file of files) {
      setBusy(`Uploading ${file.name}…`);
      const form = new FormData();
      form.append("file", file);
      try {
        const uploaded = await upload("/datasets", form);
        if (datasets?.some((entry) => entry.id === uploaded.id)) again.push(`${file.name} was uploaded before: this is its data set.`);
        location.hash = `#/datasets/${uploaded.id}`;
      } catch (error) {
        refused.push(files.length > 1 ? `${file.name}: ${error.message}` : error.message);
      }
    }
    setProblem(refused.join(" ") || null);
    setBusy(again.join(" "));
    await load();
  };
  return html`<main id="main">
    <h1>Data sets</h1>
    <${Drop} send=${send} />
    <p role="status" class="muted">${busy}</p>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    <div class="scroll card" tabindex="0" role="region" aria-label="Table of data sets">
      <table class="list">
        <thead><tr><th>Name</th><th>Format</th><th class="num">Rows</th><th class="num">Size</th><th class="num">Problems</th><th>Uploaded</th></tr></thead>
        <tbody>${(datasets ?? []).map(
          (entry) => html`<tr key=${entry.id} class=${entry.id === id ? "chosen" : ""}>
            <td><a href=${`#/datasets/${entry.id}`} aria-current=${entry.id === id}>${entry.name}</a><br /><code class="muted">${entry.id}</code></td>
            <td>${entry.format}</td><td class="num">${number(entry.rows)}</td><td class="num">${bytes(entry.size_bytes)}</td>
            <td class="num">${number(entry.problem_count)}</td><td>${when(entry.created_at)}</td>
          </tr>`,
        )}</tbody>
      </table>
    </div>
    ${datasets === null && !problem ? html`<p class="muted" role="status">Loading…</p>` : null}
    ${datasets?.length === 0 ? html`<p class="muted">No data sets yet.</p>` : null}
    ${id ? html`<${Dataset} key=${id} id=${id} gone=${load} />` : null}
  </main>`;
}

function Drop({ send }) {
  const [over, setOver] = useState(false);
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    send([...event.dataTransfer.files]);
  };
  return html`<div class=${over ? "card drop over" : "card drop"} onDrop=${drop}
    onDragOver=${(event) => (event.preventDefault(), setOver(true))} onDragLeave=${() => setOver(false)}>
    <label>Drop a file here, or choose one: CSV, JSON, Excel, Parquet, Arrow, CoNLL, text, a zip of images, or an archive of these
      <input type="file" multiple onChange=${(event) => {
        const files = [...event.target.files];
        event.target.value = ""; // lets the same file be chosen again after a repair
        send(files);
      }} />
    </label>
  </div>`;
}

function Dataset({ id, gone }) {
  const [dataset, setDataset] = useState(null);
  const [preview, setPreview] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    get(`/datasets/${id}`).then(setDataset, (error) => setProblem(error.message));
    orNull(get(`/datasets/${id}/preview`)).then(setPreview);
  }, [id]);
  const drop = async () => {
    if (!confirm(`Delete ${dataset.name}?`)) return;
    try {
      await remove(`/datasets/${id}`);
      location.hash = "#/datasets";
      gone();
    } catch (error) {
      setProblem(error.message);
    }
  };
  if (!dataset) return problem ? html`<p class="error" role="alert">${problem}</p>` : html`<p class="muted" role="status">Loading…</p>`;
  return html`<section aria-labelledby="dataset">
    <div class="row head"><h2 id="dataset">${dataset.name}</h2>
      <span class="row tight"><a class="button primary" href=${`#/new?dataset=${id}`}>Train on this</a><button onClick=${drop}>Delete</button></span></div>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    ${Object.keys(dataset.splits).length ? html`<p>Splits: ${Object.entries(dataset.splits).map(([name, one]) => html`<a key=${one} href=${`#/datasets/${one}`} aria-current=${one === dataset.id}>${name}</a> `)}</p>` : null}
    ${dataset.suggestion ? html`<${Suggestion} found=${dataset.suggestion} />` : null}
    ${(dataset.notices ?? []).map((notice) => html`<p class="notice" key=${notice.code + notice.column}>${notice.message}</p>`)}
    ${Object.keys(dataset.image_modes ?? {}).length ? html`<p class="muted">Images: ${Object.entries(dataset.image_modes).map(([mode, count]) => `${number(count)} ${mode}`).join(", ")}</p>` : null}
    <${Columns} columns=${dataset.columns} rows=${dataset.rows} />
    ${dataset.problems.length ? html`<${Problems} dataset=${dataset} />` : html`<p class="muted">No problems.</p>`}
    ${preview ? html`<h3>First rows</h3><${FirstRows} dataset=${dataset} preview=${preview} className="scroll card tall" name="Table of first rows" />` : null}
    <${ModelInput} id=${id} />
  </section>`;
}

function Suggestion({ found }) {
  const columns = Object.entries(found.dataset).map(([field, column]) => html` <span class="tag" key=${field}>${field}: ${[column].flat().join(" + ")}</span>`);
  return html`<p id="suggestion">A job on it would be <b>${found.task}</b>${found.problem_type ? ` (${words(found.problem_type)})` : ""}, with${columns}.
    <span class="muted"> ${words(found.confidence)}: ${found.reason}. A job that leaves these fields out takes them from here.</span></p>`;
}

function Columns({ columns, rows }) {
  const values = (column) => Object.entries(column.values ?? {}).sort((a, b) => b[1] - a[1]).slice(0, 8);
  return html`<div class="scroll card" tabindex="0" role="region" aria-label="Table of columns">
    <table class="list">
      <thead><tr><th>Column</th><th>Type</th><th class="num">Empty</th><th class="num">Distinct</th><th class="num">Length</th><th>Values</th></tr></thead>
      <tbody>${columns.map(
        (column) => html`<tr key=${column.name}>
          <th scope="row">${column.name}</th><td>${column.type}</td><td class="num">${number(column.empty)}</td>
          <td class="num">${column.distinct ? number(column.distinct) : "–"}${column.distinct_capped ? "+" : ""}</td>
          <td class="num">${column.min_length}–${column.max_length}, mean ${number(column.mean_length, 3)}</td>
          <td>${values(column).map(([value, count]) => html`<span class="tag" key=${value}>${value} ${Math.round((100 * count) / Math.max(1, rows))} %</span> `)}</td>
        </tr>`,
      )}</tbody>
    </table>
  </div>`;
}

// Problems of data sets of older versions were not grouped: each is a group by itself.
function problemGroups(dataset) {
  if (dataset.problem_groups?.length) return dataset.problem_groups;
  return dataset.problems.map((entry) => ({ ...entry, rows: 1, first: [entry.row], files: entry.file ? [entry.file] : [] }));
}

function Problems({ dataset }) {
  return html`<h3>${number(dataset.problem_count)} problems</h3>
    <div class="scroll card tall" tabindex="0" role="region" aria-label="Table of problems">
      <table class="list">
        <thead><tr><th class="num">First rows</th><th class="num">Rows</th><th>Column</th><th>Problem</th></tr></thead>
        <tbody>${problemGroups(dataset).map((group, place) => html`<tr key=${place}><td class="num">${(group.files.length ? group.files : group.first).join(", ")}</td><td class="num">${number(group.rows)}</td><td>${group.column ?? ""}</td><td>${group.message}</td></tr>`)}</tbody>
      </table>
    </div>`;
}

// The first examples, encoded by a model's tokenizer or image processor.
function ModelInput({ id }) {
  const [models, setModels] = useState([]);
  const [spec, setSpec] = useState({ base_model: "" });
  const [preview, setPreview] = useState(null);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    all("/models").then((available) => {
      setModels(available);
      setSpec((old) => ({ ...old, base_model: available[0]?.name ?? "" }));
    });
  }, []);
  const ask = async (event) => {
    event.preventDefault();
    setBusy(true);
    setPreview(null);
    setProblem(null);
    try {
      setPreview(await post(`/datasets/${id}/preview`, spec));
    } catch (error) {
      setProblem(error.message);
    }
    setBusy(false);
  };
  const tasks = useTasks();
  const names = [...new Set(tasks.map(({ name }) => name))];
  return html`<h3>Model input</h3>
    <form class="row" onSubmit=${ask}>
      <label>Task <select value=${spec.task ?? ""} onChange=${(event) => setSpec({ ...spec, task: event.target.value || undefined })}><option value="">as suggested</option>${names.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
      <label>Model <select value=${spec.base_model} onChange=${(event) => setSpec({ ...spec, base_model: event.target.value })}>${models.map(({ name }) => html`<option value=${name}>${name}</option>`)}</select></label>
      <button disabled=${busy}>Show</button>
      <span role="status" class="muted">${busy ? "Loading the tokenizer takes a few seconds…" : ""}</span>
    </form>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    ${preview ? html`<p class="muted">${number(preview.checked)} rows examined${taskOf(tasks, preview)?.preview === "image" ? "" : `, ${number(preview.over_length)} longer than ${number(preview.limit)} tokens`}.</p>
      ${(preview.remarks ?? []).map((remark) => html`<p class="notice" key=${remark.code}>${remark.message}</p>`)}
      <div class="scroll card tall" tabindex="0" role="region" aria-label="Examples">${preview.examples.map((example, index) => html`<${Example} key=${index} id=${id} example=${example} />`)}</div>` : null}`;
}

function Example({ id, example }) {
  const { row, tokens, words, target, ...others } = example;
  const rest = words ? others : { target, ...others };
  const shown = Object.entries(rest).filter(([, value]) => value !== null && value !== false && !(Array.isArray(value) && !value.length));
  const marked = Array.isArray(tokens) && tokens.some((token) => token.trained);
  return html`<div class="example"><b>Row ${row}</b>${marked ? html` <span class="muted">underlined tokens are trained, the others are context</span>` : null}
    ${Array.isArray(tokens) ? html`<p class="tokens">${tokens.map((token, index) => token.text ? html`<code key=${index} title=${`${token.token} (${token.id})`} class=${token.trained ? "trained" : ""}>${token.text}</code><wbr />` : null)}</p>` : null}
    ${words ? html`<p class="tokens">${words.map((word, index) => html`<span key=${index}>${word}${target[index] === "O" ? null : html`<sub class="muted">${target[index]}</sub>`} </span>`)}</p>` : null}
    ${example.image ? html`<p><${Thumbnail} dataset=${id} name=${example.image} /></p>` : null}
    <dl class="facts narrow">${shown.map(([name, value]) => html`<div key=${name}><dt>${name.replaceAll("_", " ")}</dt><dd>${typeof value === "object" ? JSON.stringify(value).slice(0, 400) : String(value)}</dd></div>`)}</dl></div>`;
}
