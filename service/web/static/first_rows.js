// The first rows of a data set as a table, images small.
import { html } from "./lib.js";
import { cell } from "./format.js";
import { Thumbnail } from "./thumbnail.js";

// shown: the text of a cell's value.
export function FirstRows({ dataset, preview, className, name, shown = cell }) {
  const content = (row, column) => (dataset.format === "images" && column === "image" && row.image ? html`<${Thumbnail} dataset=${dataset.id} name=${row.image} />` : shown(row[column]));
  return html`<div class=${className} tabindex="0" role="region" aria-label=${name}>
    <table class="list">
      <thead><tr>${preview.columns.map((column) => html`<th key=${column}>${column}</th>`)}</tr></thead>
      <tbody>${preview.rows.map((row, place) => html`<tr key=${place}>${preview.columns.map((column) => html`<td class="text" key=${column}>${content(row, column)}</td>`)}</tr>`)}</tbody>
    </table>
  </div>`;
}
