// Where files are dropped or chosen, and how far their upload is.
import { html, useState } from "./lib.js";
import { send } from "./api.js";
import { bytes } from "./format.js";

// Uploads data sets one after another; uploaded(those that the service has now, what was refused of the others).
export function Drop({ uploaded, className = "card drop", multiple = true, id, children }) {
  const [over, setOver] = useState(false);
  const [sent, setSent] = useState(null); // [name, bytes sent, of how many]
  const [refused, setRefused] = useState([]);
  const upload = async (files) => {
    const made = [];
    const problems = [];
    for (const file of multiple ? files : files.slice(0, 1)) {
      setSent([file.name, 0, file.size]);
      const form = new FormData();
      form.append("file", file);
      try {
        made.push(await send("/datasets", form, (done, total) => setSent([file.name, done, total])));
      } catch (error) {
        problems.push(files.length > 1 ? `${file.name}: ${error.message}` : error.message);
      }
    }
    setSent(null);
    setRefused(problems);
    if (made.length) await uploaded(made, problems);
  };
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    upload([...event.dataTransfer.files]);
  };
  const choose = (event) => {
    const files = [...event.target.files];
    event.target.value = ""; // lets the same file be chosen again after a repair
    upload(files);
  };
  return html`<div class=${over ? `${className} over` : className} onDrop=${drop}
      onDragOver=${(event) => (event.preventDefault(), setOver(true))} onDragLeave=${() => setOver(false)}>
    <label>${children}<input type="file" id=${id} multiple=${multiple} onChange=${choose} /></label>
    <div role="status">${sent ? html`<${Progress} sent=${sent} />` : null}</div>
    ${refused.map((problem) => html`<p class="error" role="alert" key=${problem}>${problem}</p>`)}
  </div>`;
}

function Progress({ sent: [name, done, total] }) {
  const whole = done >= total;
  return html`<p class="muted">${whole ? `Reading ${name}…` : `Sending ${name}: ${bytes(done)} of ${bytes(total)}`}
    <progress max=${Math.max(1, total)} value=${whole ? undefined : done} aria-label=${`Upload of ${name}`}></progress></p>`;
}
