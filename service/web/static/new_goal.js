// What the job is for, in words: each goal sets the fields of the method that it stands for.
import { html } from "./lib.js";

const METHOD = ["adamss.budget", "adamss.use_asa", "adamss.asa_target_subspaces", "adamss.init_warmup", "adamss.final_warmup", "adamss.mask_interval", "adamss.num_subspaces", "adamss.r", "adamss.basis"];

// [title, what it does, fields]; the fields of METHOD that a goal does not name are left to the service.
const GOALS = {
  recommended: ["Recommended", "The settings that were measured for the task.", {}],
  small: ["Small", "No more elements than a LoRA of rank 1, in a basis from your data.", { "adamss.budget": "lora:r=1" }],
  smallest: ["Smallest", "Half the elements of a LoRA of rank 1.", { "adamss.budget": "50% of lora:r=1" }],
  pruned: ["Pruned", "ASA stops training the least important subspaces, until 60 of the whole model are left. They keep their value: the files do not shrink unless asa_pruned, below, is removed.", {
    "adamss.use_asa": "true", "adamss.asa_target_subspaces": "60", "adamss.num_subspaces": "10",
    "adamss.init_warmup": "auto", "adamss.final_warmup": "auto", "adamss.mask_interval": "auto",
  }],
};

const fieldsOf = (name) => Object.fromEntries(METHOD.map((path) => [path, GOALS[name][2][path] ?? ""]));

// The goal whose fields the form has; null where somebody has set others.
function goalOf(values) {
  return Object.keys(GOALS).find((name) => Object.entries(fieldsOf(name)).every(([path, value]) => (values[path] ?? "") === value)) ?? null;
}

export function Goal({ values, change }) {
  const chosen = goalOf(values);
  const compared = (values.compare ?? "") !== "";
  return html`<div class="goals" role="radiogroup" aria-label="Goal">
      ${Object.entries(GOALS).map(([name, [title, what]]) => html`<label key=${name} class="goal"><input type="radio" name="goal" checked=${chosen === name} onChange=${() => change(fieldsOf(name))} /> <b>${title}</b> <span class="muted">${what}</span></label>`)}
      ${chosen === null ? html`<p class="muted">The method's own fields are set, below.</p>` : null}
    </div>
    <label class="goal"><input type="checkbox" id="new-compare" checked=${compared} onChange=${(event) => change({ compare: event.target.checked ? "head, lora:r=1" : "" })} />
      <b>Is it worth it?</b> <span class="muted">Train the head alone and a LoRA of rank 1 beside it, and compare on the same rows.</span></label>`;
}
