// The fields of a spec as form fields, made from its JSON schema.
import { html } from "./lib.js";
import { number, words } from "./format.js";
import { choices, nullable, resolve, text } from "./schema.js";

export const BLOCKS = ["dataset", "adamss", "training", "resources"];
// Fields that name a data set -> the label of the empty choice.
const DATASETS = { "dataset.train": "choose", "dataset.eval": "hold out a share", "dataset.test": "none" };
const FROM_PEFT = /^adamss\.(task_type|peft_type|auto_mapping|peft_version|base_model_name_or_path|revision|inference_mode)$/;
const LABELS = {
  "dataset.train": "Data to train on", "dataset.eval": "Data to evaluate on", "dataset.test": "Data to test on",
  "dataset.eval_fraction": "Share held out", base_model: "Base model", name: "Name of the job",
};
// What a field asks for here, where the schema's text is for those who write a spec.
const HELP = {
  "dataset.train": "The rows to learn from.",
  task: "What the model is to learn. It is taken from the data unless you choose.",
  "dataset.label": "Column with the class or the classes of a row, or the number to predict.",
  base_model: "One of those above, or the id of a model on the hub, where the operator allows it.",
};
const TASK_NAMES = / \((?:\w+-\w+(?:, )?)+\)/g; // the tasks that a field is for; here it is one of the task's own

const label = (path) => LABELS[path] ?? titled(words(path.split(".").at(-1)));
const titled = (text) => (text.length > 2 ? text[0].toUpperCase() + text.slice(1) : text); // r stays r

export const isColumn = (schema) => /^Columns?\b/.test(schema?.description ?? "");

// [path, schema] of each field, in the schema's order.
export function listFields(components) {
  const fields = [];
  const walk = (properties, prefix) => {
    for (const [name, schema] of Object.entries(properties)) {
      const full = resolve(schema, components);
      if (!prefix && BLOCKS.includes(name) && full.properties) walk(full.properties, `${name}.`);
      else if (!FROM_PEFT.test(prefix + name)) fields.push([prefix + name, full]);
    }
  };
  walk(components.JobSpec.properties, "");
  return fields;
}

// The texts of a spec's fields, by path.
export function texts(spec) {
  const given = Object.entries(spec).flatMap(([name, value]) =>
    BLOCKS.includes(name) ? Object.entries(value ?? {}).map(([field, entry]) => [`${name}.${field}`, entry]) : [[name, value]],
  );
  const set = given.filter(([path, value]) => value !== undefined && (value !== null || !path.startsWith("dataset.")));
  return Object.fromEntries(set.map(([path, value]) => [path, text(value)]));
}

// Help texts are written for API and CLI too: what stands in backticks is code.
const help = (description) => (description ?? "").split("`").map((part, place) => (place % 2 ? html`<code>${part}</code>` : part));

// planned: the value that the dry run gives an empty field. columns: of the chosen data set.
export function Field({ path, schema, value, set, wrong, lists, columns = [], planned }) {
  const id = `field-${path.replaceAll(".", "-")}`;
  const common = {
    id, value, "aria-invalid": wrong ? "true" : undefined, "aria-describedby": `${id}-help`,
    onInput: (event) => set(path, event.target.value),
  };
  const options = choices(schema);
  const fallback = planned ?? schema.default;
  const standard = fallback === undefined || fallback === null ? "" : text(fallback);
  let control;
  const several = path === "dataset.train" && /[,[]/.test(value); // "ds_a, ds_b", or [{"id": "ds_a", "weight": 2}, …]
  if (path in DATASETS && !several) {
    control = html`<select ...${common}><option value="">${DATASETS[path]}</option>
      ${lists.datasets.map((entry) => html`<option value=${entry.id}>${entry.name} (${number(entry.rows)} rows)</option>`)}
      ${path === "dataset.train" && value ? html`<option value=${`${value}, `}>several: this one and …</option>` : null}</select>`;
  } else if (path.startsWith("dataset.") && isColumn(schema) && columns.length && (!value || columns.includes(value))) {
    control = html`<select ...${common}><option value="">${columns.includes(standard) ? standard : "–"}</option>
      ${columns.filter((name) => name !== standard || value === name).map((name) => html`<option value=${name}>${name}</option>`)}</select>`;
  } else if (options) {
    control = html`<select ...${common}><option value="">${standard === "" ? "default" : `default: ${standard}`}</option>
      ${[...options, ...(nullable(schema) ? [null] : [])].map((option) => html`<option value=${String(option)}>${String(option)}</option>`)}</select>`;
  } else {
    control = html`<input type="text" ...${common} placeholder=${standard} list=${path === "base_model" ? "models" : undefined} autocomplete="off" spellcheck=${false} />
      ${path === "base_model" ? html`<datalist id="models">${lists.models.map((model) => html`<option value=${model.name}></option>`)}</datalist>` : null}`;
  }
  return html`<div class=${wrong ? "field wrong" : "field"}>
    <label for=${id}>${label(path)}</label>${control}
    <small id=${`${id}-help`} class="help">${wrong ? html`<strong class="error">${wrong}</strong> ` : ""}${help(HELP[path] ?? schema.description?.replace(TASK_NAMES, ""))}</small>
  </div>`;
}
