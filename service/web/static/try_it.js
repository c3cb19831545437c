// Asks the trained model.
import { html, useState } from "./lib.js";
import { post, upload } from "./api.js";
import { Chat } from "./chat.js";
import { number } from "./format.js";

export function TryIt({ job }) {
  const { task, dataset } = job.resolved.spec;
  return task === "text-generation" && dataset.messages ? html`<${Chat} job=${job} />` : html`<${Single} job=${job} />`;
}

function Single({ job }) {
  const { task, dataset } = job.resolved.spec;
  const [text, setText] = useState("");
  const [pair, setPair] = useState("");
  const [answer, setAnswer] = useState(null);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);

  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const path = `/jobs/${job.id}/predict`;
      const form = event.target;
      const found = task === "image-classification" ? await upload(path, new FormData(form)) : await post(path, { inputs: [input()] });
      setAnswer(found);
      setProblem(null);
    } catch (error) {
      setProblem(error.message);
    }
    setBusy(false);
  };
  const input = () => {
    if (task === "token-classification") return { tokens: text };
    return pair || dataset.text_pair ? { text, text_pair: pair } : text;
  };
  return html`<section aria-labelledby="try">
    <h2 id="try">Try it</h2>
    <form class="card" onSubmit=${send}>
      ${task === "image-classification"
        ? html`<label>Image <input type="file" name="file" accept="image/*" required /></label>`
        : html`<label>${task === "text-generation" ? "Prompt" : "Text"} <textarea id="try-text" required value=${text} onInput=${(event) => setText(event.target.value)}></textarea></label>`}
      ${dataset.text_pair ? html`<label>Second text <textarea value=${pair} onInput=${(event) => setPair(event.target.value)}></textarea></label>` : null}
      <button class="primary" disabled=${busy}>${busy ? "The model is asked…" : "Predict"}</button>
      <div role="status">${answer ? html`<${Answer} answer=${answer} />` : null}</div>
      ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    </form>
  </section>`;
}

function Answer({ answer }) {
  const [first] = answer.data;
  const scores = first.scores && !Array.isArray(first.scores) ? Object.entries(first.scores) : null;
  return html`<p><strong>${first.label ?? first.text ?? first.value ?? ""}</strong>
      <span class="muted"> by the ${answer.artifact}, in ${number(answer.seconds, 2)} s</span></p>
    ${scores
      ? html`<table class="bars"><tbody>${scores.map(
          ([label, score]) => html`<tr key=${label}><th scope="row">${label}</th>
            <td><div class="bar" aria-hidden="true"><i style=${{ width: `${100 * score}%` }}></i></div></td><td class="num">${number(score, 3)}</td></tr>`,
        )}</tbody></table>`
      : html`<pre class="scroll" tabindex="0">${JSON.stringify(first, null, 2)}</pre>`}`;
}
