// An answer of a model, and that of its base model beside it.
import { html } from "./lib.js";
import { partsOf } from "./tasks.js";

const SHOWN_CLASSES = 10; // of many; the others are summed up

export function Answer({ task, answer }) {
  const { base } = answer;
  const [main, ...others] = partsOf(task, answer);
  const scores = isScores(answer.scores);
  if (Array.isArray(answer.tokens)) return html`<${Tagged} answer=${answer} />${base ? html`<p class="muted">The base model:</p><${Tagged} answer=${base} />` : null}`;
  return html`<p><strong>${main.text || "(nothing)"}</strong>${scores ? null : others.map(({ title, text }) => html`, ${title.toLowerCase()} ${text}`)}
      ${base ? html` <span class="muted">The base model: ${partsOf(task, base)[0].text || "(nothing)"}</span>` : null}</p>
    ${scores ? html`<${Scores} scores=${answer.scores} base=${base?.scores} />` : null}`;
}

const isScores = (scores) => scores && !Array.isArray(scores);

// Classes, the likeliest at first, as percentages; those of classes that exclude each other sum to 100.
function Scores({ scores, base }) {
  const rows = percentages(scores).sort(([, a], [, b]) => b - a);
  const theirs = base && new Map(percentages(base));
  const shown = rows.slice(0, SHOWN_CLASSES);
  const left = rows.slice(SHOWN_CLASSES);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const lines = [
    ...shown.map(([name, value]) => [name, value, theirs?.get(name)]),
    ...(left.length ? [[`${left.length} others`, sum(left.map(([, value]) => value)), theirs && sum(left.map(([name]) => theirs.get(name)))]] : []),
  ];
  return html`<table class="bars" aria-label="Scores of the classes">
    ${theirs ? html`<thead><tr><th scope="col">Class</th><th></th><th scope="col" class="num">Trained</th><th scope="col" class="num">Base</th></tr></thead>` : null}
    <tbody>${lines.map(
      ([name, value, other]) => html`<tr key=${name}><th scope="row">${name}</th>
        <td><div class="bar" aria-hidden="true"><i style=${{ width: `${value}%` }}></i></div></td><td class="num">${value.toFixed(1)} %</td>
        ${theirs ? html`<td class="num">${other.toFixed(1)} %</td>` : null}</tr>`,
    )}</tbody>
  </table>`;
}

// [name, percentage] with one decimal. Where the shares sum to one, so do the rounded ones: the largest remainders are rounded up.
export function percentages(scores) {
  const entries = Object.entries(scores);
  const total = entries.reduce((sum, [, share]) => sum + share, 0);
  if (Math.abs(total - 1) > 0.01) return entries.map(([name, share]) => [name, Math.round(1000 * share) / 10]);
  const exact = entries.map(([, share]) => (1000 * share) / total);
  const rounded = exact.map(Math.floor);
  const missing = 1000 - rounded.reduce((sum, one) => sum + one, 0);
  const order = exact.map((value, place) => [value - rounded[place], place]).sort(([a], [b]) => b - a);
  for (const [, place] of order.slice(0, missing)) rounded[place] += 1;
  return entries.map(([name], place) => [name, rounded[place] / 10]);
}

// Words with their tags below them.
function Tagged({ answer: { tokens, tags } }) {
  return html`<p class="tagged">${tokens.map((word, place) => html`<span key=${place} class=${tags[place] && tags[place] !== "O" ? "entity" : ""}>${word}<small>${tags[place] ?? "–"}</small></span> `)}</p>`;
}
