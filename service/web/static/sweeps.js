// View of the sweeps: all of them, or one; and the form that begins one from a job.
import { html } from "./lib.js";
import { Ago } from "./ago.js";
import { number, words } from "./format.js";
import { status } from "./job_summary.js";
import { NewSweep } from "./new_sweep.js";
import { Presets } from "./presets.js";
import { Sweep } from "./sweep.js";
import { bestScore, chosen, counted, useSweeps } from "./sweep_summary.js";
import { useTasks } from "./tasks.js";

const MOST = 200;

export function Sweeps({ id, query }) {
  if (id) return html`<${Sweep} key=${id} id=${id} />`;
  const from = query.get("from");
  return from ? html`<${NewSweep} key=${from} from=${from} />` : html`<${List} />`;
}

function List() {
  const tasks = useTasks();
  const [sweeps, problem] = useSweeps(MOST);
  return html`<main id="main">
    <h1>Sweeps</h1>
    <p class="muted">A sweep tries many choices of a job's fields and keeps the best. Begin one with “Sweep” on the page of a job, or with <code>adamss sweep spec.yaml</code>.</p>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    ${sweeps === null && !problem ? html`<p class="muted" role="status">Loading…</p>` : null}
    ${sweeps?.length === 0 ? html`<p class="muted">No sweeps yet.</p>` : null}
    ${sweeps?.length ? html`<div class="scroll card" tabindex="0" role="region" aria-label="Table of sweeps">
      <table class="list">
        <thead><tr><th>Sweep</th><th>Status</th><th>Trials</th><th>Best</th><th>Submitted</th></tr></thead>
        <tbody>${sweeps.map((sweep) => html`<tr key=${sweep.id}>
          <th scope="row"><a href=${`#/sweeps/${sweep.id}`}>${sweep.name}</a></th><td>${status(sweep.status)}</td><td>${counted(sweep)}</td>
          <td>${sweep.best ? html`<b>${bestScore(tasks, sweep)}</b> ${words(sweep.objective)}<div class="under">${chosen(sweep.best)}</div>` : (sweep.no_best ?? "–")}</td>
          <td class="when"><${Ago} time=${sweep.created_at} /></td>
        </tr>`)}</tbody>
      </table>
    </div>` : null}
    ${sweeps?.length === MOST ? html`<p class="muted">The newest ${number(MOST)}.</p>` : null}
    <${Presets} />
  </main>`;
}
