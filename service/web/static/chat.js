// A conversation with a trained model: each request carries the whole conversation.
import { html, useEffect, useRef, useState } from "./lib.js";
import { post } from "./api.js";
import { chosen, ModelChoice } from "./checkpoints.js";
import { partsOf } from "./tasks.js";

const WHO = { user: "You", assistant: "Model" };

export function Chat({ job, task }) {
  const [messages, setMessages] = useState([]);
  const [draft, setDraft] = useState("");
  const [beside, setBeside] = useState({ system: "", tools: "" });
  const [step, setStep] = useState(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const hasTools = Boolean(job.resolved.spec.dataset.tools); // the job was trained on a column of them
  const log = useRef(null);
  const current = useRef(0); // number of the conversation: a reply to a cleared one is dropped
  useEffect(() => log.current?.scrollTo(0, log.current.scrollHeight), [messages]);

  const send = async (event) => {
    event.preventDefault();
    const conversation = current.current;
    const sent = [...messages, { role: "user", content: draft }];
    setMessages(sent);
    setBusy(true);
    setProblem(null);
    try {
      const system = beside.system.trim() ? [{ role: "system", content: beside.system }] : [];
      const input = { messages: [...system, ...sent.map(({ role, content }) => ({ role, content }))] };
      if (beside.tools.trim()) input.tools = beside.tools;
      const { data } = await post(`/jobs/${job.id}/predict`, { inputs: [input], ...chosen(step) });
      if (conversation !== current.current) return;
      setMessages([...sent, { role: "assistant", content: partsOf(task, data[0])[0].text, cut: data[0].ended === false ? data[0].tokens : null }]);
      setDraft("");
    } catch (error) {
      if (conversation !== current.current) return;
      setMessages(messages); // the draft stays in the box for another try
      setProblem(error.message);
    }
    setBusy(false);
  };
  const clear = () => {
    current.current += 1;
    setMessages([]);
    setProblem(null);
    setBusy(false);
  };
  const enter = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    event.target.form.requestSubmit();
  };
  return html`<section aria-labelledby="try">
    <h2 id="try">Try it</h2>
    <form class="card" onSubmit=${send}>
      <ol class="chat scroll tall" ref=${log} role="log" aria-label="Conversation" tabindex="0">
        ${messages.map(
          ({ role, content, cut }, index) => html`<li key=${index} class=${role}><b>${WHO[role]}</b>
            <span class="content">${content || "(empty)"}</span>${cut ? html` <span class="muted">truncated after ${cut} tokens</span>` : null}</li>`,
        )}
      </ol>
      <${ModelChoice} job=${job} step=${step} set=${setStep} />
      <details><summary>System message${hasTools ? " and tools" : ""}</summary>
        <label>System message <textarea id="try-system" value=${beside.system} onInput=${(event) => setBeside({ ...beside, system: event.target.value })}></textarea></label>
        ${hasTools ? html`<label>Tools, a JSON list of functions <textarea id="try-tools" value=${beside.tools} onInput=${(event) => setBeside({ ...beside, tools: event.target.value })}></textarea></label>` : null}
      </details>
      <label>Message <textarea id="try-text" required value=${draft} disabled=${busy} onKeyDown=${enter}
        onInput=${(event) => setDraft(event.target.value)} placeholder="Enter sends, Shift+Enter inserts a line break"></textarea></label>
      <p class="row"><button class="primary" disabled=${busy}>${busy ? "Generating…" : "Send"}</button>
        <button type="button" onClick=${clear} disabled=${!messages.length}>Clear</button></p>
      ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    </form>
  </section>`;
}
