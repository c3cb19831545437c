// Form for predictions of the trained model.
import { html, useState } from "./lib.js";
import { post, upload } from "./api.js";
import { Chat } from "./chat.js";
import { chosen, ModelChoice } from "./checkpoints.js";
import { number } from "./format.js";
import { inputsOf, partsOf, taskOf, useTasks } from "./tasks.js";

export function TryIt({ job }) {
  const spec = job.resolved.spec;
  const task = taskOf(useTasks(), spec);
  const fields = inputsOf(task, spec);
  if (!fields) return null;
  return fields[0].kind === "chat"
    ? html`<${Chat} job=${job} task=${task} />`
    : html`<${Single} job=${job} task=${task} fields=${fields} beside=${besideOf(task, spec)} />`;
}

// The fields that the job's rows have beside those that an input must have.
const besideOf = (task, { dataset }) => (task.optional_inputs ?? []).filter(({ name }) => dataset[name] !== null && dataset[name] !== undefined);

// The value of a field that was typed: chats and tools as JSON; null where nothing was.
function valueOf({ title, kind }, typed) {
  if (!typed?.trim()) return null;
  if (kind !== "chat") return typed;
  try {
    return JSON.parse(typed);
  } catch (error) {
    throw new Error(`${title} is not JSON: ${error.message}`);
  }
}

function Single({ job, task, fields, beside }) {
  const [values, setValues] = useState({});
  const [prediction, setPrediction] = useState(null);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const [step, setStep] = useState(null);
  const hasImage = fields.some(({ kind }) => kind === "image");

  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const path = `/jobs/${job.id}/predict`;
      const typed = beside.map((field) => [field.name, valueOf(field, values[field.name])]).filter(([, value]) => value !== null);
      const input = { ...Object.fromEntries(fields.map(({ name }) => [name, values[name]])), ...Object.fromEntries(typed) };
      setPrediction(hasImage ? await upload(path, new FormData(event.target)) : await post(path, { inputs: [input], ...chosen(step) }));
      setProblem(null);
    } catch (error) {
      setProblem(error.message);
    }
    setBusy(false);
  };
  const set = (name, value) => setValues((old) => ({ ...old, [name]: value }));
  return html`<section aria-labelledby="try">
    <h2 id="try">Try it</h2>
    <form class="card" onSubmit=${send}>
      ${fields.map((field, index) => html`<${Input} key=${field.name} field=${field} first=${index === 0} value=${values[field.name] ?? ""} set=${set} />`)}
      ${beside.map((field) => html`<${Input} key=${field.name} field=${field} optional value=${values[field.name] ?? ""} set=${set} />`)}
      ${hasImage ? null : html`<${ModelChoice} job=${job} step=${step} set=${setStep} />`}
      <button class="primary" disabled=${busy}>${busy ? "Predicting…" : "Predict"}</button>
      <div role="status">${prediction ? html`<${Prediction} task=${task} prediction=${prediction} />` : null}</div>
      ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    </form>
  </section>`;
}

function Input({ field, first, optional, value, set }) {
  const { name, kind, title } = field;
  if (kind === "image") return html`<label>${title} <input type="file" name="file" accept="image/*" required /></label>`;
  const form = optional ? (kind === "text" ? " (optional)" : " (optional, JSON)") : "";
  return html`<label>${title}${form} <textarea id=${first ? "try-text" : `try-${name}`} required=${!optional} value=${value} onInput=${(event) => set(name, event.target.value)}></textarea></label>`;
}

// The main part of an answer, then the others; `scores`, if the task has any, as bars.
function Prediction({ task, prediction }) {
  const [first] = prediction.data;
  const scores = first.scores && !Array.isArray(first.scores) ? Object.entries(first.scores) : null;
  const [main, ...others] = partsOf(task, first);
  return html`<p><strong>${main.text || "(nothing)"}</strong>${others.map(({ title, text }) => html`, ${title.toLowerCase()} ${text}`)}
      <span class="muted"> by ${prediction.artifact ? `the ${prediction.artifact}` : `the checkpoint of step ${prediction.checkpoint}`}, in ${number(prediction.seconds, 2)} s</span></p>
    ${scores
      ? html`<table class="bars"><tbody>${scores.map(
          ([label, score]) => html`<tr key=${label}><th scope="row">${label}</th>
            <td><div class="bar" aria-hidden="true"><i style=${{ width: `${100 * score}%` }}></i></div></td><td class="num">${number(score, 3)}</td></tr>`,
        )}</tbody></table>`
      : html`<pre class="scroll" tabindex="0">${JSON.stringify(first, null, 2)}</pre>`}`;
}
