// Spectra: the energy that the leading directions of a base model's layers catch, before a run and of a run's own basis.
import { html, useEffect, useState } from "./lib.js";
import { get, post } from "./api.js";
import { duration, number } from "./format.js";
import { kinds, parseModule } from "./asa.js";

const LEVELS = 8; // shades of a share
const POLL_MS = 2000;
const BASES = ["weights", "inputs", "gradient"];
const level = (share) => Math.min(LEVELS - 1, Math.floor(share * LEVELS));
const path = (model) => `/models/${model.split("/").map(encodeURIComponent).join("/")}/spectrum`;
const percent = (share) => `${number(100 * share, 3)} %`;

// name -> [title, module -> [[r, share], ...]]
function views(report) {
  const pairs = (ranks, shares) => ranks.map((r, index) => [r, shares[index]]);
  const own = [["the weight, in its own directions", (module) => pairs(module.widths, module.energy)]];
  if (report.basis_rows === null) return own;
  const caught = (energy, basis) => (module) => (module[energy] ? pairs(module.ranks, module[energy][basis]) : []);
  const titles = { inputs: "the inputs", gradient: "the gradient" };
  return [
    ...Object.keys(titles).flatMap((energy) => BASES.map((basis) => [`${titles[energy]}, in the basis of the ${basis}`, caught(energy, basis)])),
    ...own,
  ];
}

export function SpectrumPicture({ report }) {
  const choices = views(report);
  const [chosen, setChosen] = useState(0);
  const [title, curve] = choices[Math.min(chosen, choices.length - 1)];
  const names = kinds(report.modules.map(({ name }) => name));
  const curves = report.modules.map(curve);
  const longest = curves.reduce((a, b) => (b.length > a.length ? b : a), []);
  return html`<div class="spectrum">
    <label>Energy of <select value=${chosen} onChange=${(event) => setChosen(Number(event.target.value))}>
      ${choices.map(([name], index) => html`<option key=${name} value=${index}>${name}</option>`)}</select></label>
    <div class="scroll map-box" tabindex="0" role="region" aria-label="Map of energies">
      <table class="map narrow">
        <caption class="visually-hidden">One row per module, one cell per r: the share of the energy of ${title} that the r leading directions catch.</caption>
        <thead><tr><th scope="col">r</th>${longest.map(([r]) => html`<td key=${r}>${r}</td>`)}</tr></thead>
        <tbody>${report.modules.map((module, row) => {
          const { layer } = parseModule(module.name);
          return html`<tr key=${module.name} data-module=${module.name}>
            <th scope="row" title=${module.name}>${layer === null ? "" : html`<b>${layer}</b> `}${names[row]}</th>
            ${curves[row].map(([r, share]) => html`<td key=${r} class=${`level-${level(share)}`} title=${`r ${r}: ${percent(share)}`}><span class="visually-hidden">${percent(share)}</span></td>`)}
          </tr>`;
        })}</tbody>
      </table>
    </div>
    <p class="legend" aria-hidden="true">none ${Array.from({ length: LEVELS }, (_, index) => html`<i class=${`level-${index}`}></i>`)} all of the energy</p>
    <${Suggestion} report=${report} />
  </div>`;
}

function Suggestion({ report }) {
  const { targets, r, num_subspaces: subspaces, basis, measured, hints } = report.suggestion;
  return html`<p><strong>Measured:</strong> basis ${basis}, r ${number(r)}, ${number(subspaces)} subspace, targets ${targets ? targets.join(", ") : "unknown for this model type: name target_modules"}. ${measured}</p>
    ${hints.map((hint) => html`<p class="muted" key=${hint}><strong>A hint:</strong> ${hint}</p>`)}
    <p class="muted">${report.measured_rows === null ? "" : `Bases from ${number(report.basis_rows)} rows, energies from ${number(report.measured_rows)} others. `}It took ${duration(report.seconds)}.</p>`;
}

// Asks for a spectrum until it is measured; [report, error].
function useSpectrum(model, dataset, asked) {
  const [found, setFound] = useState([null, null]);
  useEffect(() => {
    setFound([null, null]);
    if (!model || !asked) return undefined;
    const control = new AbortController();
    let timer;
    const ask = async () => {
      try {
        const answer = await get(path(model), { dataset }, control.signal);
        if (answer.status === "ready") setFound([answer.report, null]);
        else timer = setTimeout(ask, POLL_MS);
      } catch (error) {
        if (error.name !== "AbortError") setFound([null, error]);
      }
    };
    ask();
    return () => {
      control.abort();
      clearTimeout(timer);
    };
  }, [model, dataset, asked]);
  return found;
}

// In the form of a new job: the weights at once, the data set by a job of its own.
export function ModelSpectrum({ spec }) {
  const [open, setOpen] = useState(false);
  const [sent, setSent] = useState(null); // [link or report, error]
  const { base_model: model, dataset, task, problem_type } = spec;
  const [report, problem] = useSpectrum(model, undefined, open);
  const key = JSON.stringify([model, dataset]);
  useEffect(() => setSent(null), [key]);
  if (!model) return null;
  const measure = async () => {
    try {
      setSent([await post(path(model), { dataset, task, problem_type }), null]);
    } catch (error) {
      setSent([null, error]);
    }
  };
  const error = sent?.[1] ?? problem;
  const shown = sent?.[0]?.report ?? report;
  return html`<details onToggle=${(event) => setOpen(event.target.open)}>
    <summary>Spectrum of the model</summary>
    ${error ? html`<p class="error" role="alert">${error.message}</p>` : null}
    ${shown ? html`<${SpectrumPicture} key=${shown.seconds} report=${shown} />` : open && !error ? html`<p class="muted" role="status">Measuring…</p>` : null}
    ${sent?.[0]?.job ? html`<p>A job measures it on the data set: <a href=${`#/jobs/${sent[0].job}`}>follow it</a>.</p>` : null}
    ${dataset?.train && !sent?.[0] ? html`<button type="button" onClick=${measure}>Measure on the data set</button>` : null}
  </details>`;
}

// On the page of the job that measures one.
export function JobSpectrum({ job }) {
  const { model, dataset } = job.inspects;
  const [report, problem] = useSpectrum(model, dataset, job.status === "succeeded");
  if (job.status !== "succeeded") return null;
  return html`<section aria-labelledby="spectrum"><h2 id="spectrum">Spectrum</h2>
    ${problem ? html`<p class="error" role="alert">${problem.message}</p>` : report ? html`<${SpectrumPicture} report=${report} />` : html`<p class="muted" role="status">Loading…</p>`}
  </section>`;
}

// On the page of a job: the directions that its adapter works in, and the energy that they catch in each module.
export function Directions({ job, events }) {
  const found = events.findLast(({ type }) => type === "adapter_calibrated");
  const modules = Object.entries(found?.data.modules ?? {});
  if (!modules.length) return null;
  const names = kinds(modules.map(([name]) => name));
  const { basis, r } = job.resolved.spec.adamss;
  return html`<section aria-labelledby="directions"><h2 id="directions">Directions</h2>
    <p>${found.message}</p>
    <div class="scroll map-box" tabindex="0" role="region" aria-label="Energy caught by each module's basis">
      <table class="map">
        <caption class="visually-hidden">Share of the energy of the ${basis} that ${r} directions catch, over the rows that they come from.</caption>
        <tbody>${modules.map(([name, share], row) => {
          const { layer } = parseModule(name);
          return html`<tr key=${name}><th scope="row" title=${name}>${layer === null ? "" : html`<b>${layer}</b> `}${names[row]}</th>
            <td>${share === null ? "not known" : html`<meter min="0" max="1" value=${share} aria-hidden="true"></meter> ${percent(share)}`}</td></tr>`;
        })}</tbody>
      </table>
    </div>
  </section>`;
}
