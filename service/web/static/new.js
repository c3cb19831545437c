// View of a new job, in the order in which people know the answers: data, model, goal; everything else is folded.
import { html, useEffect, useMemo, useRef, useState } from "./lib.js";
import { all, get, newKey, post } from "./api.js";
import { DatasetSummary, Upload } from "./new_data.js";
import { Field, isColumn, listFields, texts } from "./new_fields.js";
import { Goal } from "./new_goal.js";
import { ModelCards } from "./new_model.js";
import { Plan, useDryRun, useFleet } from "./plan.js";
import { at, nested, parse } from "./schema.js";
import { ModelSpectrum } from "./spectrum.js";
import { ableModels, taskOf, useTasks } from "./tasks.js";

const DATA_FIRST = ["dataset.train", "dataset.eval", "dataset.eval_fraction", "dataset.test"];
const GOAL_FIELDS = ["training.epochs"];
const FOLDED = [["job", "More of the job"], ["adamss", "The method"], ["training", "The training"], ["resources", "What it runs on"]];

async function load(from, dataset, preset) {
  const [openapi, datasets, models, presets, job] = await Promise.all([
    get("/openapi.json"), all("/datasets"), all("/models"), get("/presets"), from ? get(`/jobs/${from}`) : null,
  ]);
  const examples = Object.values(openapi.paths["/jobs"].post.requestBody.content["application/json"].examples ?? {});
  const start = job?.spec ?? { name: "", base_model: "", dataset: { train: datasets[0]?.id ?? "" } };
  if (dataset) start.dataset = { ...start.dataset, train: dataset };
  if (preset) start.preset = preset;
  return {
    components: openapi.components.schemas, datasets, models, start,
    presets: [
      ...presets.data.map(({ name, own, task, problem_type, dataset, adamss, training }) => (
        own ? { name, own } : { name, spec: { task, problem_type, dataset, adamss, training } }
      )),
      ...examples.map(({ summary, value }) => ({ name: summary, spec: value })),
    ],
  };
}

export function NewJob({ from, dataset, preset }) {
  const [known, setKnown] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    load(from, dataset, preset).then(setKnown, (error) => setProblem(error.message));
  }, []);
  return html`<main id="main">
    <h1>New job</h1>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    ${known ? html`<${Form} ...${known} />` : problem ? null : html`<p class="muted" role="status">Loading…</p>`}
  </main>`;
}

// The chosen data set with its columns and what it is suggested for; null until it is known.
function useDataset(id) {
  const [dataset, setDataset] = useState(null);
  useEffect(() => {
    setDataset(null);
    let stale = false;
    if (/^ds_\w+$/.test(id ?? "")) get(`/datasets/${id}`).then((found) => stale || setDataset(found), () => undefined);
    return () => {
      stale = true;
    };
  }, [id]);
  return dataset;
}

// Name and base model follow the data until they are typed.
function proposals(values, dataset, models, tasks) {
  const task = values.task || dataset?.suggestion?.task;
  return { name: dataset ? dataset.name.replace(/\.\w+$/, "").slice(0, 80) : "", base_model: ableModels(models, tasks, task)[0]?.name ?? "" };
}

// What the service understood of the data, as fields of the spec: until somebody chooses one of these, all are sent as they are seen.
function understood(typed, dataset) {
  const { task, problem_type: type, dataset: columns } = dataset?.suggestion ?? {};
  if (!task) return {};
  const found = texts({ task, ...(type ? { problem_type: type } : {}), dataset: columns });
  return [...Object.keys(found), "problem_type"].some((path) => typed[path]) ? {} : found;
}

function Form({ components, datasets: listed, models, presets, start }) {
  const fields = useMemo(() => listFields(components), []);
  const [datasets, setDatasets] = useState(listed);
  const [typed, setTyped] = useState(() => texts(start));
  const [touched, setTouched] = useState(new Set());
  const dataset = useDataset(typed["dataset.train"]);
  const tasks = useTasks();
  const proposed = proposals(typed, dataset, models, tasks);
  const values = { ...typed, ...understood(typed, dataset), name: typed.name || proposed.name, base_model: typed.base_model || proposed.base_model };
  const key = JSON.stringify(values);
  const spec = useMemo(() => nested(Object.fromEntries(fields.map(([path, schema]) => [path, parse(schema, values[path] ?? "")]))), [key]);
  const [plan, problem] = useDryRun(spec);
  const fleet = useFleet();
  const [refused, setRefused] = useState(null);
  const [busy, setBusy] = useState(false);
  const withoutPreset = useRef(null); // what was typed before an example was chosen
  const sent = useRef({}); // the last submitted spec and its idempotency key
  const bySchema = new Map(fields);
  const columns = dataset?.columns.map(({ name }) => name) ?? [];
  const task = plan?.spec.task || values.task || (dataset && (dataset.suggestion?.task ?? bySchema.get("task")?.default));
  const error = refused ?? problem;
  const faults = [error, ...(error?.also ?? [])].filter((each) => each?.param).map((each) => [each.param.split("[")[0], each.message]); // adamss.target_modules[0]
  // Nobody is blamed for what they have not touched: it is said beside the form, and not in red.
  const wrong = Object.fromEntries(faults.filter(([path]) => refused || touched.has(path)).reverse());
  const blamed = error && (refused || !error.param || faults.some(([path]) => touched.has(path)));

  const change = (changed) => {
    setRefused(null);
    setTouched((old) => new Set([...old, ...Object.keys(changed)]));
    setTyped((old) => ({ ...old, ...changed })); // an upload under way ends with others
  };
  // An example's columns are of its own file: where the data lack one, those of the form stay that its task takes.
  const fitted = (given) => {
    const isOf = ([path]) => path.startsWith("dataset.") && isColumn(bySchema.get(path));
    const [theirs, settings] = [Object.entries(given).filter(isOf), Object.entries(given).filter((entry) => !isOf(entry))];
    const fit = !columns.length || theirs.every(([, value]) => value.split(", ").every((name) => columns.includes(name)));
    const foreign = fieldsOfOtherTasks(tasks, tasks.find((one) => one.name === (given.task || task)));
    const mine = Object.entries(values).filter((entry) => isOf(entry) && !foreign.has(entry[0]));
    return Object.fromEntries([...settings, ...(fit ? theirs : mine)]);
  };
  const usePreset = (event) => {
    const preset = presets.find(({ name }) => name === event.target.value);
    const kept = { name: typed.name ?? "", base_model: typed.base_model ?? "", "dataset.train": typed["dataset.train"] ?? "" };
    if (!preset) {
      setTyped({ ...withoutPreset.current, ...kept });
      withoutPreset.current = null;
      return;
    }
    withoutPreset.current ??= typed;
    if (preset.own) {
      change({ preset: preset.name }); // chosen by name: the service fills it in
      return;
    }
    const given = fitted(texts(preset.spec));
    setTyped({ ...given, ...kept });
    setTouched(new Set([...touched, ...Object.keys({ ...given, ...kept })]));
  };
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    const body = JSON.stringify(spec);
    if (sent.current.body !== body) sent.current = { body, key: newKey() }; // an unchanged spec is not a second job
    try {
      const job = await post("/jobs", spec, undefined, sent.current.key);
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      setRefused(error);
      setBusy(false);
    }
  };
  const uploaded = async (id) => {
    setDatasets(await all("/datasets"));
    change({ "dataset.train": id });
  };

  const planned = (path) => at(plan?.spec, path);
  const field = (path) => html`<${Field} key=${path} path=${path} schema=${bySchema.get(path)} value=${values[path] ?? ""} planned=${planned(path)}
    set=${(name, value) => change({ [name]: value })} wrong=${wrong[path] ?? null} lists=${{ datasets, models }} columns=${columns} />`;
  const others = fieldsOfOtherTasks(tasks, tasks.find((one) => one.name === task));
  const shown = fields.map(([path]) => path).filter((path) => !others.has(path) || values[path]);
  const ofTask = taskOf(tasks, { task })?.dataset_fields.map((name) => `dataset.${name}`) ?? [];
  // Only the columns that the job takes, where that is known; else all that it could take.
  const taken = ofTask.filter((path) => values[path] || wrong[path] || columns.includes(planned(path)) || dataset?.suggestion?.dataset[path.split(".")[1]]);
  const isKnown = plan || dataset?.suggestion?.task === task;
  const asked = (isKnown && taken.length ? taken : ofTask).filter((path) => bySchema.has(path));
  const used = new Set(["name", "task", "base_model", ...DATA_FIRST, ...GOAL_FIELDS, ...asked]);
  const rest = (block) => shown.filter((path) => !used.has(path) && (path.includes(".") ? path.split(".")[0] : "job") === block);
  const folded = (block, title) => {
    const paths = rest(block);
    const open = paths.some((path) => wrong[path] || (block !== "job" && texts(start)[path]));
    return paths.length ? html`<details class="card" key=${block} open=${open || undefined}><summary>${title}</summary><div class="fields">${paths.map(field)}</div></details>` : null;
  };
  return html`<form class="new" onSubmit=${submit}>
    <div>
      <fieldset class="card">
        <legend>1 Data</legend>
        <div class="fields">${DATA_FIRST.slice(0, 1).map(field)}<${Upload} done=${uploaded} /></div>
        ${dataset ? html`<${DatasetSummary} dataset=${dataset} />` : null}
        <div class="fields">${["task", ...asked].map(field)}</div>
        <details open=${[...DATA_FIRST.slice(1), ...rest("dataset")].some((path) => wrong[path] || values[path]) || undefined}><summary>Evaluation and more of the data</summary><div class="fields">${[...DATA_FIRST.slice(1), ...rest("dataset")].map(field)}</div></details>
      </fieldset>
      <fieldset class="card">
        <legend>2 Model</legend>
        <${ModelCards} models=${models} task=${task} chosen=${values.base_model} choose=${(name) => change({ base_model: name })} />
        <div class="fields">${field("base_model")}</div>
      </fieldset>
      <fieldset class="card">
        <legend>3 Goal</legend>
        <${Goal} values=${values} change=${change} />
        <div class="fields">${GOAL_FIELDS.map(field)}${field("name")}</div>
        <label>Start from a preset or an example <select id="preset" onChange=${usePreset}><option value="">none</option>
          ${presets.map(({ name }) => html`<option value=${name}>${name}</option>`)}</select></label>
      </fieldset>
      ${FOLDED.map(([block, title]) => folded(block, title))}
    </div>
    <aside class="card" aria-label="Estimate">
      <button class="primary" type="submit" disabled=${busy}>${busy ? "Submitting…" : "Submit"}</button>
      <div role="status" id="plan">${error
        ? [error, ...(error.also ?? [])].map((each) => html`<p class=${blamed ? "error" : "muted"} key=${each.param}>${each.param && blamed ? html`<code>${each.param}</code>: ` : ""}${each.message}</p>`)
        : plan ? html`<${Plan} plan=${plan} fleet=${fleet} />` : html`<p class="muted">Checking…</p>`}</div>
      <${ModelSpectrum} spec=${spec} />
    </aside>
  </form>`;
}

// Fields that only tasks other than this one read.
function fieldsOfOtherTasks(tasks, task) {
  if (!task) return new Set();
  const paths = (one) => [...one.dataset_fields.map((name) => `dataset.${name}`), ...one.training_fields.map((name) => `training.${name}`)];
  const own = new Set(tasks.filter((one) => one.name === task.name).flatMap(paths));
  return new Set(tasks.flatMap(paths).filter((path) => !own.has(path)));
}
