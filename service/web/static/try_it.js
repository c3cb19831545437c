// Form for predictions of the trained model: one input, a conversation, or a file.
import { html, useState } from "./lib.js";
import { post } from "./api.js";
import { Answer } from "./answer.js";
import { BatchFile, dataUrl } from "./batch.js";
import { Chat } from "./chat.js";
import { number } from "./format.js";
import { inputsOf, taskOf, useTasks } from "./tasks.js";
import { Options, requestOf, Texts, useWriting, usualSettings, writes } from "./writing.js";

const FILES = { merged: "merged model", lora: "LoRA" }; // what answered

export function TryIt({ job, events }) {
  const spec = job.resolved.spec;
  const task = taskOf(useTasks(), spec);
  const fields = inputsOf(task, spec);
  return fields ? html`<${Ways} job=${job} task=${task} fields=${fields} events=${events} />` : null;
}

// The ways to try a model, with the same settings.
function Ways({ job, task, fields, events }) {
  const [settings, set] = useState(usualSettings(task));
  // A new head would only guess without training.
  const canBase = !task.trains_head || events.some(({ type }) => type === "head_taken_over");
  const parts = { job, task, fields, settings, beside: besideOf(task, job.resolved.spec) };
  const options = html`<${Options} job=${job} task=${task} settings=${settings} set=${set} canBase=${canBase} />`;
  return html`<section aria-labelledby="try">
    <h2 id="try">Try it</h2>
    ${fields[0].kind === "chat" ? html`<${Chat} ...${parts} options=${options} />` : html`<${Single} ...${parts} options=${options} />`}
    <${BatchFile} ...${parts} />
  </section>`;
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

function Single({ job, task, fields, beside, settings, options }) {
  const [values, setValues] = useState({});
  const [found, setFound] = useState(null); // what was sent, and the answer to it
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const [growing, write, stop] = useWriting(job);

  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    setFound(null);
    try {
      const typed = beside.map((field) => [field.name, valueOf(field, values[field.name])]).filter(([, value]) => value !== null);
      const input = { ...Object.fromEntries(fields.map(({ name }) => [name, values[name]])), ...Object.fromEntries(typed) };
      const asked = requestOf(task, settings);
      const answer = writes(task) ? { texts: await write(input, asked) } : await post(`/jobs/${job.id}/predict`, { inputs: [input], ...asked });
      setFound({ input, answer });
    } catch (error) {
      setProblem(error.message);
    }
    setBusy(false);
  };
  const set = (name, value) => setValues((old) => ({ ...old, [name]: value }));
  return html`<form class="card" onSubmit=${send}>
    ${fields.map((field, index) => html`<${Input} key=${field.name} field=${field} first=${index === 0} value=${values[field.name] ?? ""} set=${set} />`)}
    ${beside.map((field) => html`<${Input} key=${field.name} field=${field} optional value=${values[field.name] ?? ""} set=${set} />`)}
    ${options}
    <p class="row"><button class="primary" disabled=${busy}>${busy ? (writes(task) ? "Writing…" : "Predicting…") : writes(task) ? "Write" : "Predict"}</button>
      ${growing ? html`<button type="button" onClick=${stop}>Stop</button>` : null}</p>
    <div role="status">${growing ? html`<${Texts} texts=${{ trained: { text: "" }, ...growing }} ended=${false} />` : found ? html`<${Found} task=${task} fields=${fields} found=${found} />` : null}</div>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
  </form>`;
}

function Found({ task, fields, found: { input, answer } }) {
  if (answer.texts) return html`<${Texts} texts=${answer.texts} />`;
  const image = fields.find(({ kind }) => kind === "image");
  return html`<div class=${image ? "pictured" : ""}>
    ${image ? html`<img class="sent" src=${input[image.name]} alt="The image that was sent" />` : null}
    <div class="grow"><${Answer} task=${task} answer=${answer.data[0]} />
      <p class="muted">By ${answer.artifact ? `the ${FILES[answer.artifact] ?? answer.artifact}` : `the checkpoint of step ${answer.checkpoint}`}, in ${number(answer.seconds, 2)} s.</p></div>
  </div>`;
}

// What the browser shows as an image is sent; whether the service reads it, it says itself.
function pictureOf(file) {
  if (!file.type.startsWith("image/")) return Promise.reject(new Error(`${file.name} is not an image. Choose a file such as PNG or JPEG.`));
  return dataUrl(file);
}

function Input({ field, first, optional, value, set }) {
  const { name, kind, title } = field;
  const [problem, setProblem] = useState(null);
  if (kind === "image") {
    const choose = ([file]) => file && pictureOf(file).then((url) => (set(name, url), setProblem(null)), (error) => (set(name, undefined), setProblem(error.message)));
    return html`<label>${title} <input id="try-image" type="file" accept="image/*" required onChange=${(event) => choose(event.target.files)} /></label>
      ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}`;
  }
  const form = optional ? (kind === "text" ? " (optional)" : " (optional, JSON)") : "";
  return html`<label>${title}${form} <textarea id=${first ? "try-text" : `try-${name}`} required=${!optional} value=${value} onInput=${(event) => set(name, event.target.value)}></textarea></label>`;
}
