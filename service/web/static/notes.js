// What people change of a job: name, tags, group, notes and priority, and the form that changes them.
import { html, useEffect, useRef, useState } from "./lib.js";
import { address } from "./address.js";
import { patch } from "./api.js";

// Each leads to the jobs that have it.
export const tags = (job) => (job.tags ?? []).map((tag) => html`<a class="tag" key=${tag} href=${address("jobs", { tag })}>${tag}</a> `);

// edited: whether the form is open at first.
export function Notes({ job, done, edited = false }) {
  const [open, setOpen] = useState(edited);
  const [problem, setProblem] = useState("");
  const edit = useRef(null);
  const wasOpen = useRef(false);
  useEffect(() => {
    if (wasOpen.current) edit.current?.focus();
    wasOpen.current = open;
  }, [open]);
  const pin = () => patch(`/jobs/${job.id}`, { baseline: !job.baseline }).then(done, (error) => setProblem(error.message));
  if (open) return html`<${Form} job=${job} close=${() => setOpen(false)} done=${done} />`;
  return html`<div class="row">
    <code class="muted">${job.id}</code>
    ${job.group ? html`<span class="muted">group <a href=${address("jobs", { group: job.group })}>${job.group}</a></span>` : null}
    <span>${tags(job)}</span>
    <button class="plain" ref=${edit} onClick=${() => setOpen(true)} aria-label=${`Edit name, tags and notes of ${job.name}`}>Edit</button>
    ${job.status === "succeeded" && job.result ? html`${job.baseline ? html`<span>It is the pinned baseline.</span>` : html`<a href=${address("compare", { jobs: job.id })}>Compare with the baseline</a>`}
      <button class="plain" onClick=${pin} title="Others of its group, or of the project, are compared with it">${job.baseline ? "Unpin" : "Pin as baseline"}</button>
      <span class="error" role="alert">${problem}</span>` : null}
  </div>
  ${job.notes ? html`<p class="notes">${job.notes}</p>` : null}`;
}

function Form({ job, close, done }) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const form = useRef(null);
  useEffect(() => form.current.elements.name.focus(), []);
  const send = async (event) => {
    event.preventDefault();
    const { name, tags: list, group, notes, priority } = Object.fromEntries(new FormData(event.target));
    const given = list.split(",").map((tag) => tag.trim()).filter(Boolean);
    setBusy(true);
    try {
      await patch(`/jobs/${job.id}`, { name, tags: given, group: group.trim() || null, notes: notes.trim() || null, ...(priority ? { priority: Number(priority) } : {}) });
      done?.();
      close();
    } catch (error) {
      setProblem(error.message);
      setBusy(false);
    }
  };
  return html`<form class="card" ref=${form} onSubmit=${send} aria-label="What is written on the job">
    <div class="row">
      <label>Name <input name="name" required maxlength="120" defaultValue=${job.name} /></label>
      <label>Tags, with commas between them <input name="tags" defaultValue=${(job.tags ?? []).join(", ")} /></label>
      <label>Group <input name="group" maxlength="120" defaultValue=${job.group ?? ""} /></label>
      ${["queued", "paused"].includes(job.status) ? html`<label>Priority <input name="priority" type="number" min="-100" max="100" step="1" defaultValue=${job.priority ?? 0} /></label>` : null}
    </div>
    <label>Notes <textarea name="notes" rows="4" maxlength="10000" defaultValue=${job.notes ?? ""}></textarea></label>
    <p class="row"><button class="primary" disabled=${busy}>Save</button> <button type="button" onClick=${close}>Close</button></p>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
  </form>`;
}
