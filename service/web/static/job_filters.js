// Filters of the list of jobs. They stand in the address, so that a link shows what its sender saw.
import { html, useState } from "./lib.js";
import { address, replace } from "./address.js";
import { ENDED, LIVE } from "./live.js";

export const FILTERS = ["q", "status", "task", "model", "tag", "group", "owner", "mine"];
const STORE = "adamss-filters"; // of this browser
const STATUSES = { unfinished: LIVE, ended: ENDED };
const GROUPINGS = ["group", "task", "model", "owner"];

export const valueOf = { status: (job) => job.status, task: (job) => job.task, model: (job) => job.base_model, group: (job) => job.group, owner: (job) => job.owner };

// The jobs that the query asks for.
export function filtered(jobs, query) {
  const text = (query.get("q") ?? "").toLowerCase();
  const wanted = ["task", "model", "group", "owner"].map((name) => [valueOf[name], query.get(name)]).filter(([, value]) => value);
  const states = query.get("status")?.split(",").flatMap((name) => STATUSES[name] ?? name);
  const tag = query.get("tag");
  return jobs.filter((job) =>
    (!states || states.includes(job.status))
    && wanted.every(([read, value]) => read(job) === value)
    && (!tag || job.tags?.includes(tag))
    && (!query.get("mine") || job.mine)
    && (!text || written(job).includes(text)));
}

// The sweeps that the query asks for: they have a name and a state, and nothing of the other filters.
export function filteredSweeps(sweeps, query) {
  if (FILTERS.some((name) => !["q", "status"].includes(name) && query.get(name))) return [];
  const text = (query.get("q") ?? "").toLowerCase();
  const states = query.get("status")?.split(",").flatMap((name) => STATUSES[name] ?? name);
  return sweeps.filter((sweep) => (!states || states.includes(sweep.status)) && (!text || `${sweep.name} ${sweep.id}`.toLowerCase().includes(text)));
}

const written = (job) => `${job.name} ${job.id} ${job.base_model} ${job.task} ${job.group ?? ""} ${job.owner ?? ""} ${(job.tags ?? []).join(" ")} ${job.notes ?? ""}`.toLowerCase();

const distinct = (jobs, read) => [...new Set(jobs.flatMap((job) => read(job) ?? []))].sort();

export function Filters({ jobs, query }) {
  const values = Object.fromEntries(query);
  const set = (changed) => replace(address("jobs", { ...values, ...changed }));
  const select = (name, title, options, least = 2) => options.length >= least || query.get(name)
    ? html`<label key=${name}>${title} <select name=${name} value=${query.get(name) ?? ""} onChange=${(event) => set({ [name]: event.target.value })}>
        <option value="">all</option>
        ${[...new Set([...options, query.get(name)])].filter(Boolean).map((option) => html`<option key=${option} value=${option}>${option}</option>`)}
      </select></label>`
    : null;
  const groupings = GROUPINGS.filter((name) => distinct(jobs, valueOf[name]).length > (name === "group" ? 0 : 1));
  return html`<div class="row filters">
      <label class="grow">Search <input type="search" value=${query.get("q") ?? ""} onInput=${(event) => set({ q: event.target.value })} placeholder="name, tag, group, notes, owner, id, model, task" /></label>
      ${select("status", "Status", [...Object.keys(STATUSES), ...LIVE, ...ENDED])}
      ${select("task", "Task", distinct(jobs, valueOf.task))}
      ${select("model", "Model", distinct(jobs, valueOf.model))}
      ${select("tag", "Tag", distinct(jobs, (job) => job.tags), 1)}
      ${select("group", "Group", distinct(jobs, valueOf.group), 1)}
      ${select("owner", "Owner", distinct(jobs, valueOf.owner))}
      ${distinct(jobs, valueOf.owner).length > 1 || query.get("mine") ? html`<label><input type="checkbox" checked=${Boolean(query.get("mine"))} onChange=${(event) => set({ mine: event.target.checked ? "yes" : null })} /> Mine only</label>` : null}
      ${groupings.length || query.get("by") ? html`<label>Together by <select name="by" value=${query.get("by") ?? ""} onChange=${(event) => set({ by: event.target.value })}>
        <option value="">nothing</option>${groupings.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
      </select></label>` : null}
    </div>
    <${Saved} query=${query} />`;
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(STORE)) ?? [];
  } catch {
    return []; // what is no JSON was not written by us
  }
}

// Filters with a name, kept by this browser; the address is what is kept of them.
function Saved({ query }) {
  const [saved, setSaved] = useState(stored);
  const [naming, setNaming] = useState(false);
  const current = query.toString();
  const isFiltered = FILTERS.some((name) => query.get(name)) || query.get("by");
  const keep = (entries) => {
    localStorage.setItem(STORE, JSON.stringify(entries));
    setSaved(entries);
    setNaming(false);
  };
  const save = (event) => {
    event.preventDefault();
    const name = new FormData(event.target).get("name").trim();
    if (name) keep([...saved.filter((entry) => entry.name !== name), { name, query: current }]);
  };
  if (!saved.length && !isFiltered) return null;
  return html`<div class="row saved">
    ${saved.map((entry) => html`<span class="tag" key=${entry.name}><a href=${`#/jobs?${entry.query}`} aria-current=${entry.query === current ? "true" : undefined}>${entry.name}</a>
      <button class="plain" onClick=${() => keep(saved.filter((other) => other !== entry))} aria-label=${`Forget the filter ${entry.name}`}>×</button></span>`)}
    ${isFiltered ? html`<a href="#/jobs">All jobs</a>` : null}
    ${isFiltered && !naming ? html`<button class="plain" onClick=${() => setNaming(true)}>Save this filter</button>` : null}
    ${naming ? html`<form class="row tight" onSubmit=${save}><label>Name of the filter <input name="name" required maxlength="60" /></label><button>Save</button></form>` : null}
  </div>`;
}
