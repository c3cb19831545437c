// The first examples of a data set as a model will see them: tokens with those that are trained, tags, images.
import { html, useEffect, useState } from "./lib.js";
import { all, post } from "./api.js";
import { number, words } from "./format.js";
import { ableModels, taskOf, useTasks } from "./tasks.js";
import { Thumbnail } from "./thumbnail.js";

export function ModelInput({ dataset }) {
  const [models, setModels] = useState([]);
  const [chosen, setChosen] = useState({}); // task and model, where somebody chose them
  const [state, setState] = useState({ preview: null, problem: null, busy: false });
  const tasks = useTasks();
  useEffect(() => void all("/models").then(setModels, () => undefined), []);
  const task = chosen.task || dataset.suggestion?.task;
  const able = ableModels(models, tasks, task);
  const model = chosen.model ?? able[0]?.name ?? "";

  const show = async () => {
    setState({ preview: null, problem: null, busy: true });
    try {
      const preview = await post(`/datasets/${dataset.id}/preview`, { base_model: model, task: chosen.task });
      setState({ preview, problem: null, busy: false });
    } catch (error) {
      setState({ preview: null, problem: error.message, busy: false });
    }
  };
  const isAsked = dataset.suggestion && tasks.length > 0 && able.length > 0 && !Object.keys(chosen).length;
  useEffect(() => void (isAsked && show()), [isAsked]); // what it is for is known: nobody has to ask
  const { preview, problem, busy } = state;
  const names = [...new Set(tasks.map(({ name }) => name))];
  return html`<section aria-labelledby="model-input">
    <h2 id="model-input">As the model will see it</h2>
    <form class="row" onSubmit=${(event) => (event.preventDefault(), show())}>
      <label>Task <select value=${chosen.task ?? ""} onChange=${(event) => setChosen({ task: event.target.value || undefined })}><option value="">${dataset.suggestion ? "as suggested" : "choose"}</option>${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>
      <label>Model <select value=${model} onChange=${(event) => setChosen({ ...chosen, model: event.target.value })}>${able.map(({ name }) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>
      <button disabled=${busy || !model}>Show</button>
      <span role="status" class="muted">${busy ? "Loading the tokenizer takes a few seconds…" : ""}</span>
    </form>
    ${models.length && !able.length ? html`<p class="muted">No model here can do ${task}: <a href="#/models">add one</a>.</p>` : null}
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    ${preview ? html`<${Examples} id=${dataset.id} preview=${preview} isImage=${taskOf(tasks, preview)?.preview === "image"} />` : null}
  </section>`;
}

function Examples({ id, preview, isImage }) {
  const marked = preview.examples.some((example) => example.trained_tokens);
  const left = Object.entries(preview.left_out ?? {}).filter(([, count]) => count);
  return html`<p class="muted">${number(preview.checked)} rows examined${isImage ? "" : `, ${number(preview.over_length)} longer than ${number(preview.limit)} tokens`}.
      ${left.map(([reason, count]) => ` ${number(count)} left out: ${words(reason)}.`)}
      ${marked ? html` <span class="tokens"><code class="trained">Coloured</code></span> tokens are trained, the others are context.` : null}</p>
    ${(preview.remarks ?? []).map((remark) => html`<p class="notice" key=${remark.code}>${remark.message}</p>`)}
    <div class=${isImage ? "examples card images" : "examples card"} role="region" aria-label="Examples">${preview.examples.map((example, index) => html`<${Example} key=${index} id=${id} example=${example} />`)}</div>`;
}

function Example({ id, example }) {
  const { row, tokens, words: list, target, image, pixels, token_count: count, truncated } = example;
  const said = [
    list || target === null || target === undefined ? null : html`<span class="tag">${typeof target === "object" ? JSON.stringify(target) : String(target)}</span>`,
    typeof count === "number" ? `${number(count)} tokens${truncated ? ", cut" : ""}` : null,
    pixels ? `${pixels.slice(1).join(" × ")} pixels` : null,
  ].filter(Boolean);
  return html`<div class="example"><p><b>Row ${row}</b> ${said.map((part) => html`${part} `)}</p>
    ${image ? html`<${Thumbnail} dataset=${id} name=${image} />` : null}
    ${list ? html`<p class="tokens">${list.map((word, index) => html`<span key=${index} class=${target[index] === "O" ? "" : "tagged"}>${word}${target[index] === "O" ? null : html`<sub>${target[index]}</sub>`}</span> `)}</p>` : null}
    ${Array.isArray(tokens) ? html`<p class="tokens">${tokens.map((token, index) => token.text ? html`<code key=${index} title=${`${token.token} (${token.id})`} class=${token.trained ? "trained" : ""}>${token.text}</code><wbr />` : null)}</p>` : null}
  </div>`;
}
