// The table of jobs: columns by what the jobs have, and only the rows near the screen, however many there are.
import { html, useEffect, useRef, useState } from "./lib.js";
import { address } from "./address.js";
import { Ago } from "./ago.js";
import { number, words } from "./format.js";
import { ActionMenu } from "./job_actions.js";
import { best, devicesOf, goodness, metricNamed, resultOf, shownScore, situation, status } from "./job_summary.js";
import { tags } from "./notes.js";

const CHUNK = 40; // rows that are drawn or left out together
const ROW_HEIGHT = 64; // pixels, until a chunk was drawn
const NEAR = "1200px 0px"; // what is as near to the screen is drawn
const MOST_METRICS = 3;

const isPruned = (job) => typeof job.asa?.target === "number";

// The columns of these jobs: name, title, width, value to sort by, cell (null: nothing). An empty column is left out.
export function columnsOf(jobs, tasks) {
  const names = [...new Set(jobs.map((job) => job.task))];
  const owners = new Set(jobs.map((job) => job.owner));
  const one = names.length === 1 ? metricsOf(jobs).map((name) => metricNamed(tasks, names[0], name)) : [];
  return [
    ["name", "Job", "minmax(8rem, 2.2fr)", (job) => job.name.toLowerCase(), (job) => nameCell(job, owners.size > 1)],
    ["status", "Status", "minmax(7.5rem, 1.1fr)", (job) => job.status, statusCell],
    ["model", names.length > 1 ? "Task and model" : "Model", "minmax(6rem, 1.2fr)", (job) => `${job.task} ${job.base_model}`, (job) => modelCell(job, names.length > 1)],
    ...(jobs.some(isPruned) ? [["subspaces", "Subspaces", "5.7rem", (job) => job.asa?.active ?? Infinity, subspacesCell]] : []),
    ...(one.length > 1 ? one.map((metric, place) => [metric.name, metric.title, "minmax(4.8rem, .5fr)", (job) => goodnessOf(job, metric), (job) => metricCell(job, metric.name, tasks, place === 0)])
      : [["best", "Result", "minmax(6rem, .8fr)", goodness, (job) => resultCell(job, tasks)]]),
    ["created", "Submitted", "6.9rem", (job) => job.created_at, (job) => html`<${Ago} time=${job.created_at} />`],
  ];
}

// The metrics that jobs of one task have, the one that chooses their checkpoints first.
function metricsOf(jobs) {
  const first = jobs.find((job) => job.best_metric && job.result);
  if (!first || jobs.some((job) => job.best_metric && job.best_metric.name !== first.best_metric.name)) return [];
  const chosen = first.best_metric.name;
  const others = Object.entries(first.result).filter(([name, value]) => name.startsWith("eval_") && typeof value === "number").map(([name]) => name.slice(5));
  return [chosen, ...others.filter((name) => name !== chosen && !/second|rows|examples|runtime/.test(name))].slice(0, MOST_METRICS);
}

function goodnessOf(job, { name, direction }) {
  const value = resultOf(job, name);
  if (typeof value !== "number") return -Infinity;
  return direction === "min" ? -value : value;
}

function nameCell(job, withOwner) {
  const group = job.group ? html`<a href=${address("jobs", { group: job.group })}>${job.group}</a>` : null;
  const owner = withOwner && job.owner ? html` <span>by ${job.owner}</span>` : null;
  return html`<a class="job-name" href=${`#/jobs/${job.id}`} title=${job.id}>${job.name}</a>${job.baseline ? html` <span class="under">baseline</span>` : null}
    ${group || owner ? html`<div class="under">${group}${owner}</div>` : null}
    ${job.tags?.length ? html`<div>${tags(job)}</div>` : null}
    ${job.notes ? html`<div class="under">${job.notes}</div>` : null}`;
}

function statusCell(job) {
  const { step, total_steps: total } = job.progress;
  const moves = ["running", "pausing", "paused", "cancelling"].includes(job.status);
  const text = situation(job);
  return html`${status(job.status)}
    ${moves ? html`<progress max=${Math.max(1, total)} value=${step} aria-label=${`Progress of ${job.name}`}></progress>` : null}
    ${text ? html`<div class="under">${text}</div>` : null}`;
}

const modelCell = (job, withTask) => html`${withTask ? html`<div>${words(job.task ?? "")}</div>` : null}
  <div class=${withTask ? "under" : ""}><a href=${`#/models/${job.base_model}`}>${job.base_model}</a>${job.devices > 1 || job.device_kind ? ` on ${devicesOf(job)}` : ""}</div>`;

const subspacesCell = (job) => (isPruned(job) ? html`${number(job.asa.active)} <span class="under">of ${number(job.asa.total)}, target ${number(job.asa.target)}</span>` : null);

// What stands under a metric: its interval, the baseline, and reasons to doubt it.
function besides(job, shown) {
  const { low, high, baseline } = job.judgement ?? {};
  const whole = (value) => html`<span class="whole">${shown(value)}</span>`;
  return html`${typeof low === "number" && low < high ? html`<div class="under">${whole(low)} to ${whole(high)}</div>` : null}
    ${typeof baseline === "number" ? html`<div class="under">baseline ${whole(baseline)}</div>` : null}
    ${(job.warnings ?? []).map((warning) => html`<div class="error" title=${warning.message} key=${warning.code + warning.data}>${words(warning.code)}</div>`)}`;
}

function resultCell(job, tasks) {
  const metric = best(job);
  if (!metric) return null;
  const shown = (value) => shownScore(tasks, job, metric[0], value);
  return html`<b>${shown(metric[1])}</b> <span class="under">${metricNamed(tasks, job.task, metric[0]).title}</span>${besides(job, shown)}`;
}

function metricCell(job, name, tasks, isFirst) {
  const value = resultOf(job, name);
  if (typeof value !== "number") return null;
  const shown = (number) => shownScore(tasks, job, name, number);
  return html`<b>${shown(value)}</b>${isFirst ? besides(job, shown) : null}`;
}

// entries: [{ key, job }] or [{ key, head }], in order: a head is a line that stands for the jobs below it.
export function Table({ entries, columns, order, sort, chosen, toggle, reload, forget }) {
  const chunks = [];
  for (let start = 0; start < entries.length; start += CHUNK) chunks.push(entries.slice(start, start + CHUNK));
  const row = (entry, place) => entry.head
    ? html`<tr key=${entry.key} role="row" class="group-head" aria-rowindex=${place + 2}><td role="cell">${entry.head}</td></tr>`
    : html`<${Row} key=${entry.key} place=${place} ...${{ job: entry.job, columns, chosen, toggle, reload, forget }} />`;
  return html`<table class="jobs card" role="table" aria-label="Table of jobs" aria-rowcount=${entries.length + 1} style=${{ "--columns": columns.map((column) => column[2]).join(" ") }}>
    <thead role="rowgroup"><tr role="row" aria-rowindex="1">
      <th role="columnheader"><span class="visually-hidden">Compare</span></th>
      ${columns.map(
        ([name, title]) => html`<th key=${name} role="columnheader" aria-sort=${order.name === name ? (order.up ? "ascending" : "descending") : undefined}>
          <button class="plain" onClick=${() => sort(name)}>${title}${order.name === name ? (order.up ? " ▲" : " ▼") : ""}</button>
        </th>`,
      )}
      <th role="columnheader"><span class="visually-hidden">Actions</span></th>
    </tr></thead>
    ${chunks.map((part, place) => html`<${Chunk} key=${place} count=${part.length} drawn=${place === 0}>${() => part.map((entry, line) => row(entry, place * CHUNK + line))}<//>`)}
  </table>`;
}

// Rows that are drawn while they are near the screen; else a space as high as they were.
function Chunk({ count, drawn, children: draw }) {
  const [near, setNear] = useState(drawn);
  const body = useRef(null);
  const height = useRef(null);
  useEffect(() => {
    const observer = new IntersectionObserver(([seen]) => {
      if (!seen.isIntersecting) height.current = seen.boundingClientRect.height / count;
      setNear(seen.isIntersecting);
    }, { rootMargin: NEAR });
    observer.observe(body.current);
    return () => observer.disconnect();
  }, [count]);
  return html`<tbody ref=${body} role="rowgroup" style=${{ height: near ? "" : `${count * (height.current ?? ROW_HEIGHT)}px` }}>${near ? draw() : null}</tbody>`;
}

function Row({ job, place, columns, chosen, toggle, reload, forget }) {
  return html`<tr role="row" aria-rowindex=${place + 2} data-job=${job.id}>
    <td role="cell"><input type="checkbox" checked=${chosen.includes(job.id)} onChange=${() => toggle(job.id)} aria-label=${`Compare ${job.name}`} /></td>
    ${columns.map(([name, title, , , cell]) => {
      const content = cell(job);
      return html`<td key=${name} role="cell" class=${`of-${name}${content === null ? " none" : ""}`} data-title=${title}>${content ?? "–"}</td>`;
    })}
    <td role="cell" class="of-actions"><${ActionMenu} job=${job} done=${reload} gone=${forget} /></td>
  </tr>`;
}
