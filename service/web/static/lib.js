// Exports of the vendored libraries: html`<b>${x}</b>` builds elements, hooks hold a component's state.
import { h, render } from "./vendor/preact.js";
import htm from "./vendor/htm.js";

export { render };
export { useEffect, useMemo, useRef, useState } from "./vendor/preact-hooks.js";
export const html = htm.bind(h);
