// A job's own adapter beside the contenders that its spec names.
import { html } from "./lib.js";
import { number, signed, words } from "./format.js";

const interval = (low, high, shown = number) => (low === null || low === undefined ? "–" : `${shown(low)} to ${shown(high)}`);

export function Contenders({ job }) {
  const { comparison } = job;
  if (!comparison) return null;
  const { metric, level, contenders, gain_over: over } = comparison;
  const waiting = comparison.planned.filter((name) => !contenders.some((entry) => entry.contender === name));
  const tested = contenders.some((entry) => entry.test);
  return html`<section aria-labelledby="comparison">
    <h2 id="comparison">Comparison</h2>
    <p class="muted">Trained on the same rows and batches, with the same steps and seed. Intervals are of ${100 * level} %; differences are paired by row.${over ? ` Gain: ${words(metric)} over ${over === "head" ? "the head alone" : over}, for a thousand elements of A and B.` : ""}</p>
    <div class="scroll card" tabindex="0" role="region" aria-label="Table of contenders">
      <table class="list">
        <thead><tr><th>Contender</th><th class="num">Elements</th><th class="num">Head</th><th class="num">Rate</th><th class="num">${words(metric)}</th><th class="num">Interval</th><th class="num">Difference</th><th class="num">Gain</th>${tested ? html`<th class="num">Test ${words(metric)}</th><th class="num">Difference</th>` : null}</tr></thead>
        <tbody>
          ${contenders.map((entry) => html`<${Contender} key=${entry.contender} entry=${entry} metric=${metric} tested=${tested} />`)}
          ${waiting.map((name) => html`<tr key=${name}><th scope="row">${name}</th><td colspan=${tested ? 9 : 7}>${state(job, name)}</td></tr>`)}
        </tbody>
      </table>
    </div>
  </section>`;
}

function Contender({ entry, metric, tested }) {
  const { contender, error, held_out: measured, test } = entry;
  const name = contender === "adamss" ? "AdaMSS (this job)" : contender;
  if (error) return html`<tr><th scope="row">${name}</th><td class="text" colspan=${tested ? 9 : 7}>failed: ${error.message}</td></tr>`;
  return html`<tr>
    <th scope="row">${name}</th><td class="num">${number(entry.adapter_parameters)}</td><td class="num">${number(entry.head_parameters)}</td><td class="num">${number(entry.learning_rate)}</td>
    <td class="num">${number(measured?.metrics[metric])}</td><td class="num">${measured?.low === measured?.high ? "–" : interval(measured.low, measured.high)}</td>
    <td class="num">${difference(measured)}</td><td class="num">${entry.gain_per_thousand === null ? "–" : signed(entry.gain_per_thousand)}</td>
    ${tested ? html`<td class="num">${number(test?.metrics[metric])}</td><td class="num">${difference(test)}</td>` : null}
  </tr>`;
}

function difference(measured) {
  if (!measured || measured.difference === null) return "–";
  const { difference: value, difference_low: low, difference_high: high } = measured;
  return low === null ? signed(value) : `${signed(value)} (${interval(low, high, signed)})`;
}

function state(job, name) {
  const running = job.progress.contender;
  if (running?.contender === name) return `is trained: step ${number(running.step)} of ${number(running.steps)}`;
  return running ? "waits" : "not trained";
}
