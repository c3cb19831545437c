// View of a data set: what it holds and is for, what is wrong with it, how a model sees it, and who used it.
import { html, useEffect, useState } from "./lib.js";
import { all, get, orNull, remove } from "./api.js";
import { address } from "./address.js";
import { Ago } from "./ago.js";
import { Columns } from "./dataset_columns.js";
import { FirstRows } from "./first_rows.js";
import { bytes, number, words } from "./format.js";
import { best, shownScore, status } from "./job_summary.js";
import { ModelInput } from "./model_input.js";
import { useTasks } from "./tasks.js";
import { useTitle } from "./title.js";

const MOST_USERS = 50;
const NAMED_USERS = 5;

// Whether to delete a data set, asked with the names of its jobs.
export async function isGivenUp({ id, name }) {
  const users = (await all("/jobs", { dataset: id }, MOST_USERS)).map((job) => job.name);
  const others = users.length - NAMED_USERS;
  const named = users.slice(0, NAMED_USERS).join(", ") + (others > 0 ? ` and ${number(others)} more` : "");
  return confirm(`Delete ${name}?${users.length ? ` Used by ${named}: their models stay, but they cannot be trained again on it.` : ""}`);
}

export function Dataset({ id, again }) {
  const [dataset, setDataset] = useState(null);
  const [preview, setPreview] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    get(`/datasets/${id}`).then(setDataset, setProblem);
    orNull(get(`/datasets/${id}/preview`)).then(setPreview, () => undefined);
  }, []);
  useTitle("Data set", dataset?.name, problem);
  const drop = async () => {
    try {
      if (!(await isGivenUp(dataset))) return;
      await remove(`/datasets/${id}`);
      location.hash = "#/datasets";
    } catch (error) {
      setProblem(error);
    }
  };
  const failed = problem ? html`<p class="error" role="alert">${problem.message}</p>` : null;
  if (!dataset) return html`<main id="main"><h1>Data set</h1>${failed ?? html`<p class="muted" role="status">Loading…</p>`}</main>`;
  const others = Object.entries(dataset.splits);
  return html`<main id="main">
    <p class="path"><a href="#/datasets">Data sets</a></p>
    <div class="row head"><h1>${dataset.name}</h1>
      <span class="row tight"><a class="button primary" href=${address("new", { dataset: id })}>Train on it</a><button onClick=${drop}>Delete</button></span></div>
    ${failed}
    ${again ? html`<p class="notice" role="status">This file was uploaded before: this is its data set.</p>` : null}
    <p class="muted">${number(dataset.rows)} rows, ${dataset.format}, ${bytes(dataset.size_bytes)}, uploaded <${Ago} time=${dataset.created_at} />. <code>${id}</code></p>
    ${others.length ? html`<p>Splits: ${others.map(([name, one]) => html`<a key=${one} href=${`#/datasets/${one}`} aria-current=${one === id ? "page" : undefined}>${name}</a> `)}</p>` : null}
    <${Suggestion} found=${dataset.suggestion} />
    <${Notes} dataset=${dataset} />
    ${preview ? html`<h2>First rows</h2><${FirstRows} dataset=${dataset} preview=${preview} className="scroll card tall" name="Table of first rows" />` : null}
    <${ModelInput} dataset=${dataset} />
    <${Columns} dataset=${dataset} />
    <${Users} id=${id} />
  </main>`;
}

function Suggestion({ found }) {
  if (!found) return html`<p id="suggestion" class="understood">What it is for is not clear: a job on it names its task and columns.</p>`;
  const columns = Object.entries(found.dataset).map(([field, column]) => html` <span class="tag" key=${field}>${field}: ${[column].flat().join(" + ")}</span>`);
  return html`<p id="suggestion" class="understood">Understood as <b>${words(found.task)}</b>${found.problem_type ? ` (${words(found.problem_type)})` : ""}, with${columns}.
    <span class="muted"> ${found.confidence === "certain" ? "Certain" : "Likely"}: ${found.reason}. A job that leaves these fields out takes them from here.</span></p>`;
}

// Problems of data sets of older versions were not grouped: each is a group by itself.
function problemGroups(dataset) {
  if (dataset.problem_groups?.length) return dataset.problem_groups;
  return dataset.problems.map((entry) => ({ ...entry, rows: 1, first: [entry.row], files: entry.file ? [entry.file] : [] }));
}

const counted = (count, noun) => `${number(count)} ${count === 1 ? noun : `${noun}s`}`;

// What is remarked of the data: remarks of one kind together, then the rows with problems.
function Notes({ dataset }) {
  const { notices = [], duplicates, left_out: left = 0, empty_rows: empty = 0, image_modes: modes = {} } = dataset;
  const kinds = [...Map.groupBy(notices, (notice) => notice.code).values()];
  const pictures = Object.entries(modes).map(([mode, count]) => `${number(count)} ${mode}`);
  const facts = [
    left || empty ? `${counted(left + empty, "row")} left out${empty ? `, ${number(empty)} of them empty` : ""}.` : null,
    ...gaps(dataset),
    duplicates?.rows ? `${counted(duplicates.rows, "row")} repeat an earlier row, such as row ${duplicates.examples[0]?.row}.` : null,
    pictures.length ? `Images: ${pictures.join(", ")}.` : null,
  ].filter(Boolean);
  return html`<section aria-labelledby="notes">
    <h2 id="notes">Is it right?</h2>
    ${kinds.map(([first, ...more]) => html`<div class="notice" key=${first.code}>${first.message}
      ${more.length ? html`<details><summary>${counted(more.length, "more remark")} of this kind</summary><ul>${more.map((notice) => html`<li key=${notice.column}>${notice.message}</li>`)}</ul></details>` : null}</div>`)}
    ${facts.map((fact) => html`<p key=${fact}>${fact}</p>`)}
    ${dataset.problem_count ? html`<${Problems} dataset=${dataset} />` : html`<p class="muted">${kinds.length || facts.length ? "No row has a problem." : "No problems were found."}</p>`}
  </section>`;
}

// Rows without a value in one of the columns that the data set is suggested for.
function gaps({ suggestion, columns }) {
  const fields = Object.entries(suggestion?.dataset ?? {}).filter(([, column]) => typeof column === "string");
  return fields.flatMap(([field, name]) => {
    const empty = columns.find((column) => column.name === name)?.empty;
    return empty ? [`${counted(empty, "row")} ${empty === 1 ? "has" : "have"} no ${words(field)} in column '${name}'.`] : [];
  });
}

function Problems({ dataset }) {
  return html`<h3>${counted(dataset.problem_count, "problem")}</h3>
    <div class="scroll card tall" tabindex="0" role="region" aria-label="Table of problems">
      <table class="list">
        <thead><tr><th class="num">Rows</th><th>First</th><th>Column</th><th>Problem</th></tr></thead>
        <tbody>${problemGroups(dataset).map((group, place) => html`<tr key=${place}><td class="num">${number(group.rows)}</td><td>${(group.files.length ? group.files : group.first).join(", ")}</td><td>${group.column ?? ""}</td><td class="text">${group.message}</td></tr>`)}</tbody>
      </table>
    </div>`;
}

function Users({ id }) {
  const tasks = useTasks();
  const [jobs, setJobs] = useState(null);
  useEffect(() => void all("/jobs", { dataset: id }, MOST_USERS).then(setJobs, () => undefined), []);
  if (!jobs) return null;
  const result = (job) => {
    const metric = best(job);
    return metric ? `${shownScore(tasks, job, ...metric)} ${words(metric[0])}` : "–";
  };
  return html`<section aria-labelledby="users">
    <h2 id="users">Used by</h2>
    ${jobs.length ? html`<div class="scroll card" tabindex="0" role="region" aria-label="Table of jobs that use it">
      <table class="list"><thead><tr><th>Job</th><th>Status</th><th>Model</th><th class="num">Result</th><th>Submitted</th></tr></thead>
        <tbody>${jobs.map((job) => html`<tr key=${job.id}>
          <th scope="row"><a href=${`#/jobs/${job.id}`}>${job.name}</a></th><td>${status(job.status)}</td><td><a href=${`#/models/${job.base_model}`}>${job.base_model}</a></td>
          <td class="num">${result(job)}</td><td class="when"><${Ago} time=${job.created_at} /></td></tr>`)}</tbody></table>
    </div>` : html`<p class="muted">No job uses it yet.</p>`}
  </section>`;
}
