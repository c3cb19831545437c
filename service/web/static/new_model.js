// The base models that are there, to choose from: size, kind, and whether they can do the task.
import { html } from "./lib.js";
import { bytes, number } from "./format.js";

export function ModelCards({ models, task, chosen, choose }) {
  if (!models.length) return html`<p class="notice">No models yet: <a href="#/models">add one</a>, or name one of the hub.</p>`;
  const able = (model) => !task || model.tasks.includes(task);
  const sorted = [...models].sort((one, other) => able(other) - able(one) || (one.parameters ?? 0) - (other.parameters ?? 0));
  return html`<div class="models" role="group" aria-label="Base models">${sorted.map((model) => {
    const reason = model.problem ?? (model.status !== "ready" ? "is being fetched" : able(model) ? null : `cannot do ${task}`);
    return html`<button type="button" key=${model.name} class=${model.name === chosen ? "model chosen" : "model"} aria-pressed=${model.name === chosen}
      disabled=${reason !== null} onClick=${() => choose(model.name)}>
      <b>${model.name}</b> <span class="muted">${[model.model_type, `${number(model.parameters)} parameters`, bytes(model.size_bytes)].filter(Boolean).join(", ")}${reason ? `: ${reason}` : ""}</span>
    </button>`;
  })}</div>`;
}
