// A data set by its name, which leads to it; by its id until the name is known, or where it was deleted.
import { html, useEffect, useState } from "./lib.js";
import { get } from "./api.js";

const names = new Map(); // id -> promise of the name

function nameOf(id) {
  if (!names.has(id)) names.set(id, get(`/datasets/${id}`).then((dataset) => dataset.name));
  return names.get(id);
}

export function DatasetLink({ id }) {
  const [name, setName] = useState(null);
  useEffect(() => void nameOf(id).then(setName, () => names.delete(id)), [id]);
  return html`<a href=${`#/datasets/${id}`} title=${id}>${name ?? html`<code>${id}</code>`}</a>`;
}
