// Texts while a model writes them, and those of its base model beside them.
import { html, useEffect, useRef, useState } from "./lib.js";
import { follow } from "./api.js";
import { ModelChoice } from "./checkpoints.js";
import { number } from "./format.js";

const TITLES = { trained: "Trained", base: "Base model" };

// Options of a prediction: which model, whether its base model answers too, and how a text is written.
export function Options({ job, task, settings, set, canBase }) {
  const change = (changed) => set({ ...settings, ...changed });
  return html`<div class="row options">
    <${ModelChoice} job=${job} step=${settings.step} set=${(step) => change({ step })} />
    ${writes(task)
      ? html`<label>Longest answer <input id="try-length" type="number" min="1" max="1024" required value=${settings.length} onInput=${(event) => change({ length: Number(event.target.value) })} /> tokens</label>
        <label>Temperature <input id="try-temperature" type="number" min="0" max="2" step="0.1" required value=${settings.temperature} onInput=${(event) => change({ temperature: Number(event.target.value) })} aria-describedby="try-temperature-help" />
          <span id="try-temperature-help" class="muted"> 0 takes the likeliest word each time</span></label>`
      : null}
    ${canBase ? html`<label><input type="checkbox" id="try-base" checked=${settings.base} onChange=${(event) => change({ base: event.target.checked })} /> base model beside it</label>` : null}
  </div>`;
}

export const writes = (task) => "max_new_tokens" in task.predict_options;

export const usualSettings = (task) => ({ step: null, base: false, length: task.predict_options.max_new_tokens, temperature: task.predict_options.temperature });

// The options as fields of a request; texts that are drawn differ each time.
export function requestOf(task, { step, base, length, temperature }) {
  const drawn = temperature > 0 ? { temperature, seed: Math.floor(Math.random() * 2 ** 32) } : { temperature: 0 };
  return { ...(step === null ? {} : { checkpoint: step }), ...(base ? { with_base: true } : {}), ...(writes(task) ? { max_new_tokens: length, ...drawn } : {}) };
}

// [texts under way, null where none are; write(input, options) -> { trained, base }; stop()]
export function useWriting(job) {
  const [texts, setTexts] = useState(null);
  const control = useRef(null);
  useEffect(() => () => control.current?.abort(), []);
  const write = async (input, options) => {
    const mine = (control.current = new AbortController());
    const asked = options.max_new_tokens;
    let grown = {};
    setTexts(grown);
    const take = ({ of, text = "", ...facts }) => {
      grown = { ...grown, [of]: { ...grown[of], ...facts, asked, text: (grown[of]?.text ?? "") + text } };
      setTexts(grown);
    };
    try {
      await follow(`/jobs/${job.id}/predict/stream`, { inputs: [input], ...options }, take, mine.signal);
    } catch (error) {
      if (!mine.signal.aborted) throw error;
    } finally {
      setTexts(null);
    }
    return grown;
  };
  return [texts, write, () => control.current?.abort()];
}

// The texts of an answer, side by side where there are two; one that is under way has no end yet.
export function Texts({ texts, ended = true }) {
  const shown = Object.keys(TITLES).filter((of) => texts[of]);
  return html`<div class=${shown.length > 1 ? "beside" : ""}>${shown.map(
    (of) => html`<div key=${of} class="written">${shown.length > 1 ? html`<b>${TITLES[of]}</b>` : null}
      <span class="content">${texts[of].text || (ended ? "(empty)" : "…")}</span>${ended ? html` <span class="muted">${ending(texts[of])}</span>` : null}</div>`,
  )}</div>`;
}

function ending({ finish, tokens, asked }) {
  if (finish === "length") return `cut off after ${number(tokens)} tokens${tokens < asked ? ": no more fit the model, or its time was over" : ""}`;
  return finish === undefined ? "stopped" : "";
}
