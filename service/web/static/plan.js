// The dry run of a spec as it is typed: the plan, or what is at fault; and how both are shown.
import { html, useEffect, useRef, useState } from "./lib.js";
import { all, orNull, post } from "./api.js";
import { bytes, duration, elements, number, words, yesNo } from "./format.js";
import { Chart } from "./charts.js";
import { at, text } from "./schema.js";

const DRY_RUN_MS = 400;
const MEASURED_MS = 3000; // until a plan is asked for again that the rows' lengths are still measured for
const MOST_REPEATS = 10;
export const MEASURES = /^The rows' lengths in tokens are being measured/; // the warning of such a plan
const CLASSES = 10; // whose rows are shown
const NEEDED = [["dataset.train", "a data set"], ["base_model", "a base model"], ["name", "a name"]];

const listed = (names) => [names.slice(0, -1).join(", "), names.at(-1)].filter(Boolean).join(" and ");

// [plan, error] of the newest spec whose dry run has answered.
export function useDryRun(spec) {
  const [result, setResult] = useState([null, null]);
  const [again, setAgain] = useState(0);
  const running = useRef(null);
  const key = JSON.stringify(spec);
  useEffect(() => setAgain(0), [key]);
  useEffect(() => {
    const missing = NEEDED.filter(([path]) => !at(spec, path)?.length);
    if (missing.length) {
      setResult([null, { param: missing[0][0], message: `The job still needs ${listed(missing.map(([, what]) => what))}.` }]);
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
  }, [key, again]);
  const measures = Boolean(result[0]?.warnings.some((warning) => MEASURES.test(warning))) && again < MOST_REPEATS;
  useEffect(() => {
    if (!measures) return undefined;
    const timer = setTimeout(() => setAgain(again + 1), MEASURED_MS);
    return () => clearTimeout(timer);
  }, [result[0], measures]);
  return result;
}

// Of the workers that live: the most memory of one that takes jobs, in bytes, null where none tells; and whether all are drained.
export function useFleet() {
  const [fleet, setFleet] = useState({ most: null, drained: false });
  useEffect(() => {
    orNull(all("/workers")).then((workers) => {
      const open = (workers ?? []).filter((worker) => !worker.drained);
      const known = open.map((worker) => worker.memory_bytes).filter(Boolean);
      setFleet({ most: known.length ? Math.max(...known) : null, drained: Boolean(workers?.length && !open.length) });
    }, () => undefined);
  }, []);
  return fleet;
}

function Memory({ needed, most }) {
  if (most === null || !needed) return null;
  return needed > most
    ? html`<p class="notice">The job needs about ${bytes(needed)} of memory; the largest worker has ${bytes(most)}.</p>`
    : html`<p class="muted">The largest worker has ${bytes(most)} of memory.</p>`;
}

// Fields of the estimate that people decide by; the others are folded.
const FIRST = ["subspaces", "steps", "train_rows", "eval_rows", "trainable_parameters", "devices", "memory_bytes"];

// Such as "2: neg 20, pos 20".
function classesLine(rows) {
  const names = Object.keys(rows);
  const more = names.length > CLASSES ? ` and ${number(names.length - CLASSES)} more` : "";
  return `${number(names.length)}: ${names.slice(0, CLASSES).map((name) => `${name} ${number(rows[name])}`).join(", ")}${more}`;
}

// fleet: as `useFleet` returns it.
export function Plan({ plan, fleet }) {
  const { artifact_bytes: sizes, memory_phases: phases, seconds, ...estimate } = plan.estimate;
  const rows = Object.entries(estimate).filter(([, value]) => ["number", "string", "boolean"].includes(typeof value));
  const files = Object.entries(sizes ?? {}).filter(([, value]) => value !== null);
  const shown = (name, value) => (typeof value === "boolean" ? yesNo(value) : typeof value === "string" ? words(value) : name.endsWith("_bytes") ? bytes(value) : number(value));
  const line = ([name, value]) => html`<div key=${name}><dt>${words(name.replace("_bytes", ""))}</dt><dd>${shown(name, value)}</dd></div>`;
  return html`<h2>Estimate</h2>
    <dl class="facts narrow">
      ${typeof seconds === "number" ? html`<div><dt>training takes about</dt><dd>${duration(seconds)}</dd></div>` : null}
      ${typeof plan.cost === "number" ? html`<div><dt>costs about</dt><dd>${plan.cost.toFixed(2)} ${plan.currency}</dd></div>` : null}
      ${Object.keys(plan.classes ?? {}).length ? html`<div><dt>classes</dt><dd>${classesLine(plan.classes)}</dd></div>` : null}
      ${plan.test_rows ? html`<div><dt>test rows</dt><dd>${number(plan.test_rows)}</dd></div>` : null}
      ${rows.filter(([name]) => FIRST.includes(name)).map(line)}
      ${plan.estimate.elements ? html`<div><dt>elements of A and B</dt><dd>${elements(plan.estimate.elements, true)}</dd></div>` : null}
    </dl>
    <${Memory} needed=${estimate.memory_bytes} most=${fleet.most} />
    ${fleet.drained ? html`<p class="notice">All <a href="#/workers">workers</a> are drained: the job waits until one is let work again.</p>` : null}
    ${plan.warnings.some((warning) => MEASURES.test(warning)) ? html`<p class="muted">The rows' lengths are being measured: until then, the memory is a guess.</p>` : null}
    ${plan.warnings.filter((warning) => !MEASURES.test(warning)).map((warning) => html`<p class="notice" key=${warning}>${warning}</p>`)}
    ${plan.suggested?.length ? html`<p class="muted">Taken from the data: ${plan.suggested.map((path) => `${words(path.split(".").at(-1))} ${text(at(plan.spec, path))}`).join(", ")}.</p>` : null}
    ${plan.preset ? html`<p class="muted">From the preset ${plan.preset.name}: ${Object.entries(plan.preset.fields).map(([path, value]) => `${words(path.split(".").at(-1))} ${text(value)}`).join(", ") || "nothing, all of its fields are set"}.</p>` : null}
    ${plan.budget ? html`<p class="muted">${plan.budget}</p>` : null}
    ${(estimate.comparison ?? []).map((one) => html`<p class="muted" key=${one.contender}>Compared with ${one.contender}: ${number(one.steps)} more steps, ${number(one.adapter_parameters)} elements of A and B${one.learning_rate === null ? "" : ` at a learning rate of ${number(one.learning_rate)}`}.</p>`)}
    <details><summary>More numbers</summary><dl class="facts narrow">
      ${plan.time_limit_seconds ? html`<div><dt>time limit</dt><dd>${duration(plan.time_limit_seconds)} of training</dd></div>` : null}
      ${rows.filter(([name]) => !FIRST.includes(name)).map(line)}
      ${Object.entries(phases ?? {}).filter(([, value]) => value !== null).map(([name, value]) => html`<div key=${name}><dt>memory while ${name}</dt><dd>${bytes(value)}</dd></div>`)}
      ${files.map(([name, value]) => html`<div key=${name}><dt>size of ${name}</dt><dd>${bytes(value)}</dd></div>`)}
    </dl></details>
    ${plan.schedule.length ? html`<${Chart} name="schedule" title="Scheduled subspaces" lines=${[
      { label: "scheduled", stepped: true, points: [[0, plan.estimate.subspaces ?? plan.schedule[0].wanted], ...plan.schedule.map(({ step, wanted }) => [step, wanted]), [plan.estimate.steps, plan.schedule.at(-1).wanted]] },
    ]} />` : null}`;
}
