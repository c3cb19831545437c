// ASA's pruning: the map of modules and subspaces, its replay and its charts.
import { html, useEffect, useRef, useState } from "./lib.js";
import { get } from "./api.js";
import { number } from "./format.js";
import { Chart, points } from "./charts.js";

const LEVELS = 8; // shades of importance
const WHOLE_MODULES = 48; // beyond, the map is folded by layer
const WIDE_CELLS = 20; // with more subspaces per module the cells are too narrow for the step

// encoder.layer.3.attention.query -> layer 3, query
export function parseModule(module) {
  const match = /^(.*?)\.(\d+)\.(.+)$/.exec(module);
  if (!match) return { layer: null, kind: module, rest: module };
  return { layer: Number(match[2]), kind: match[3].split(".").at(-1), rest: match[3] };
}

// Shades by the logarithm of the importance, between its 5 % and 95 % quantiles: one outlier must not darken the rest.
function scale(map) {
  const scores = Object.values(map.modules)
    .flat()
    .filter((subspace) => subspace.active && subspace.importance > 0)
    .map((subspace) => Math.log(subspace.importance))
    .sort((a, b) => a - b);
  const low = scores[Math.floor(scores.length / 20)];
  const high = scores[scores.length - 1 - Math.floor(scores.length / 20)];
  return (importance) => {
    if (!(importance > 0) || low === undefined) return 0;
    if (high <= low) return LEVELS - 1;
    const share = (Math.log(importance) - low) / (high - low);
    return Math.min(LEVELS - 1, Math.max(0, Math.floor(share * LEVELS)));
  };
}

function Cell({ subspace, level, wide }) {
  const { index, active, pruned_at: prunedAt, importance, rows, rank } = subspace;
  const state = active ? "active" : `pruned at step ${prunedAt}`;
  const score = importance === null ? "" : `, importance ${number(importance, 3)}`;
  const text = `Subspace ${index}: ${state}${score}, ${rows} rows, rank ${rank}`;
  return html`<td class=${active ? `level-${level(importance)}` : "pruned"} title=${text}>
    <span class="visually-hidden">${text}</span>
    ${!active && wide ? html`<span aria-hidden="true">${prunedAt}</span>` : null}
  </td>`;
}

// Short names of modules; full names where short ones are ambiguous, such as attention.output.dense and output.dense.
export function kinds(modules) {
  const parsed = modules.map(parseModule);
  const short = parsed.map(({ layer, kind }) => `${layer} ${kind}`);
  return modules.map((module, index) => {
    const unique = short.filter((name) => name === short[index]).length === 1;
    return unique ? parsed[index].kind : parsed[index].rest;
  });
}

// A map of few modules is shown whole; of many each layer is a line with its count, which opens.
export function SubspaceMap({ map }) {
  const level = scale(map);
  const modules = Object.entries(map.modules);
  const names = kinds(modules.map(([module]) => module));
  const named = modules.map(([module, subspaces], place) => ({ module, subspaces, name: names[place], layer: parseModule(module).layer }));
  const part = (rows) => html`<${Rows} step=${map.step} rows=${rows} level=${level} />`;
  if (modules.length <= WHOLE_MODULES) return part(named);
  const layers = Map.groupBy(named, ({ layer, name }) => layer ?? name);
  return html`<div class="layers">${[...layers].map(([layer, rows]) => {
    const all = rows.flatMap(({ subspaces }) => subspaces);
    const active = all.filter((subspace) => subspace.active).length;
    return html`<details key=${layer}>
      <summary><span class="layer-name">${rows[0].layer === null ? layer : `layer ${layer}`}</span>
        <span class="bar" aria-hidden="true"><i style=${{ width: `${(100 * active) / all.length}%` }}></i></span>
        <span class="num">${active} of ${all.length}</span></summary>
      ${part(rows)}
    </details>`;
  })}</div>`;
}

function Rows({ step, rows, level }) {
  const width = Math.max(...rows.map(({ subspaces }) => subspaces.length));
  const wide = width <= WIDE_CELLS;
  return html`<div class="scroll map-box" tabindex="0" role="region" aria-label=${`Map of subspaces, from ${rows[0].module}`}>
    <table class=${wide ? "map" : "map narrow"} data-step=${step}>
      <caption class="visually-hidden">
        One row per module, one cell per subspace, in a stronger colour the more important it is; pruned cells show their step.
      </caption>
      <thead aria-hidden="true">
        <tr><th></th>${Array.from({ length: width }, (_, index) => html`<td key=${index}>${wide || index % 8 === 0 ? index : ""}</td>`)}</tr>
      </thead>
      <tbody>
        ${rows.map(
          ({ module, subspaces, name, layer }) => html`<tr key=${module} data-module=${module}>
            <th scope="row" title=${module}>${layer === null ? "" : html`<b>${layer}</b> `}${name}</th>
            ${subspaces.map((subspace) => html`<${Cell} key=${subspace.index} ...${{ subspace, level, wide }} />`)}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

function Legend() {
  const shades = Array.from({ length: LEVELS }, (_, index) => html`<i class=${`level-${index}`}></i>`);
  return html`<p class="legend" aria-hidden="true">One row per module, one column per subspace; less important ${shades} more important <i class="pruned">40</i> pruned at step 40</p>`;
}

// The map at each recorded step; the newest until the scrubber is moved.
function useReplayedMap(id, newest) {
  const steps = newest.steps;
  const [chosen, setChosen] = useState(null); // an index into steps; null follows the newest
  const [map, setMap] = useState(newest);
  const cache = useRef(new Map());
  const position = chosen === null ? steps.length - 1 : Math.min(chosen, steps.length - 1);
  const step = steps[position];

  useEffect(() => {
    if (step === newest.step) {
      setMap(newest);
      return;
    }
    let stale = false;
    const show = (recorded) => {
      cache.current.set(step, recorded);
      if (!stale) setMap(recorded);
    };
    if (cache.current.has(step)) show(cache.current.get(step));
    else get(`/jobs/${id}/subspaces`, { step }).then(show, () => setChosen(null));
    return () => {
      stale = true;
    };
  }, [id, step, newest]);
  return { map, steps, position, setChosen };
}

export function Pruning({ id, map: newest, rows }) {
  const { map, steps, position, setChosen } = useReplayedMap(id, newest);
  const [playing, setPlaying] = useState(false);
  const [whatIf, setWhatIf] = useState(null);

  useEffect(() => {
    if (!playing) return undefined;
    const timer = setTimeout(() => {
      if (position + 1 >= steps.length) setPlaying(false);
      else setChosen(position + 1);
    }, 700);
    return () => clearTimeout(timer);
  }, [playing, position, steps.length]);

  const play = () => {
    if (!playing && position + 1 >= steps.length) setChosen(0);
    setPlaying(!playing);
  };
  const shown = whatIf ? { ...whatIf, step: newest.step } : map;
  return html`<section aria-labelledby="pruning">
    <h2 id="pruning">Subspaces</h2>
    <div class="card">
      <p class="row">
        <strong data-testid="active">${shown.active}</strong> of ${shown.total} active
        ${newest.target === null ? null : html`<span class="muted">target ${whatIf ? whatIf.target : newest.target}</span>`}
        ${shown.trainable_parameters ? html`<span class="muted">${number(shown.trainable_parameters)} elements of A and B trained</span>` : null}
      </p>
      ${whatIf
        ? html`<p class="replay-note" role="status"><strong>Replay, not a training run.</strong> Subspaces kept by this run's
            recorded scores for a target of ${whatIf.target}${whatIf.exact ? "." : "; pruned subspaces are represented by their last score."}</p>`
        : null}
      ${newest.target === null ? html`<p class="muted">No pruning: without <code>use_asa</code> all subspaces are trained to the end.</p>` : null}
      <${SubspaceMap} map=${shown} />
      ${newest.target === null ? null : html`<${Legend} />`}
      ${steps.length > 1 && !whatIf
        ? html`<div class="row scrubber">
            <button onClick=${play} aria-pressed=${playing}>${playing ? "Pause" : "Play"}</button>
            <label class="grow">
              <span class="visually-hidden">Step of the map</span>
              <input type="range" id="scrubber" min="0" max=${steps.length - 1} value=${position}
                aria-valuetext=${`step ${map.step}`} onInput=${(event) => setChosen(Number(event.target.value))} />
            </label>
            <output for="scrubber">step ${map.step}</output>
            <button onClick=${() => setChosen(null)} disabled=${position === steps.length - 1}>Latest</button>
          </div>`
        : null}
      ${newest.target !== null && steps.some((step) => step > 0)
        ? html`<${WhatIf} id=${id} map=${newest} active=${whatIf !== null} show=${setWhatIf} />`
        : null}
    </div>
    ${newest.target === null ? null : html`<div class="charts">
      <${Chart} name="active" title="Active subspaces: scheduled and actual" lines=${counts(newest, rows)} />
      <${Chart} name="trainable" title="Trainable parameters, head included" lines=${[
        { label: "parameters", points: points(rows, "trainable_parameters"), stepped: true },
      ]} />
      <${Layers} map=${shown} />
    </div>`}
  </section>`;
}

// Active subspaces from step 0 to `end`, by the steps at which the map says that others were pruned; logged rows are fewer.
export function activeCounts({ total, active, modules }, end) {
  const pruned = Object.values(modules).flat().filter((subspace) => !subspace.active).map((subspace) => subspace.pruned_at);
  const at = [...new Set(pruned)].sort((one, other) => one - other);
  return [...new Map([[0, total], ...at.map((step) => [step, total - pruned.filter((one) => one <= step).length]), [Math.max(end, at.at(-1) ?? 0), active]])];
}

function counts(map, rows) {
  const scheduled = map.schedule.map(({ step, wanted }) => [step, wanted]);
  return [
    { label: "actual", points: activeCounts(map, rows.at(-1)?.step ?? map.step), stepped: true },
    { label: "scheduled", points: scheduled.length ? [[0, map.total], ...scheduled] : [], stepped: true, dashed: true },
  ];
}

function WhatIf({ id, map, active, show }) {
  const [target, setTarget] = useState(map.target);
  const [problem, setProblem] = useState(null);
  const latest = useRef(0); // number of the latest request

  const ask = (value) => {
    setTarget(value);
    const number = ++latest.current;
    setTimeout(async () => {
      if (number !== latest.current) return;
      try {
        const replay = await get(`/jobs/${id}/subspaces/replay`, { target: value });
        if (number === latest.current) show({ ...replay, schedule: map.schedule });
        setProblem(null);
      } catch (error) {
        setProblem(error.message);
      }
    }, 150);
  };
  const back = () => {
    latest.current += 1;
    setTarget(map.target);
    show(null);
  };
  return html`<div class="row what-if">
    <label for="what-if">Replay with another target</label>
    <input id="what-if" class="grow" type="range" min="1" max=${map.total} value=${target}
      onInput=${(event) => ask(Number(event.target.value))} />
    <output for="what-if">${target}</output>
    <button onClick=${back} disabled=${!active}>Back to the run</button>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
  </div>`;
}

// Active subspaces per layer.
function Layers({ map }) {
  const layers = new Map();
  for (const [module, subspaces] of Object.entries(map.modules)) {
    const { layer, kind } = parseModule(module);
    const name = layer === null ? kind : `layer ${layer}`;
    const entry = layers.get(name) ?? { active: 0, total: 0 };
    entry.active += subspaces.filter((subspace) => subspace.active).length;
    entry.total += subspaces.length;
    layers.set(name, entry);
  }
  return html`<figure class="card">
    <figcaption>Active subspaces per layer</figcaption>
    <table class="bars">
      <tbody>
        ${[...layers].map(
          ([name, { active, total }]) => html`<tr key=${name}>
            <th scope="row">${name}</th>
            <td><div class="bar" aria-hidden="true"><i style=${{ width: `${(100 * active) / total}%` }}></i></div></td>
            <td class="num">${active} of ${total}</td>
          </tr>`,
        )}
      </tbody>
    </table>
  </figure>`;
}
