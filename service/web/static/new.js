// View of a new job: a form generated from the spec's schema, validated and estimated by dry runs.
import { html, useEffect, useMemo, useRef, useState } from "./lib.js";
import { all, get, post } from "./api.js";
import { bytes, duration, elements, number, words, yesNo } from "./format.js";
import { Chart } from "./charts.js";
import { ModelSpectrum } from "./spectrum.js";
import { choices, nested, nullable, parse, resolve, text } from "./schema.js";

const DRY_RUN_MS = 400;
const BLOCKS = ["dataset", "adamss", "training"];
// Fields that most jobs set; the others are folded.
const COMMON_FIELDS = new Set([
  "name", "task", "base_model", "dataset.train", "dataset.eval_fraction", "dataset.text", "dataset.label",
  "adamss.num_subspaces", "adamss.target_modules", "adamss.use_asa", "adamss.asa_target_subspaces", "adamss.init_warmup",
  "adamss.final_warmup", "adamss.mask_interval", "training.epochs", "training.batch_size",
  "training.gradient_accumulation_steps", "training.learning_rate", "training.head_learning_rate", "training.seed",
]);
// Fields that name a data set -> the label of the empty choice.
const DATASETS = { "dataset.train": "choose", "dataset.eval": "hold out a share", "dataset.test": "none" };
const FROM_PEFT = /^adamss\.(task_type|peft_type|auto_mapping|peft_version|base_model_name_or_path|revision|inference_mode)$/;

async function load(from, dataset) {
  const [openapi, datasets, models, presets, job] = await Promise.all([
    get("/openapi.json"), all("/datasets"), all("/models"), get("/presets"), from ? get(`/jobs/${from}`) : null,
  ]);
  const examples = Object.values(openapi.paths["/jobs"].post.requestBody.content["application/json"].examples ?? {});
  const start = job?.spec ?? {
    name: "my-job", base_model: models[0]?.name ?? "", dataset: { train: datasets[0]?.id ?? "" },
    adamss: { use_asa: true, asa_target_subspaces: 60, num_subspaces: 10, init_warmup: "auto", final_warmup: "auto", mask_interval: "auto" },
  };
  if (dataset) start.dataset = { ...start.dataset, train: dataset };
  return {
    components: openapi.components.schemas, datasets, models, start,
    presets: [
      ...presets.data.map(({ name, task, problem_type, dataset, adamss, training }) => ({
        name, spec: { task, problem_type, dataset, adamss, training },
      })),
      ...examples.map(({ summary, value }) => ({ name: summary, spec: value })),
    ],
  };
}

export function NewJob({ from, dataset }) {
  const [known, setKnown] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    load(from, dataset).then(setKnown, (error) => setProblem(error.message));
  }, []);
  return html`<main id="main">
    <h1>New job</h1>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    ${known ? html`<${Form} ...${known} />` : problem ? null : html`<p class="muted" role="status">Loading…</p>`}
  </main>`;
}

function Form({ components, datasets, models, presets, start }) {
  const fields = useMemo(() => listFields(components), []);
  const [values, setValues] = useState(() => texts(start));
  const spec = useMemo(() => nested(Object.fromEntries(fields.map(([path, schema]) => [path, parse(schema, values[path] ?? "")]))), [values]);
  const [plan, problem] = useDryRun(spec);
  const [refused, setRefused] = useState(null);
  const [busy, setBusy] = useState(false);
  const sent = useRef({}); // the last submitted spec and its idempotency key
  const error = refused ?? problem;
  const wrong = Object.fromEntries([error, ...(error?.also ?? [])].filter((each) => each?.param).reverse().map((each) => [each.param.split("[")[0], each.message])); // adamss.target_modules[0]

  const set = (path, value) => {
    setRefused(null);
    setValues({ ...values, [path]: value });
  };
  const usePreset = (event) => {
    const preset = presets.find(({ name }) => name === event.target.value);
    if (!preset) return;
    const keep = { name: values.name, base_model: values.base_model, "dataset.train": values["dataset.train"] };
    setValues({ ...texts(preset.spec), ...keep });
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
  const field = ([path, schema]) => html`<${Field} key=${path} path=${path} schema=${schema} value=${values[path] ?? ""}
    set=${set} wrong=${wrong[path] ?? null} lists=${{ datasets, models }} />`;
  const block = (name) => fields.filter(([path]) => (path.includes(".") ? path.split(".")[0] : "job") === name);
  return html`<form class="new" onSubmit=${submit}>
    <div>
      ${datasets.length ? null : html`<p class="notice">No data sets yet: <a href="#/datasets">upload one</a> first.</p>`}
      <label>Preset <select id="preset" onChange=${usePreset}><option value="">choose a preset</option>
        ${presets.map(({ name }) => html`<option value=${name}>${name}</option>`)}</select></label>
      ${["job", ...BLOCKS].map(
        (name) => html`<fieldset class="card" key=${name}>
          <legend>${words(name)}</legend>
          <div class="fields">${block(name).filter(([path]) => COMMON_FIELDS.has(path)).map(field)}</div>
          <details open=${block(name).some(([path]) => wrong[path] && !COMMON_FIELDS.has(path)) || undefined}><summary>More ${words(name)} fields</summary><div class="fields">${block(name).filter(([path]) => !COMMON_FIELDS.has(path)).map(field)}</div></details>
        </fieldset>`,
      )}
    </div>
    <aside class="card" aria-label="Estimate">
      <button class="primary" type="submit" disabled=${busy}>${busy ? "Submitting…" : "Submit"}</button>
      <div role="status" id="plan">${error
        ? [error, ...(error.also ?? [])].map((each) => html`<p class="error" key=${each.param}>${each.param ? html`<code>${each.param}</code>: ` : ""}${each.message}</p>`)
        : plan ? html`<${Plan} plan=${plan} />` : html`<p class="muted">Checking…</p>`}</div>
      <${ModelSpectrum} spec=${spec} />
    </aside>
  </form>`;
}

function texts(spec) {
  const given = Object.entries(spec).flatMap(([name, value]) =>
    BLOCKS.includes(name) ? Object.entries(value ?? {}).map(([field, entry]) => [`${name}.${field}`, entry]) : [[name, value]],
  );
  const set = given.filter(([path, value]) => value !== undefined && (value !== null || !path.startsWith("dataset.")));
  return Object.fromEntries(set.map(([path, value]) => [path, text(value)]));
}

// Browsers offer randomUUID on pages with TLS only.
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function listFields(components) {
  const fields = [];
  const walk = (properties, prefix) => {
    for (const [name, schema] of Object.entries(properties)) {
      const full = resolve(schema, components);
      if (!prefix && BLOCKS.includes(name)) walk(full.properties, `${name}.`);
      else if (!FROM_PEFT.test(prefix + name)) fields.push([prefix + name, full]);
    }
  };
  walk(components.JobSpec.properties, "");
  return fields;
}

function Field({ path, schema, value, set, wrong, lists }) {
  const id = `field-${path.replaceAll(".", "-")}`;
  const label = words(path.split(".").at(-1));
  const common = {
    id, value, "aria-invalid": wrong ? "true" : undefined, "aria-describedby": `${id}-help`,
    onInput: (event) => set(path, event.target.value),
  };
  const options = choices(schema);
  const standard = schema.default === undefined || schema.default === null ? "" : text(schema.default);
  let control;
  const several = path === "dataset.train" && /[,[]/.test(value); // "ds_a, ds_b", or [{"id": "ds_a", "weight": 2}, …]
  if (path in DATASETS && !several) {
    control = html`<select ...${common}><option value="">${DATASETS[path]}</option>
      ${lists.datasets.map((entry) => html`<option value=${entry.id}>${entry.name} (${number(entry.rows)} rows)</option>`)}
      ${path === "dataset.train" && value ? html`<option value=${`${value}, `}>several: this one and …</option>` : null}</select>`;
  } else if (options) {
    control = html`<select ...${common}><option value="">${standard === "" ? "default" : `default: ${standard}`}</option>
      ${[...options, ...(nullable(schema) ? [null] : [])].map((option) => html`<option value=${String(option)}>${String(option)}</option>`)}</select>`;
  } else {
    control = html`<input type="text" ...${common} placeholder=${standard} list=${path === "base_model" ? "models" : undefined} autocomplete="off" spellcheck=${false} />
      ${path === "base_model" ? html`<datalist id="models">${lists.models.map((model) => html`<option value=${model.name}></option>`)}</datalist>` : null}`;
  }
  return html`<div class=${wrong ? "field wrong" : "field"}>
    <label for=${id}>${label}</label>${control}
    <small id=${`${id}-help`} class="help">${wrong ? html`<strong class="error">${wrong}</strong> ` : ""}${schema.description ?? ""}</small>
  </div>`;
}

function useDryRun(spec) {
  const [result, setResult] = useState([null, null]); // [plan, error]
  const running = useRef(null);
  const key = JSON.stringify(spec);
  useEffect(() => {
    if (!spec.name || !spec.base_model || !spec.dataset?.train) {
      setResult([null, { message: "A job needs a name, a base model and a data set." }]);
      return undefined;
    }
    const timer = setTimeout(async () => {
      running.current?.abort();
      const control = (running.current = new AbortController());
      try {
        const plan = await post("/jobs?dry_run=true", spec, control.signal);
        setResult([plan, null]);
      } catch (error) {
        if (error.name !== "AbortError") setResult([null, error]);
      }
    }, DRY_RUN_MS);
    return () => clearTimeout(timer);
  }, [key]);
  return result;
}

function Plan({ plan }) {
  const { artifact_bytes: sizes, memory_phases: phases, ...estimate } = plan.estimate;
  const rows = Object.entries(estimate).filter(([, value]) => ["number", "string", "boolean"].includes(typeof value));
  const files = Object.entries(sizes ?? {}).filter(([, value]) => value !== null);
  return html`<h2>Estimate</h2>
    <dl class="facts narrow">
      ${plan.time_limit_seconds ? html`<div><dt>time limit</dt><dd>${duration(plan.time_limit_seconds)} of training</dd></div>` : null}
      ${plan.test_rows ? html`<div><dt>test rows</dt><dd>${number(plan.test_rows)}</dd></div>` : null}
      ${rows.map(([name, value]) => html`<div key=${name}><dt>${words(name.replace("_bytes", ""))}</dt><dd>${typeof value === "boolean" ? yesNo(value) : typeof value === "string" ? words(value) : name.endsWith("_bytes") ? bytes(value) : number(value)}</dd></div>`)}
      ${plan.estimate.elements ? html`<div><dt>elements of A and B</dt><dd>${elements(plan.estimate.elements)}</dd></div>` : null}
      ${Object.entries(phases ?? {}).filter(([, value]) => value !== null).map(([name, value]) => html`<div key=${name}><dt>memory while ${name}</dt><dd>${bytes(value)}</dd></div>`)}
      ${files.map(([name, value]) => html`<div key=${name}><dt>size of ${name}</dt><dd>${bytes(value)}</dd></div>`)}
    </dl>
    ${(estimate.comparison ?? []).map((one) => html`<p class="muted" key=${one.contender}>Compared with ${one.contender}: ${number(one.steps)} more steps, ${number(one.adapter_parameters)} elements of A and B${one.learning_rate === null ? "" : ` at ${number(one.learning_rate)}`}.</p>`)}
    ${plan.suggested?.length ? html`<p class="muted">Taken from the data: ${plan.suggested.map((path) => `${words(path.split(".").at(-1))} ${text(path.split(".").reduce((part, name) => part[name], plan.spec))}`).join(", ")}.</p>` : null}
    ${plan.budget ? html`<p class="muted">${plan.budget}</p>` : null}
    ${plan.warnings.map((warning) => html`<p class="notice" key=${warning}>${warning}</p>`)}
    ${plan.schedule.length ? html`<${Chart} name="schedule" title="Scheduled subspaces" lines=${[
      { label: "scheduled", stepped: true, points: [[0, plan.estimate.subspaces ?? plan.schedule[0].wanted], ...plan.schedule.map(({ step, wanted }) => [step, wanted]), [plan.estimate.steps, plan.schedule.at(-1).wanted]] },
    ]} />` : null}`;
}
