// View of all jobs: filters, the table, and those that are chosen to be compared.
import { html, useMemo, useState } from "./lib.js";
import { address, replace } from "./address.js";
import { number } from "./format.js";
import { filtered, filteredSweeps, Filters, valueOf } from "./job_filters.js";
import { useJobs } from "./job_list.js";
import { columnsOf, Table } from "./jobs_table.js";
import { SweepLine, useSweeps } from "./sweep_summary.js";
import { useTasks } from "./tasks.js";

const NEWEST_FIRST = "-created";
const MOST_SWEEPS = 50; // of which the table has a line each

let kept = []; // ids of the chosen jobs, while other views are shown

export function Jobs({ query }) {
  const { jobs, problem, complete, load, forget } = useJobs();
  const tasks = useTasks();
  const [chosen, setChosen] = useState(kept);
  const choose = (ids) => setChosen((kept = ids));
  const [folded, setFolded] = useState(new Set());
  const all = jobs ?? [];
  const key = query.toString();
  const found = useMemo(() => filtered(all, query), [jobs, key]);
  const columns = useMemo(() => columnsOf(found, tasks), [found, tasks]);
  const asked = query.get("sort") ?? NEWEST_FIRST;
  const order = { name: asked.replace(/^-/, ""), up: !asked.startsWith("-") };
  const sorted = useMemo(() => inOrder(found, columns, order), [found, columns, asked]);
  const by = valueOf[query.get("by")];
  const [sweeps] = useSweeps(MOST_SWEEPS);
  const lines = useMemo(() => filteredSweeps(sweeps ?? [], query), [sweeps, key]);
  const entries = useMemo(() => {
    if (by) return [...lines.map(lineOf), ...together(sorted, by, folded, (name) => setFolded(toggled(folded, name)))];
    return withLines(sorted, lines, order);
  }, [sorted, lines, by, folded, asked]);

  const sort = (name) => {
    const next = order.name === name && order.up ? `-${name}` : name;
    replace(address("jobs", { ...Object.fromEntries(query), sort: next === NEWEST_FIRST ? null : next }));
  };
  const toggle = (id) => choose(chosen.includes(id) ? chosen.filter((other) => other !== id) : [...chosen, id]);
  return html`<main id="main" class="wide">
    <div class="row head">
      <h1>Jobs</h1>
      <a class="button primary" href="#/new">New job</a>
    </div>
    <${Filters} jobs=${all} query=${query} />
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    <div class="row head"><span class="muted" role="status">${jobs === null ? (problem ? "" : "Loading…") : said(found.length, all.length, complete)}</span>
      <a class="button" href=${`#/compare?jobs=${chosen.join(",")}`} aria-disabled=${chosen.length < 2} title=${chosen.length < 2 ? "Choose two jobs or more" : undefined}
        onClick=${(event) => chosen.length < 2 && event.preventDefault()}>Compare ${chosen.length || ""}</a></div>
    ${entries.length ? html`<${Table} ...${{ entries, columns, order, sort, chosen, toggle, reload: load, forget: (id) => (choose(kept.filter((other) => other !== id)), forget(id)) }} />` : null}
    ${jobs && !all.length && !sweeps?.length ? html`<p class="muted">No jobs yet. <a href="#/new">Submit a job.</a></p>` : null}
  </main>`;
}

function said(found, all, complete) {
  if (!all) return "";
  if (!found) return `No matching jobs among ${number(all)}.`;
  const counted = found === all ? `${number(all)} ${all === 1 ? "job" : "jobs"}` : `${number(found)} of ${number(all)} jobs`;
  return complete === null ? `${counted}, older ones are loading` : complete ? counted : `${counted}: the newest ones only`;
}

const lineOf = (sweep) => ({ key: sweep.id, head: html`<${SweepLine} sweep=${sweep} />` });

// The lines of sweeps among the jobs, where the table goes by time; else before them, as they have no such columns.
function withLines(sorted, sweeps, { name, up }) {
  const rows = sorted.map((job) => ({ key: job.id, job }));
  if (name !== "created" || !sweeps.length) return [...sweeps.map(lineOf), ...rows];
  const all = [...rows.map((row) => [row.job.created_at, row]), ...sweeps.map((sweep) => [sweep.created_at, lineOf(sweep)])];
  const sign = up ? 1 : -1;
  return all.sort(([one], [other]) => sign * (new Date(one) - new Date(other))).map(([, row]) => row);
}

function inOrder(jobs, columns, { name, up }) {
  const value = columns.find((column) => column[0] === name)?.[3] ?? ((job) => job.created_at);
  const sign = up ? 1 : -1;
  const keyed = jobs.map((job) => [value(job), job]);
  return keyed.sort(([one], [other]) => (one < other ? -sign : one > other ? sign : 0)).map(([, job]) => job);
}

function toggled(set, name) {
  const changed = new Set(set);
  if (!changed.delete(name)) changed.add(name);
  return changed;
}

// The jobs of a group below its line, which folds them; groups in the order of their first jobs, those without one last.
function together(jobs, by, folded, fold) {
  const groups = Map.groupBy(jobs, (job) => by(job) ?? "");
  const named = [...groups].sort(([one], [other]) => (one === "") - (other === ""));
  return named.flatMap(([name, members]) => {
    const head = html`<button class="plain" aria-expanded=${!folded.has(name)} onClick=${() => fold(name)}>${folded.has(name) ? "▸" : "▾"} ${name || "none"}</button>${" "}<span class="muted">${number(members.length)} ${members.length === 1 ? "job" : "jobs"}</span>`;
    return [{ key: `group ${name}`, head }, ...(folded.has(name) ? [] : members.map((job) => ({ key: job.id, job })))];
  });
}
