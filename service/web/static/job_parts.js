// Parts of a job's page that are tables or texts: artifacts, samples, events, log, snippets.
import { html, useEffect, useState } from "./lib.js";
import { get, orNull } from "./api.js";
import { bytes, number, when } from "./format.js";
import { ENDED, useEvery, useList } from "./live.js";
import { UseAsPreset } from "./presets.js";
import { snippets } from "./snippets.js";

export function Artifacts({ job }) {
  const entries = useList(job, "artifacts");
  if (!entries.length) return null;
  return html`<section aria-labelledby="artifacts">
    <h2 id="artifacts">Artifacts</h2>
    <div class="scroll card" tabindex="0" role="region" aria-label="Table of artifacts">
      <table class="list">
        <thead><tr><th>Name</th><th class="num">Size</th><th><span class="visually-hidden">Download</span></th><th>SHA-256</th></tr></thead>
        <tbody>${entries.map(
          (entry) => html`<tr key=${entry.name}>
            <th scope="row">${entry.name}</th><td class="num">${bytes(entry.size_bytes)}</td>
            <td><a class="button" href=${`/jobs/${job.id}/artifacts/${entry.name}`} download>Download ${entry.name}</a></td>
            <td class="text"><code class="hash">${entry.sha256}</code></td>
          </tr>`,
        )}</tbody>
      </table>
    </div>
    ${job.spec.compare?.length && !ENDED.includes(job.status) ? html`<p class="muted">The comparison is added to their cards and manifests once the contenders are trained; sizes and SHA-256 change then, the weights do not.</p>` : null}
  </section>`;
}

// What a model that writes makes of a few held-out prompts: before training, and at an evaluation, the last at first.
export function Samples({ events }) {
  const all = events.filter((event) => event.type === "samples").map((event) => event.data);
  const [chosen, choose] = useState(null); // an index; null follows the newest
  const place = chosen === null ? all.length - 1 : Math.min(chosen, all.length - 1);
  const [first, later] = [all[0], all[place]];
  if (!later) return null;
  const shown = first.step === later.step ? [later] : [first, later];
  const written = ({ samples }, row) => samples.find((sample) => sample.row === row)?.completion ?? "";
  return html`<section aria-labelledby="samples">
    <h2 id="samples">Samples</h2>
    ${all.length > 2
      ? html`<div class="row"><label class="grow">Written at step ${number(later.step)}
          <input type="range" id="sample-step" min="1" max=${all.length - 1} value=${Math.max(1, place)} aria-valuetext=${`step ${later.step}`}
            onInput=${(event) => choose(Number(event.target.value))} /></label></div>`
      : null}
    <div class="scroll card tall" tabindex="0" role="region" aria-label="Table of samples">
      <table class="list">
        <thead><tr><th class="num">Row</th><th>Prompt</th><th>Expected</th>${shown.map(({ step }) => html`<th key=${step}>${step ? `Step ${number(step)}` : "Before training"}</th>`)}</tr></thead>
        <tbody>${later.samples.map(
          ({ row, prompt, expected }) => html`<tr key=${row}>
            <td class="num">${row}</td><td class="text">${prompt}</td><td class="text">${expected}</td>
            ${shown.map((evaluation) => html`<td class="text" key=${evaluation.step}>${written(evaluation, row)}</td>`)}
          </tr>`,
        )}</tbody>
      </table>
    </div>
  </section>`;
}

export function Events({ events }) {
  return html`<section aria-labelledby="events">
    <h2 id="events">Events</h2>
    <ol class="card tall events scroll" tabindex="0" aria-label="Events">${[...events].reverse().map(
      (event) => html`<li key=${event.seq}><time class="muted">${when(event.time)}</time> ${event.message}</li>`,
    )}</ol>
  </section>`;
}

// A path of the host by its last two parts: the rest says nothing to those who read a log here, and leads nowhere.
export const shortPaths = (text) => text.replace(/(?<![\w:/.])(?:\/[\w.@+-]+){1,}(\/[\w.@+-]+\/[\w.@+-]+)/g, "…$1");

export function Log({ job }) {
  const [text, setText] = useState("");
  useEvery(ENDED.includes(job.status) ? 3600 : 3, async () => setText((await orNull(get(`/jobs/${job.id}/logs`, { limit: 20000 })))?.data ?? ""), [job.id, job.status]);
  return html`<section aria-labelledby="log">
    <h2 id="log">Log</h2>
    <pre class="card tall scroll" tabindex="0" role="region" aria-label="End of the training log">${shortPaths(text) || "Empty."}</pre>
  </section>`;
}

export function Reproduce({ job }) {
  const [copied, setCopied] = useState("");
  useEffect(() => setCopied(""), [job.id]);
  const copy = async (name, text) => {
    await navigator.clipboard.writeText(text);
    setCopied(name);
  };
  return html`<section aria-labelledby="reproduce">
    <div class="row head"><h2 id="reproduce">Reproduce this job</h2><${UseAsPreset} source=${{ job: job.id }} suggestion=${job.name} /></div>
    ${snippets(job, location.origin).map(
      ([name, text]) => html`<details class="card" key=${name}>
        <summary>${name}</summary>
        <button class="copy" onClick=${() => copy(name, text)}>${copied === name ? "Copied" : `Copy ${name}`}</button>
        <pre class="scroll" tabindex="0" role="region" aria-label=${name}>${text}</pre>
      </details>`,
    )}
  </section>`;
}
