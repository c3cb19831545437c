import { html } from "./lib.js";

// An image of a data set, small.
export function Thumbnail({ dataset, name }) {
  return html`<img class="thumbnail" loading="lazy" alt=${name} title=${name} src=${`/datasets/${dataset}/images/${name.split("/").map(encodeURIComponent).join("/")}`} />`;
}
