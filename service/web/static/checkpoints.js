// Checkpoints of a job: the table, and the choice of one to try.
import { html, useState } from "./lib.js";
import { post } from "./api.js";
import { number, when, words } from "./format.js";
import { ENDED, useList } from "./live.js";

export function Checkpoints({ job }) {
  const entries = useList(job, "checkpoints");
  const [problem, setProblem] = useState(null);
  if (!entries.length) return null;
  const ended = ENDED.includes(job.status);
  const publish = async (step) => {
    try {
      const made = await post(`/jobs/${job.id}/checkpoints/${step}/publish`, {});
      location.hash = `#/jobs/${made.id}`;
    } catch (error) {
      setProblem(error.message);
    }
  };
  return html`<section aria-labelledby="checkpoints">
    <h2 id="checkpoints">Checkpoints</h2>
    <div class="scroll card" tabindex="0" role="region" aria-label="Table of checkpoints">
      <table class="list">
        <thead><tr><th class="num">Step</th><th class="num">Attempt</th><th>Written</th><th>Evaluation</th>${ended ? html`<th>Artifacts</th>` : null}</tr></thead>
        <tbody>${entries.map(
          (entry) => html`<tr key=${entry.step}>
            <td class="num">${entry.step}</td><td class="num">${entry.attempt}</td><td>${when(entry.created_at)}</td>
            <td class="text">${Object.entries(entry.values).map(([name, value]) => `${words(name.replace("eval_", ""))} ${number(value)}`).join(", ")}${entry.best ? html` <strong>best</strong>` : ""}</td>
            ${ended ? html`<td><button onClick=${() => publish(entry.step)} aria-label=${`Publish the checkpoint of step ${entry.step}`}>Publish</button></td>` : null}
          </tr>`,
        )}</tbody>
      </table>
    </div>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
  </section>`;
}

// Which model answers: the published one, or a checkpoint; `set` takes its step, or null.
export function ModelChoice({ job, step, set }) {
  const entries = useList(job, "checkpoints");
  if (!entries.length) return null;
  return html`<label>Model <select id="try-model" value=${step ?? ""} onChange=${(event) => set(event.target.value ? Number(event.target.value) : null)}>
    <option value="">published</option>
    ${entries.map((entry) => html`<option key=${entry.step} value=${entry.step}>checkpoint of step ${entry.step}</option>`)}
  </select></label>`;
}
