// The columns of a data set, each with a small chart: of its labels where it has few values, else of its lengths.
import { html } from "./lib.js";
import { number } from "./format.js";

const MOST_BARS = 8;
const MOST_CHARACTERS = 22; // of a label

export function Columns({ dataset }) {
  return html`<section aria-labelledby="columns">
    <h2 id="columns">Columns</h2>
    <div class="columns">${dataset.columns.map((column) => html`<${Column} key=${column.name} column=${column} dataset=${dataset} />`)}</div>
  </section>`;
}

function Column({ column, dataset }) {
  const { name, type, empty, distinct, distinct_capped: capped, repeated, parts } = column;
  const facts = [
    distinct ? `${number(distinct)}${capped ? " or more" : ""} distinct` : null,
    empty ? `${number(empty)} empty` : null,
    repeated && !column.values ? `${number(repeated)} repeat an earlier text` : null,
  ].filter(Boolean);
  const values = Object.entries(column.values ?? {}).sort((one, other) => other[1] - one[1]);
  const isFile = dataset.format === "images" && distinct === dataset.rows; // names of files, whose lengths mean nothing
  return html`<article class="card" aria-label=${`Column ${name}`}>
    <h3>${name} <span class="tag">${type}</span></h3>
    <p class="under">${facts.join(", ") || "every row has a value"}</p>
    ${parts ? html`<p class="under">${Object.entries(parts).map(([part, count]) => `${part}: ${number(count)}`).join(", ")}</p>` : null}
    ${values.length ? html`<${Labels} values=${values} rows=${type === "list" ? null : dataset.rows} />` : isFile ? null : html`<${Lengths} column=${column} />`}
  </article>`;
}

// rows: of the data set, or null for the entries of lists, of which a row has many.
function Labels({ values, rows }) {
  const shown = values.slice(0, MOST_BARS);
  const share = (count) => (100 * count) / Math.max(1, rows ?? shown[0][1]);
  const short = (value) => (value.length > MOST_CHARACTERS ? `${value.slice(0, MOST_CHARACTERS)}…` : value);
  return html`<table class="bars"><tbody>${shown.map(
      ([value, count]) => html`<tr key=${value}><th scope="row" title=${value}>${short(value) || "(empty)"}</th>
        <td><div class="bar" aria-hidden="true"><i style=${{ width: `${Math.min(100, share(count))}%` }}></i></div></td>
        <td class="num" title=${`${number(count)} times`}>${rows === null ? number(count) : `${number(share(count), 3)} %`}</td></tr>`,
    )}</tbody></table>
    ${values.length > shown.length ? html`<p class="under">and ${number(values.length - shown.length)} more</p>` : null}`;
}

// Bins that double, as columns; a list's length is its entries.
function Lengths({ column }) {
  const { lengths = [], min_length: least, max_length: most, mean_length: mean, type } = column;
  const highest = Math.max(1, ...lengths.map((bin) => bin.rows));
  const unit = type === "list" ? "entries" : "characters";
  const title = (bin, place) => `${number(place ? lengths[place - 1].up_to + 1 : 0)} to ${number(bin.up_to)} ${unit}: ${number(bin.rows)} rows`;
  return html`${lengths.length > 1 ? html`<div class="histogram" role="img" aria-label=${`Lengths. ${lengths.map(title).join("; ")}.`}>
      ${lengths.map((bin, place) => html`<i key=${bin.up_to} style=${{ height: `${(100 * bin.rows) / highest}%` }} title=${title(bin, place)}></i>`)}
    </div>` : null}
    <p class="under">${number(least)} to ${number(most)} ${unit}, ${number(mean, 3)} on average</p>`;
}
