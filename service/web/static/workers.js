// View of the workers: hosts and devices, what they run, and hosts that are drained.
import { html, useState } from "./lib.js";
import { get, post } from "./api.js";
import { Ago } from "./ago.js";
import { bytes, number, when } from "./format.js";
import { useEvery } from "./live.js";
import { Queue, Usage } from "./queue.js";

const SECONDS = 5;

export function Workers() {
  const [found, setFound] = useState(null);
  const [problem, setProblem] = useState(null);
  const load = async () => {
    try {
      setFound(await get("/workers"));
      setProblem(null);
    } catch (error) {
      setProblem(error.message);
    }
  };
  useEvery(SECONDS, load, []);
  const change = async (path, body) => {
    try {
      setFound(await post(path, body));
      setProblem(null);
    } catch (error) {
      setProblem(error.message);
    }
  };
  return html`<main id="main" class="wide">
    <h1>Workers</h1>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    ${found ? html`<${Table} workers=${found.data} change=${change} />
      ${found.queued ? html`<p>${number(found.queued)} ${found.queued === 1 ? "job waits" : "jobs wait"}.</p>` : null}
      ${found.drained.map((drain) => html`<p class="notice" key=${drain.host}>${drain.host} is drained since ${when(drain.since)}: ${drain.move ? "its jobs leave" : "its jobs run to their end"}, and it starts none.
        <button onClick=${() => change("/workers/undrain", { host: drain.host })}>Let ${drain.host} work</button></p>`)}`
    : problem ? null : html`<p class="muted" role="status">Loading…</p>`}
    <${Queue} />
    <${Usage} />
  </main>`;
}

function Table({ workers, change }) {
  if (!workers.length) return html`<p class="muted">No worker lives. Start one with <code>adamss worker</code>.</p>`;
  const drain = (host, move) => {
    const what = move ? "Its running jobs write a checkpoint and go on elsewhere." : "Its running jobs run to their end.";
    if (confirm(`Let ${host} start nothing new? ${what}`)) change("/workers/drain", { host, move });
  };
  return html`<div class="scroll card" tabindex="0" role="region" aria-label="Table of workers">
    <table class="list cards">
      <thead><tr><th>Host</th><th>Devices</th><th class="num">Memory</th><th>Runs</th><th class="num">Free</th><th>Seen</th><th><span class="visually-hidden">Actions</span></th></tr></thead>
      <tbody>${workers.map(
        (worker) => html`<tr key=${worker.id}>
          <th scope="row">${worker.host}<br /><code class="muted" title=${`understands specs up to version ${worker.spec_version}`}>${worker.id}</code></th>
          <td data-title="Devices">${worker.devices.map((device) => html`<div key=${device.name}>${describe(device)}</div>`)}</td>
          <td class="num" data-title="Memory">${worker.memory_bytes === null ? "–" : bytes(worker.memory_bytes)}</td>
          <td data-title="Runs">${worker.jobs.length ? worker.jobs.map((job) => html`<div key=${job.id}>${job.id ? html`<a href=${`#/jobs/${job.id}`}>${job.name}</a>` : "a job of another project"}</div>`) : "–"}</td>
          <td class="num" data-title="Free">${worker.drained ? "drained" : worker.free === null ? "–" : `${worker.free} of ${worker.slots}`}</td>
          <td class="when" data-title="Seen"><${Ago} time=${worker.seen_at} /></td>
          <td>${worker.drained ? null : html`<span class="row tight">
            <button onClick=${() => drain(worker.host, false)} aria-label=${`Drain ${worker.host}`}>Drain</button>
            <button onClick=${() => drain(worker.host, true)} aria-label=${`Drain and move the jobs of ${worker.host}`}>Drain and move</button>
          </span>`}</td>
        </tr>`,
      )}</tbody>
    </table>
  </div>`;
}

// A device: name, kind where the name does not say it, memory of a GPU, and the jobs that have it.
function describe(device) {
  const facts = [
    device.kind && device.kind !== device.name.split(":")[0] ? device.kind : null,
    device.memory_bytes !== null && device.kind !== "cpu" ? bytes(device.memory_bytes) : null,
    device.most_jobs > 1 && !device.job ? `${device.jobs.length} of ${device.most_jobs} jobs` : null,
    ...[device.job, ...device.jobs].filter(Boolean).map((job) => job.name || "taken"),
    device.jobs.length && device.left_bytes !== null ? `${bytes(Math.max(0, device.left_bytes))} left` : null,
  ].filter(Boolean);
  return facts.length ? `${device.name} (${facts.join(", ")})` : device.name;
}
