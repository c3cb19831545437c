// A conversation with a trained model: each request carries the whole conversation.
import { html, useEffect, useRef, useState } from "./lib.js";
import { requestOf, Texts, useWriting } from "./writing.js";

const WHO = { user: "You", assistant: "Model" };

export function Chat({ job, task, settings, options }) {
  const [messages, setMessages] = useState([]);
  const [draft, setDraft] = useState("");
  const [beside, setBeside] = useState({ system: "", tools: "" });
  const [problem, setProblem] = useState(null);
  const [growing, write, stop] = useWriting(job);
  const hasTools = Boolean(job.resolved.spec.dataset.tools); // the job was trained on a column of them
  const log = useRef(null);
  const current = useRef(0); // number of the conversation: a reply to a cleared one is dropped
  useEffect(() => log.current?.scrollTo(0, log.current.scrollHeight), [messages, growing]);

  const send = async (event) => {
    event.preventDefault();
    const conversation = current.current;
    const sent = [...messages, { role: "user", content: draft }];
    setMessages(sent);
    setDraft("");
    setProblem(null);
    try {
      const system = beside.system.trim() ? [{ role: "system", content: beside.system }] : [];
      const input = { messages: [...system, ...sent.map(({ role, content }) => ({ role, content }))] };
      if (beside.tools.trim()) input.tools = beside.tools;
      const texts = await write(input, requestOf(task, settings));
      if (conversation !== current.current) return;
      setMessages([...sent, { role: "assistant", content: texts.trained?.text ?? "", texts }]);
    } catch (error) {
      if (conversation !== current.current) return;
      setMessages(messages); // the draft is in the box again for another try
      setDraft(draft);
      setProblem(error.code === "context_length_exceeded" ? `${error.message} Clear begins a new conversation.` : error.message);
    }
  };
  const clear = () => {
    current.current += 1;
    stop();
    setMessages([]);
    setProblem(null);
  };
  const enter = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!growing) event.target.form.requestSubmit();
  };
  return html`<form class="card" onSubmit=${send}>
    <details><summary>System message${hasTools ? " and tools" : ""}</summary>
      <label>System message <textarea id="try-system" value=${beside.system} onInput=${(event) => setBeside({ ...beside, system: event.target.value })}></textarea></label>
      ${hasTools ? html`<label>Tools, a JSON list of functions <textarea id="try-tools" value=${beside.tools} onInput=${(event) => setBeside({ ...beside, tools: event.target.value })}></textarea></label>` : null}
    </details>
    <ol class="chat scroll tall" ref=${log} role="log" aria-label="Conversation" tabindex="0">
      ${messages.map(({ role, content, texts }, index) => html`<${Turn} key=${index} role=${role}>${texts ? html`<${Texts} texts=${texts} />` : html`<span class="content">${content}</span>`}<//>`)}
      ${growing ? html`<${Turn} role="assistant"><${Texts} texts=${{ trained: { text: "" }, ...growing }} ended=${false} /><//>` : null}
    </ol>
    <label>Message <textarea id="try-text" required value=${draft} onKeyDown=${enter}
      onInput=${(event) => setDraft(event.target.value)} placeholder="Enter sends, Shift+Enter inserts a line break"></textarea></label>
    ${options}
    <p class="row"><button class="primary" disabled=${growing !== null}>${growing ? "Writing…" : "Send"}</button>
      ${growing ? html`<button type="button" onClick=${stop}>Stop</button>` : null}
      <button type="button" onClick=${clear} disabled=${!messages.length}>Clear</button></p>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
  </form>`;
}

const Turn = ({ role, children }) => html`<li class=${role}><b>${WHO[role]}</b>${children}</li>`;
