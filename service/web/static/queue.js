// The queue and the use of devices, below the workers.
import { html, useState } from "./lib.js";
import { get } from "./api.js";
import { duration, number } from "./format.js";
import { useEvery } from "./live.js";

const SECONDS = 5;

const left = (time) => Math.max(0, (new Date(time) - Date.now()) / 1000);

// When a job is expected to start, in a few words; nothing where that is not known.
export const startsIn = ({ expected_start: at }) => (at ? `starts in about ${duration(left(at))}` : "");

// The same with its bounds.
export function expectedStart({ expected_start: at, earliest_start: earliest, latest_start: latest }) {
  if (!at) return "";
  return `expected to start in about ${duration(left(at))} (${duration(left(earliest))} to ${duration(left(latest))})`;
}

// "2026-11" -> "November 2026"
const monthOf = (month) => new Date(`${month}-15`).toLocaleDateString("en", { month: "long", year: "numeric" });

function useAnswer(path) {
  const [found, setFound] = useState(null);
  const [problem, setProblem] = useState(null);
  const load = async () => {
    try {
      setFound(await get(path));
      setProblem(null);
    } catch (error) {
      setProblem(error.message);
    }
  };
  useEvery(SECONDS, load, [path]);
  return [found, problem];
}

export function Queue() {
  const [found, problem] = useAnswer("/queue");
  if (problem) return html`<p class="error" role="alert">${problem}</p>`;
  if (!found) return null;
  const others = found.waiting - found.data.length;
  return html`<h2>Queue</h2>
    ${found.data.length
      ? html`<div class="scroll card" tabindex="0" role="region" aria-label="Table of waiting jobs"><table class="list cards">
          <thead><tr><th class="num">Place</th><th>Job</th><th>Owner</th><th class="num">Priority</th><th>Waits because</th><th>Start</th></tr></thead>
          <tbody>${found.data.map(
            (job) => html`<tr key=${job.id}>
              <td class="num" data-title="Place">${job.place ?? "–"}</td>
              <th scope="row"><a href=${`#/jobs/${job.id}`}>${job.name}</a></th>
              <td data-title="Owner">${job.owner ?? "–"}</td>
              <td class="num" data-title="Priority">${job.priority}</td>
              <td class="reason" data-title="Waits because">${job.reason}</td>
              <td data-title="Start">${expectedStart(job) || "–"}</td>
            </tr>`,
          )}</tbody>
        </table></div>`
      : html`<p class="muted">No job of this project waits.</p>`}
    ${others > 0 ? html`<p>${number(others)} ${others === 1 ? "job" : "jobs"} of other projects wait too.</p>` : null}`;
}

export function Usage() {
  const [found, problem] = useAnswer("/usage");
  if (problem) return html`<p class="error" role="alert">${problem}</p>`;
  if (!found) return null;
  const { project, currency } = found;
  const of = (used, limit) => (limit === null ? number(used) : `${number(used)} of ${number(limit)}`);
  const facts = [
    ["Weight", number(project.weight)],
    ["Running jobs", of(project.running_jobs, project.max_running_jobs)],
    ["Devices", of(project.running_devices, project.max_running_devices)],
    ["Device hours this month", of(project.device_hours, project.max_device_hours)],
  ];
  return html`<h2>Use</h2>
    <dl class="facts card">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    ${found.data.length
      ? html`<div class="scroll card" tabindex="0" role="region" aria-label="Table of use"><table class="list">
          <thead><tr><th>Project</th><th>Owner</th><th class="num">Device hours</th><th class="num">Starts</th>${currency ? html`<th class="num">${currency}</th>` : null}</tr></thead>
          <tbody>${found.data.map(
            (row) => html`<tr key=${`${row.project}/${row.owner}`}>
              <th scope="row">${row.project}</th><td>${row.owner ?? "–"}</td><td class="num">${number(row.device_hours)}</td><td class="num">${number(row.attempts)}</td>
              ${currency ? html`<td class="num">${row.cost.toFixed(2)}</td>` : null}
            </tr>`,
          )}</tbody>
        </table></div>`
      : html`<p class="muted">No devices were used in ${monthOf(found.month)}.</p>`}`;
}
