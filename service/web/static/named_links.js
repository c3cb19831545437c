// Data sets and jobs by their names, which lead to them; by their ids until the name is known, or where they were deleted.
import { html, useEffect, useState } from "./lib.js";
import { get } from "./api.js";

const names = new Map(); // path -> promise of the name

function nameAt(path) {
  if (!names.has(path)) names.set(path, get(`/${path}`).then(({ name }) => name));
  return names.get(path);
}

function Named({ kind, id }) {
  const [name, setName] = useState(null);
  const path = `${kind}/${id}`;
  useEffect(() => void nameAt(path).then(setName, () => names.delete(path)), [path]);
  return html`<a href=${`#/${path}`} title=${id}>${name ?? html`<code>${id}</code>`}</a>`;
}

export const DatasetLink = ({ id }) => html`<${Named} kind="datasets" id=${id} />`;
export const JobLink = ({ id }) => html`<${Named} kind="jobs" id=${id} />`;
