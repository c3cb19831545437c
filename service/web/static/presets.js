// Presets of the project: the button that saves one, and the table of those that are there.
import { html, useEffect, useState } from "./lib.js";
import { address } from "./address.js";
import { all, post, remove } from "./api.js";
import { Ago } from "./ago.js";
import { shownValue } from "./sweep_summary.js";

// source: { sweep } or { job }, with what its button is named after.
export function UseAsPreset({ source, suggestion }) {
  const [open, setOpen] = useState(false);
  const [name, setName] = useState(suggestion.replace(/[^\w.-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 80));
  const [problem, setProblem] = useState(null);
  const [saved, setSaved] = useState(null);
  const save = async (event) => {
    event.preventDefault();
    setProblem(null);
    try {
      setSaved(await post("/presets", { name: name.trim(), ...source, replace: problem?.code === "preset_exists" && problem.named === name }));
      setOpen(false);
    } catch (error) {
      setProblem(Object.assign(error, { named: name }));
    }
  };
  const replaces = problem?.code === "preset_exists" && problem.named === name;
  if (saved) return html`<span role="status">Saved: <code>preset: ${saved.name}</code> in a spec chooses it. <a href=${address("new", { preset: saved.name })}>New job with it</a></span>`;
  if (!open) return html`<button type="button" onClick=${() => setOpen(true)}>Use as preset</button>`;
  return html`<form class="row tight" onSubmit=${save}>
    <label>Name of the preset <input type="text" value=${name} required maxlength="80" onInput=${(event) => setName(event.target.value)} autocomplete="off" spellcheck=${false} /></label>
    <button>${replaces ? "Replace it" : "Save"}</button><button type="button" onClick=${() => setOpen(false)}>Not now</button>
    ${problem ? html`<span class="error" role="alert">${problem.message}</span>` : null}
  </form>`;
}

const valuesOf = ({ adamss, training }) => Object.entries({ ...adamss, ...training }).map(([name, value]) => `${name} ${shownValue(value)}`).join(", ");

export function Presets() {
  const [presets, setPresets] = useState([]);
  const [problem, setProblem] = useState(null);
  const load = () => all("/presets").then((found) => setPresets(found.filter((preset) => preset.own)), (error) => setProblem(error.message));
  useEffect(() => void load(), []);
  const drop = async (name) => {
    if (!confirm(`Delete the preset ${name}? Jobs that were submitted with it keep their values.`)) return;
    try {
      await remove(`/presets/${encodeURIComponent(name)}`);
      setProblem(null);
    } catch (error) {
      setProblem(error.message);
    }
    await load();
  };
  return html`<section aria-labelledby="presets">
    <h2 id="presets">Presets</h2>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    ${presets.length ? html`<div class="scroll card" tabindex="0" role="region" aria-label="Table of presets">
      <table class="list">
        <thead><tr><th>Name</th><th>Task</th><th>Values</th><th>From</th><th>Saved</th><th><span class="visually-hidden">Actions</span></th></tr></thead>
        <tbody>${presets.map((preset) => html`<tr key=${preset.name}>
          <th scope="row">${preset.name}</th><td>${preset.task}</td><td class="text">${valuesOf(preset)}</td>
          <td>${preset.job ? html`<a href=${`#/jobs/${preset.job}`} aria-label=${`Job of ${preset.name}`}>Job</a>` : "–"}</td><td class="when"><${Ago} time=${preset.created_at} /></td>
          <td><span class="row tight"><a class="button" href=${address("new", { preset: preset.name })} aria-label=${`New job with ${preset.name}`}>New job</a>
            <button onClick=${() => drop(preset.name)} aria-label=${`Delete ${preset.name}`}>Delete</button></span></td>
        </tr>`)}</tbody>
      </table>
    </div>` : html`<p class="muted">None yet: “Use as preset” on a sweep or a job saves its values under a name, and <code>preset: NAME</code> in a spec chooses them.</p>`}
  </section>`;
}
