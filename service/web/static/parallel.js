// Parallel coordinates: an axis for each field and one for the objective, a line for each trial. A slider goes through
// the trials by rank, so that keyboard and screen reader get what the pointer gets.
import { html, useState } from "./lib.js";
import { shownValue } from "./sweep_summary.js";

const LEFT_OUT = 1.12; // the height of trials whose conditions leave a field out

// axes: [{ name, title, dimension: { min, max, log } or { values } }]. lines: [{ key, label, said, values by name, state }],
// the best first.
export function ParallelCoordinates({ axes, lines }) {
  const isLeftOut = ({ name }) => lines.some((line) => !(name in line.values));
  const [picked, pick] = useState(0);
  if (!lines.length) return null;
  const shown = lines[Math.min(picked, lines.length - 1)];
  const drawn = lines.map((line, rank) => ({ ...line, rank, path: pathOf(axes, line) }));
  const ticks = (axis) => [...ticksOf(axis.dimension), ...(isLeftOut(axis) ? [{ text: "not set", at: LEFT_OUT }] : [])];
  return html`<figure class="card">
    <figcaption>Trials by their values</figcaption>
    <div class="scroll parallel-box" tabindex="0" role="region" aria-label="Parallel coordinates of the trials">
      <div class="parallel" style=${{ "--axes": axes.length }}>
        ${axes.map((axis) => html`<b key=${axis.name} title=${axis.name}>${axis.title}</b>`)}
        <div class=${axes.some(isLeftOut) ? "plot deep" : "plot"}>
          <svg viewBox=${`0 0 ${axes.length} 1`} preserveAspectRatio="none" aria-hidden="true">
            ${axes.map((axis, place) => html`<path key=${axis.name} class="axis" d=${`M${place + 0.5} 0V1`} />`)}
            ${[...drawn].reverse().map(({ key, rank, path, state }) => html`<path key=${key} class=${`trial ${state} ${rank === 0 ? "best" : ""} ${key === shown.key ? "picked" : ""}`}
              d=${path} onPointerEnter=${() => pick(rank)} />`)}
          </svg>
          ${axes.flatMap((axis, place) => ticks(axis).map(({ text, at }) => html`<span key=${axis.name + text} class="tick"
            style=${{ left: `${(100 * (place + 0.5)) / axes.length}%`, top: `${100 * at}%` }}>${text}</span>`))}
        </div>
      </div>
    </div>
    <label class="ranks"><span>Trial by rank</span> <input type="range" id="parallel-rank" min="1" max=${lines.length} value=${lines.indexOf(shown) + 1} aria-valuetext=${shown.said}
      onInput=${(event) => pick(Number(event.target.value) - 1)} /></label>
    <p class="under" aria-hidden="true">${shown.said}</p>
  </figure>`;
}

// The height of a value on its axis, from 0 at the top to 1; below it where the trial does not have the field.
export function height({ min, max, log, values, downwards }, value) {
  if (value === undefined) return LEFT_OUT;
  if (values) {
    const place = values.findIndex((other) => JSON.stringify(other) === JSON.stringify(value));
    return 1 - (place + 0.5) / values.length;
  }
  const scale = log ? Math.log : Number;
  const share = min === max ? 0.5 : (scale(value) - scale(min)) / (scale(max) - scale(min));
  return downwards ? share : 1 - share;
}

const pathOf = (axes, line) => `M${axes.map(({ name, dimension }, place) => `${place + 0.5} ${height(dimension, line.values[name]).toFixed(4)}`).join("L")}`;

function ticksOf(dimension) {
  const texts = dimension.values ?? (dimension.min === dimension.max ? [dimension.min] : [dimension.min, middle(dimension), dimension.max]);
  return texts.map((value) => ({ text: (dimension.shown ?? shownValue)(value), at: height(dimension, value) }));
}

const middle = ({ min, max, log }) => Number((log ? Math.sqrt(min * max) : (min + max) / 2).toPrecision(3));
