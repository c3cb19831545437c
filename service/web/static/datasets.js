// View of all data sets: upload, and a line for each.
import { html, useEffect, useState } from "./lib.js";
import { all, remove } from "./api.js";
import { address } from "./address.js";
import { Ago } from "./ago.js";
import { Dataset, isGivenUp } from "./dataset.js";
import { Drop } from "./drop.js";
import { bytes, number } from "./format.js";
import { Menu } from "./menu.js";

export const Datasets = ({ id, query }) => (id ? html`<${Dataset} key=${id} id=${id} again=${query.has("again")} />` : html`<${List} />`);

function List() {
  const [datasets, setDatasets] = useState(null);
  const [problem, setProblem] = useState(null);
  const load = () => all("/datasets").then(setDatasets, (error) => setProblem(error.message));
  useEffect(() => void load(), []);
  const uploaded = async (made, refused) => {
    const known = new Set((datasets ?? []).map((entry) => entry.id));
    // One file opens; of several, or where one was refused, the list says what is there now.
    if (made.length === 1 && !refused.length) location.hash = address(`datasets/${made[0].id}`, { again: known.has(made[0].id) ? "yes" : null });
    else await load();
  };
  const drop = async (dataset) => {
    try {
      if (!(await isGivenUp(dataset))) return;
      await remove(`/datasets/${dataset.id}`);
      setProblem(null);
      await load();
    } catch (error) {
      setProblem(error.message);
    }
  };
  return html`<main id="main">
    <h1>Data sets</h1>
    <${Drop} uploaded=${uploaded}>Drop a file here, or choose one: CSV, JSON, Excel, Parquet, Arrow, CoNLL, text, a zip of images, or an archive of these<//>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    ${datasets?.length ? html`<div class="scroll card" tabindex="0" role="region" aria-label="Table of data sets">
      <table class="list">
        <thead><tr><th>Name</th><th>For</th><th class="num">Rows</th><th class="num">Size</th><th class="num">Problems</th><th>Uploaded</th><th><span class="visually-hidden">Actions</span></th></tr></thead>
        <tbody>${datasets.map(
          (entry) => html`<tr key=${entry.id}>
            <th scope="row"><a href=${`#/datasets/${entry.id}`} title=${entry.id}>${entry.name}</a></th>
            <td>${entry.suggestion?.task ?? "–"} <span class="under">${entry.format}</span></td><td class="num">${number(entry.rows)}</td><td class="num whole">${bytes(entry.size_bytes)}</td>
            <td class="num">${entry.problem_count ? number(entry.problem_count) : "–"}</td><td class="when"><${Ago} time=${entry.created_at} /></td>
            <td><${Menu} label=${`Actions of ${entry.name}`} items=${[["Train on it", address("new", { dataset: entry.id })], ["Delete", () => drop(entry)]]} /></td>
          </tr>`,
        )}</tbody>
      </table>
    </div>` : null}
    ${datasets === null && !problem ? html`<p class="muted" role="status">Loading…</p>` : null}
    ${datasets?.length === 0 ? html`<p class="muted">No data sets yet.</p>` : null}
  </main>`;
}
