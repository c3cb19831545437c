// View of base models: what is here, adding from a file or the hub, deletion with its users.
import { html, useEffect, useState } from "./lib.js";
import { all, get, post, query, remove, send } from "./api.js";
import { address as view } from "./address.js";
import { bytes, number, when } from "./format.js";
import { JobLink } from "./named_links.js";
import { Registry } from "./registry.js";
import { ModelSpectrum } from "./spectrum.js";
import { useTitle } from "./title.js";

const POLL_MS = 2000; // while a model is fetched
const NAMED_USERS = 12;
const origin = (model) => (model.source === "hub" ? `${model.hub_id} at ${model.revision.slice(0, 12)}` : model.source === "folder" ? "the operator's folder" : "upload");
const address = (name) => `/models/${name.split("/").map(encodeURIComponent).join("/")}`;

export function Models({ name }) {
  const [models, setModels] = useState(null);
  const [problem, setProblem] = useState(null);
  const load = () => all("/models").then(setModels, (error) => setProblem(error.message));
  useEffect(() => void load(), []);
  const fetching = models?.some((model) => model.status === "fetching");
  useEffect(() => {
    if (!fetching) return undefined;
    const timer = setInterval(load, POLL_MS);
    return () => clearInterval(timer);
  }, [fetching]);
  return html`<main id="main">
    <h1>Models</h1>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    <div class="scroll card" tabindex="0" role="region" aria-label="Table of models">
      <table class="list cards">
        <thead><tr><th>Name</th><th>Architecture</th><th class="num">Parameters</th><th class="num">Size</th><th>Tasks</th><th>From</th></tr></thead>
        <tbody>${(models ?? []).map((model) => html`<${Row} key=${model.name} model=${model} chosen=${model.name === name} />`)}</tbody>
      </table>
    </div>
    ${models === null && !problem ? html`<p class="muted" role="status">Loading…</p>` : null}
    ${models?.length === 0 ? html`<p class="muted">No models yet.</p>` : null}
    ${name ? html`<${Model} key=${name} name=${name} gone=${load} />` : null}
    <${Add} added=${load} />
    <${Registry} />
  </main>`;
}

function Row({ model, chosen }) {
  const { progress } = model;
  return html`<tr class=${chosen ? "chosen" : ""}>
    <th scope="row"><a href=${`#/models/${model.name}`} aria-current=${chosen}>${model.name}</a>
      ${progress ? html`<br /><progress max=${Math.max(1, progress.total_bytes)} value=${progress.done_bytes} aria-label=${`Fetching ${model.name}`}></progress>` : null}
      ${model.problem && !progress ? html`<br /><span class="error">${model.problem}</span>` : null}</th>
    <td data-title="Architecture">${model.model_type ?? "–"}</td><td class="num" data-title="Parameters">${number(model.parameters)}</td><td class="num" data-title="Size">${bytes(model.size_bytes)}</td>
    <td data-title="Tasks">${model.tasks.map((task) => html`<span class="tag" key=${task}>${task}</span> `)}</td><td data-title="From">${origin(model)}</td>
  </tr>`;
}

function Add({ added }) {
  const [name, setName] = useState("");
  const [hubId, setHubId] = useState("");
  const [sent, setSent] = useState(null); // [file, done, total]
  const [message, setMessage] = useState("");
  const [problem, setProblem] = useState(null);
  const run = async (work) => {
    setProblem(null);
    setMessage("");
    try {
      const model = await work();
      setMessage(model.left_out?.length ? `Left out: ${model.left_out.join(", ")}.` : "");
      location.hash = `#/models/${model.name}`;
      setName("");
      setHubId("");
    } catch (error) {
      setProblem(error.message);
    }
    setSent(null);
    await added();
  };
  const upload = (file) => {
    if (!file) return;
    setSent([file.name, 0, file.size]);
    const chosen = name || file.name.replace(/(\.tar)?\.[^.]*$/, "");
    run(() => send(`/models${query({ name: chosen })}`, file, (done, total) => setSent([file.name, done, total])));
  };
  const fetchIt = (event) => {
    event.preventDefault();
    run(() => post(`/models${query({ name })}`, { hub_id: hubId.trim() }));
  };
  return html`<h2>Add a model</h2>
  <form class="card" onSubmit=${fetchIt}>
    <div class="fields">
      <label class="field">Name <input type="text" value=${name} onInput=${(event) => setName(event.target.value)} placeholder="of the file, or the hub id" autocomplete="off" spellcheck=${false} /></label>
      <label class="field">Zip or tar of a model's folder
        <input type="file" disabled=${sent !== null} onChange=${(event) => {
          const [file] = event.target.files;
          upload(file);
          event.target.value = ""; // lets the same file be chosen again after a repair
        }} /></label>
      <div class="field"><label for="hub-id">or id on the hub</label><div class="row tight"><input id="hub-id" type="text" value=${hubId} onInput=${(event) => setHubId(event.target.value)} placeholder="organisation/name" autocomplete="off" spellcheck=${false} /><button disabled=${!hubId.trim()}>Fetch</button></div></div>
    </div>
    <p class="muted">Config, tokenizer and safetensors weights, as <code>save_pretrained</code> writes them. From a terminal: <code>adamss models add FOLDER</code>.</p>
    ${sent ? html`<p role="status">${sent[1] < sent[2] ? `Sending ${sent[0]}: ${bytes(sent[1])} of ${bytes(sent[2])}` : `Checking ${sent[0]}…`}
      <progress class="wide" max=${Math.max(1, sent[2])} value=${sent[1]} aria-label=${`Sending ${sent[0]}`}></progress></p>` : null}
    ${message ? html`<p class="muted" role="status">${message}</p>` : null}
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
  </form>`;
}

function Model({ name, gone }) {
  const [model, setModel] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => void get(address(name)).then(setModel, setProblem), [name]);
  useTitle("Model", problem && !model ? null : name, problem);
  const drop = async () => {
    const users = model.used_by.finished;
    const needed = users.length ? ` Adapters of ${users.length} finished jobs need it to predict: ${users.slice(0, 5).join(", ")}.` : "";
    if (!confirm(`Delete ${name}?${needed}`)) return;
    try {
      await remove(address(name) + query({ force: users.length ? "true" : undefined }));
      location.hash = "#/models";
      gone();
    } catch (error) {
      setProblem(error);
    }
  };
  if (!model) return problem ? html`<p class="error" role="alert">${problem.message}</p>` : html`<p class="muted" role="status">Loading…</p>`;
  const users = [...model.used_by.unfinished, ...model.used_by.finished];
  const others = users.length - NAMED_USERS;
  return html`<section aria-labelledby="model">
    <div class="row head"><h2 id="model">${model.name}</h2>
      ${model.source === "folder" ? null : html`<button onClick=${drop} aria-label=${`Delete ${model.name}`}>Delete</button>`}</div>
    ${problem ? html`<p class="error" role="alert">${problem.message}</p>` : null}
    <p>From ${model.source === "upload" ? "an upload" : origin(model)}${model.created_at ? `, added ${when(model.created_at)}` : ""}${model.max_length ? `, up to ${number(model.max_length)} tokens` : ""}.</p>
    ${model.problem ? html`<p class="notice">${model.problem}</p>` : null}
    <p class="users">${users.length ? html`Used by ${users.slice(0, NAMED_USERS).map((job) => html`<${JobLink} key=${job} id=${job} />`)}
      ${others > 0 ? html`<a href=${view("jobs", { model: model.name })}>and ${number(others)} more</a>` : null}` : "No job uses it."}</p>
    ${model.status === "ready" && !model.problem ? html`<${ModelSpectrum} key=${model.name} spec=${{ base_model: model.name }} />` : null}
    ${model.files.length ? html`<div class="scroll card tall" tabindex="0" role="region" aria-label="Table of files">
      <table class="list">
        <thead><tr><th>File</th><th class="num">Size</th><th>SHA-256</th></tr></thead>
        <tbody>${model.files.map((file) => html`<tr key=${file.name}><th scope="row">${file.name}</th><td class="num">${bytes(file.size_bytes)}</td><td><code>${file.sha256.slice(0, 16)}…</code></td></tr>`)}</tbody>
      </table></div>` : null}
  </section>`;
}
