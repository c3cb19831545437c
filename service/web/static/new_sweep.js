// View of a new sweep around a job: which fields may be what, how many trials, and what the dry run says of them.
import { html, useEffect, useRef, useState } from "./lib.js";
import { get, newKey, post } from "./api.js";
import { duration, number, words } from "./format.js";
import { listFields } from "./new_fields.js";
import { chosen } from "./sweep_summary.js";

const DRY_RUN_MS = 600;
const READY = { quick: "Quick: the rates", thorough: "Thorough: rates, schedule and budget", own: "Fields of my own" };
const EMPTY = { path: "", min: "", max: "", log: false, values: "" };
const TRIED = /^(training|adamss)\./; // what a sweep usually chooses

export function NewSweep({ from }) {
  const [known, setKnown] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    const load = async () => {
      const [job, openapi] = await Promise.all([get(`/jobs/${from}`), get("/openapi.json")]);
      const paths = listFields(openapi.components.schemas).map(([path]) => path).filter((path) => TRIED.test(path));
      setKnown({ job, paths });
    };
    load().catch((error) => setProblem(error.message));
  }, [from]);
  return html`<main id="main">
    <h1>New sweep</h1>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    ${known ? html`<${Form} ...${known} />` : problem ? null : html`<p class="muted" role="status">Loading…</p>`}
  </main>`;
}

// A value as it was typed: a number, true, false or null, else a text.
function typed(text) {
  const trimmed = text.trim();
  if (["true", "false", "null"].includes(trimmed)) return JSON.parse(trimmed);
  return trimmed !== "" && !Number.isNaN(Number(trimmed)) ? Number(trimmed) : trimmed;
}

function dimensionOf({ min, max, log, values }) {
  if (values.trim()) return { values: values.split(",").map(typed) };
  return { ...(min.trim() ? { min: typed(min) } : {}), ...(max.trim() ? { max: typed(max) } : {}), ...(log ? { log } : {}) };
}

// The request of the form's values.
export function requestOf(job, { space, rows, trials, parallel, seeds, stops, hours }) {
  const own = Object.fromEntries(rows.filter((row) => row.path.trim()).map((row) => [row.path.trim(), dimensionOf(row)]));
  const listed = seeds.split(",").filter((seed) => seed.trim()).map(typed);
  return {
    spec: job.spec, space: space === "own" ? own : space, trials, parallel,
    ...(listed.length ? { seeds: listed } : {}), ...(stops ? {} : { stop: null }), ...(hours ? { device_hours: hours } : {}),
  };
}

// [plan, error] of the newest request whose dry run has answered.
function usePlan(body) {
  const [result, setResult] = useState([null, null]);
  const key = JSON.stringify(body);
  useEffect(() => {
    const control = new AbortController();
    const timer = setTimeout(async () => {
      try {
        setResult([await post("/sweeps?dry_run=true", body, control.signal), null]);
      } catch (error) {
        if (error.name !== "AbortError") setResult([null, error]);
      }
    }, DRY_RUN_MS);
    return () => (clearTimeout(timer), control.abort());
  }, [key]);
  return result;
}

function Form({ job, paths }) {
  const [values, setValues] = useState({ space: "quick", rows: [EMPTY], trials: 12, parallel: 2, seeds: "", stops: true, hours: null });
  const change = (changed) => setValues({ ...values, ...changed });
  const body = requestOf(job, values);
  const [plan, error] = usePlan(body);
  const [refused, setRefused] = useState(null);
  const [busy, setBusy] = useState(false);
  const sent = useRef({}); // the last body and its idempotency key: an unchanged one is not a second sweep
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    const key = JSON.stringify(body);
    if (sent.current.body !== key) sent.current = { body: key, key: newKey() };
    try {
      const made = await post("/sweeps", body, undefined, sent.current.key);
      location.hash = `#/sweeps/${made.id}`;
    } catch (problem) {
      setRefused(problem);
      setBusy(false);
    }
  };
  const whole = (name, title, most) => html`<label class="field">${title} <input type="number" name=${name} min="1" max=${most} required value=${values[name]} onInput=${(event) => change({ [name]: Number(event.target.value) })} /></label>`;
  const shown = refused ?? error;
  const isUntyped = values.space === "own" && !values.rows.some((row) => row.path.trim() && (row.values.trim() || (row.min.trim() && row.max.trim())));
  return html`<form class="new" onSubmit=${submit} onInput=${() => setRefused(null)}>
    <div>
      <fieldset class="card">
        <legend>Around the job</legend>
        <p><a href=${`#/jobs/${job.id}`}>${job.name}</a>: its data, model and all fields that the sweep does not choose.</p>
      </fieldset>
      <fieldset class="card">
        <legend>What is tried</legend>
        <div role="radiogroup" aria-label="Space">${Object.entries(READY).map(([name, text]) => html`<label key=${name} class="goal"><input type="radio" name="space" checked=${values.space === name} onChange=${() => change({ space: name })} /> ${text}</label>`)}</div>
        ${values.space === "own" ? html`<${OwnSpace} rows=${values.rows} paths=${paths} set=${(rows) => change({ rows })} />` : null}
      </fieldset>
      <fieldset class="card">
        <legend>How much</legend>
        <div class="fields">
          ${whole("trials", "Trials", 100)}${whole("parallel", "At a time", 64)}
          <label class="field">Seeds <input type="text" value=${values.seeds} placeholder="that of the job" onInput=${(event) => change({ seeds: event.target.value })} autocomplete="off" /><small class="help">Each choice runs with each of them, such as 0, 1, 2; the mean ranks.</small></label>
          <label class="field">Device hours at most <input type="number" min="0" step="any" value=${values.hours ?? ""} placeholder="no limit" onInput=${(event) => change({ hours: Number(event.target.value) || null })} /></label>
        </div>
        <label class="goal"><input type="checkbox" checked=${values.stops} onChange=${(event) => change({ stops: event.target.checked })} /> Stop trials early that do badly <span class="muted">Successive halving: of two trials one goes on after 1, 2, 4, … evaluations.</span></label>
      </fieldset>
    </div>
    <aside class="card" aria-label="Estimate">
      <button class="primary" type="submit" disabled=${busy}>${busy ? "Submitting…" : "Begin the sweep"}</button>
      <div role="status" id="plan">${isUntyped && !refused ? html`<p class="muted">Name a field, and give its bounds or its values.</p>` : shown ? html`<p class="error">${shown.param ? html`<code>${shown.param}</code>: ` : ""}${shown.message}</p>` : plan ? html`<${Plan} plan=${plan} />` : html`<p class="muted">Checking…</p>`}</div>
    </aside>
  </form>`;
}

function OwnSpace({ rows, paths, set }) {
  const change = (place, changed) => set(rows.map((row, index) => (index === place ? { ...row, ...changed } : row)));
  const box = (row, place, name, title, rest = {}) => html`<label class="field">${title} <input type="text" value=${row[name]} onInput=${(event) => change(place, { [name]: event.target.value })} autocomplete="off" spellcheck=${false} ...${rest} /></label>`;
  return html`<datalist id="sweep-paths">${paths.map((path) => html`<option value=${path}></option>`)}</datalist>
    ${rows.map((row, place) => html`<div class="fields own-space" key=${place}>
      ${box(row, place, "path", "Field", { list: "sweep-paths", placeholder: "training.learning_rate" })}
      ${box(row, place, "min", "From", { disabled: Boolean(row.values.trim()) })}${box(row, place, "max", "To", { disabled: Boolean(row.values.trim()) })}
      ${box(row, place, "values", "or values", { placeholder: "50, 100" })}
      <label class="goal"><input type="checkbox" checked=${row.log} disabled=${Boolean(row.values.trim())} onChange=${(event) => change(place, { log: event.target.checked })} /> factors count (logarithmic)</label>
      ${rows.length > 1 ? html`<button type="button" onClick=${() => set(rows.filter((_, index) => index !== place))} aria-label=${`Take out ${row.path || "the field"}`}>Take out</button>` : null}
    </div>`)}
    <button type="button" onClick=${() => set([...rows, EMPTY])}>Another field</button>`;
}

function Plan({ plan }) {
  const refused = plan.planned.filter((trial) => trial.refusal);
  return html`<h2>Estimate</h2>
    <dl class="facts narrow">
      <div><dt>trials</dt><dd>${number(plan.trials)}</dd></div>
      <div><dt>jobs</dt><dd>${number(plan.jobs)}</dd></div>
      <div><dt>ranked by</dt><dd>${words(plan.objective)}</dd></div>
      <div><dt>at most about</dt><dd>${duration(plan.seconds)}</dd></div>
    </dl>
    ${plan.warnings.map((warning) => html`<p class="notice" key=${warning}>${warning}</p>`)}
    ${refused.map(({ number: trial, refusal }) => html`<p class="notice" key=${trial}>Trial ${trial} is not run: ${refusal.message}</p>`)}
    <details><summary>The choices</summary><ol>${plan.planned.map((trial) => html`<li key=${trial.number}>${chosen(trial)}</li>`)}</ol></details>`;
}
