// A conversation with a trained model: each answer is asked for with all that was said before.
import { html, useEffect, useRef, useState } from "./lib.js";
import { post } from "./api.js";
import { partsOf } from "./tasks.js";

const WHO = { user: "You", assistant: "Model" };

export function Chat({ job, task }) {
  const [turns, setTurns] = useState([]);
  const [draft, setDraft] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const log = useRef(null);
  const current = useRef(0); // an answer to a conversation that was cleared meanwhile is not shown
  useEffect(() => log.current?.scrollTo(0, log.current.scrollHeight), [turns]);

  const send = async (event) => {
    event.preventDefault();
    const conversation = current.current;
    const said = [...turns, { role: "user", content: draft }];
    setTurns(said);
    setBusy(true);
    setProblem(null);
    try {
      const messages = said.map(({ role, content }) => ({ role, content }));
      const { data } = await post(`/jobs/${job.id}/predict`, { inputs: [{ messages }] });
      if (conversation !== current.current) return;
      setTurns([...said, { role: "assistant", content: partsOf(task, data[0])[0].text, cut: data[0].ended === false ? data[0].tokens : null }]);
      setDraft("");
    } catch (error) {
      if (conversation !== current.current) return;
      setTurns(turns); // what was said stays in the box, to be sent again
      setProblem(error.message);
    }
    setBusy(false);
  };
  const clear = () => {
    current.current += 1;
    setTurns([]);
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
        ${turns.map(
          ({ role, content, cut }, index) => html`<li key=${index} class=${role}><b>${WHO[role]}</b>
            <span class="said">${content || "(nothing)"}</span>${cut ? html` <span class="muted">cut after ${cut} tokens</span>` : null}</li>`,
        )}
      </ol>
      <label>Message <textarea id="try-text" required value=${draft} disabled=${busy} onKeyDown=${enter}
        onInput=${(event) => setDraft(event.target.value)} placeholder="Enter sends, Shift and Enter begin a new line"></textarea></label>
      <p class="row"><button class="primary" disabled=${busy}>${busy ? "The model is asked…" : "Send"}</button>
        <button type="button" onClick=${clear} disabled=${!turns.length}>Clear</button></p>
      ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    </form>
  </section>`;
}
