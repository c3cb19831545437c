// View of one sweep: the best trial, how it was found, which fields mattered, and all trials.
import { html, useState } from "./lib.js";
import { address } from "./address.js";
import { get, orNull, post, remove } from "./api.js";
import { Chart } from "./charts.js";
import { duration, number, score, words } from "./format.js";
import { status } from "./job_summary.js";
import { useEvery } from "./live.js";
import { ParallelCoordinates } from "./parallel.js";
import { UseAsPreset } from "./presets.js";
import { chosen, counted, GOING, objectiveOf, shortNames, shownObjective, shownValue } from "./sweep_summary.js";
import { useTasks } from "./tasks.js";
import { useTitle } from "./title.js";

const SECONDS = 3;
const STATES = { stopped: "stopped early" };

export function Sweep({ id }) {
  const [sweep, setSweep] = useState(null);
  const [importance, setImportance] = useState(null);
  const [problem, setProblem] = useState(null);
  const isGoing = !sweep || GOING.includes(sweep.status);
  const load = async () => {
    try {
      const found = await get(`/sweeps/${id}`);
      setSweep(found);
      setImportance(await orNull(get(`/sweeps/${id}/importance`)));
      setProblem(null);
    } catch (error) {
      setProblem(error);
    }
  };
  useEvery(isGoing ? SECONDS : 3600, load, [id, isGoing]);
  useTitle("Sweep", sweep?.name, problem);
  if (!sweep) return html`<main id="main"><h1>Sweep</h1>${problem ? html`<p class="error" role="alert">${problem.message}</p>` : html`<p class="muted" role="status">Loading…</p>`}</main>`;
  return html`<main id="main" class="wide" data-sweep=${id}>
    <div class="row head">
      <h1>${sweep.name} ${status(sweep.status)}</h1>
      <${Actions} sweep=${sweep} show=${setSweep} />
    </div>
    ${problem ? html`<p class="error" role="alert">${problem.message}</p>` : null}
    <${Found} sweep=${sweep} importance=${importance} />
  </main>`;
}

function Found({ sweep, importance }) {
  const tasks = useTasks();
  const metric = objectiveOf(tasks, sweep);
  const { trials, best } = sweep;
  const ended = trials.filter((trial) => !["waiting", "running"].includes(trial.state)).length;
  return html`<section class="card now" aria-labelledby="best">
      <h2 id="best" class="visually-hidden">Best trial</h2>
      <p class="headline">${best ? html`<strong>${shownObjective(metric, best)}</strong> ${metric.title.toLowerCase()} <span class="muted">in trial ${number(best.number)} with ${chosen(best)}</span>` : html`<strong>${sweep.no_best ?? "No trial has ended with a value yet"}</strong>`}</p>
      ${GOING.includes(sweep.status) ? html`<progress class="wide" max=${trials.length} value=${ended} aria-label="Trials that have ended"></progress>` : null}
      <p class="muted">${counted(sweep)}; ${duration(sweep.device_seconds)} of device time</p>
      ${best ? html`<div class="row"><a class="button" href=${`#/jobs/${best.jobs[0]}`}>Its job</a><a class="button" href=${address("new", { from: best.jobs[0] })}>New job with its values</a><${UseAsPreset} key=${best.number} source=${{ sweep: sweep.id }} suggestion=${sweep.name} /></div>` : null}
    </section>
    <div class="charts">
      <${BestSoFar} sweep=${sweep} metric=${metric} />
      <${Importance} found=${importance} />
    </div>
    <${Parallel} sweep=${sweep} metric=${metric} />
    <${Trials} sweep=${sweep} metric=${metric} />`;
}

function Actions({ sweep, show }) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const act = async (verb) => {
    if (verb === "cancel" && !confirm(`Cancel ${sweep.name} with all trials that have not ended?`)) return;
    if (verb === "delete" && !confirm(`Delete ${sweep.name}? Its jobs stay.`)) return;
    setBusy(true);
    try {
      if (verb === "delete") {
        await remove(`/sweeps/${sweep.id}`);
        location.hash = "#/sweeps";
        return;
      }
      show(await post(`/sweeps/${sweep.id}/${verb}`));
      setProblem(null);
    } catch (error) {
      setProblem(error.message);
    }
    setBusy(false);
  };
  const allowed = { running: ["pause", "cancel"], paused: ["resume", "cancel"] }[sweep.status] ?? ["delete"];
  return html`<span class="row tight">
    ${allowed.map((verb) => html`<button key=${verb} disabled=${busy} onClick=${() => act(verb)} aria-label=${`${title(verb)} ${sweep.name}`}>${title(verb)}</button>`)}
    ${problem ? html`<span class="error" role="alert">${problem}</span>` : null}
  </span>`;
}

const title = (name) => name[0].toUpperCase() + name.slice(1);

// The best value of complete trials, at each moment at which one of them ended.
export function bestSoFar({ trials, direction, created_at: begun }) {
  const better = direction === "max" ? Math.max : Math.min;
  const complete = trials.filter((trial) => trial.state === "complete" && trial.value !== null && trial.ended_at);
  const sorted = complete.sort((one, other) => new Date(one.ended_at) - new Date(other.ended_at));
  let best = null;
  return sorted.map((trial) => {
    best = best === null ? trial.value : better(best, trial.value);
    return [Math.round((new Date(trial.ended_at) - new Date(begun)) / 1000), best];
  });
}

function BestSoFar({ sweep, metric }) {
  const line = bestSoFar(sweep);
  if (!line.length) return null;
  const lines = [{ label: `best ${metric.title.toLowerCase()}`, stepped: true, points: [...new Map(line)] }];
  return html`<${Chart} name="best" title="Best so far" xLabel="seconds" lines=${lines} />`;
}

function Importance({ found }) {
  if (!found) return null;
  const { importance, trials } = found;
  const names = shortNames(Object.keys(importance ?? {}));
  return html`<figure class="card">
    <figcaption>Which fields mattered</figcaption>
    ${importance ? html`<table class="bars" aria-label="Importance of the fields"><tbody>${Object.entries(importance).map(
      ([path, share]) => html`<tr key=${path}><th scope="row" title=${path}>${names[path]}</th>
        <td><div class="bar" aria-hidden="true"><i style=${{ width: `${100 * share}%` }}></i></div></td><td class="num">${number(100 * share, 2)} %</td></tr>`,
    )}</tbody></table>
    <p class="under">By Optuna's PED-ANOVA over ${number(trials)} trials with a value; of few trials it is a hint.</p>`
    : html`<p class="muted">Known once four trials have different values; ${number(trials)} ${trials === 1 ? "has" : "have"} one.</p>`}
  </figure>`;
}

// Those trained to their end first, by the objective; then the others in the same order.
export function ranked({ trials, direction }) {
  const sign = direction === "max" ? -1 : 1;
  const place = (trial) => [trial.state !== "complete", trial.value === null, sign * (trial.value ?? 0), trial.number];
  return [...trials].sort((one, other) => {
    const [left, right] = [place(one), place(other)];
    const first = left.findIndex((value, index) => value !== right[index]);
    return first < 0 ? 0 : left[first] - right[first];
  });
}

function Parallel({ sweep, metric }) {
  const valued = ranked(sweep).filter((trial) => trial.value !== null);
  const { space } = sweep.request;
  const paths = Object.keys(space);
  const names = shortNames(paths);
  const values = valued.map((trial) => trial.value);
  const objective = { min: Math.min(...values), max: Math.max(...values), downwards: sweep.direction === "min", shown: (value) => score(metric, value) };
  const axes = [...paths.map((path) => ({ name: path, title: names[path], dimension: space[path] })), { name: "", title: metric.title, dimension: objective }];
  const lines = valued.map((trial, rank) => ({
    key: trial.number, state: trial.state, values: { ...trial.params, "": trial.value },
    said: `Rank ${rank + 1} of ${valued.length}: trial ${trial.number}, ${metric.title.toLowerCase()} ${shownObjective(metric, trial)}, ${STATES[trial.state] ?? trial.state}, with ${chosen(trial)}`,
  }));
  return html`<${ParallelCoordinates} axes=${axes} lines=${lines} />`;
}

function Trials({ sweep, metric }) {
  const paths = Object.keys(sweep.request.space);
  const names = shortNames(paths);
  const withSeeds = sweep.request.seeds?.length > 1;
  const jobName = (place) => (withSeeds ? `seed ${sweep.request.seeds[place]}` : "job");
  return html`<section aria-labelledby="trials">
    <h2 id="trials">Trials</h2>
    <div class="scroll card" tabindex="0" role="region" aria-label="Table of trials">
      <table class="list">
        <thead><tr><th class="num">Trial</th><th>State</th><th class="num">${metric.title}</th>${paths.map((path) => html`<th key=${path} class="num" title=${path}>${names[path]}</th>`)}<th>${withSeeds ? "Jobs" : "Job"}</th></tr></thead>
        <tbody>${ranked(sweep).map((trial) => html`<tr key=${trial.number} class=${trial.number === sweep.best?.number ? "chosen" : ""}>
          <td class="num">${trial.number}</td>
          <td>${STATES[trial.state] ?? trial.state}${trial.stopped_after ? html`<div class="under">at step ${number(trial.step)}, judged by evaluation ${number(trial.stopped_after)}</div>` : null}</td>
          <td class="num">${shownObjective(metric, trial)}</td>
          ${paths.map((path) => html`<td key=${path} class="num">${path in trial.params ? shownValue(trial.params[path]) : "–"}</td>`)}
          <td class="text">${trial.refusal ? html`${trial.refusal.param ? html`<code>${trial.refusal.param}</code>: ` : null}${trial.refusal.message}`
            : trial.jobs.map((job, place) => html`<a key=${job} href=${`#/jobs/${job}`} aria-label=${`${jobName(place)} of trial ${trial.number}`}>${jobName(place)}</a> `)}</td>
        </tr>`)}</tbody>
      </table>
    </div>
    ${sweep.request.stop ? null : html`<p class="muted">All trials are trained to their end.</p>`}
    <p class="muted">Ranked by ${words(sweep.objective)}, ${sweep.direction === "max" ? "larger" : "smaller"} is better.</p>
  </section>`;
}
