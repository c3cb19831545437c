// How far each entry of the browser's history was scrolled: going back or reloading leads there, once the content is there.
// A browser's own restoration comes before the content, which is asked for first.
import { newKey } from "./api.js";

const STORE = "adamss-scrolled";
const MOST = 100; // entries that are kept over a reload
const PATIENCE = 5000; // milliseconds in which the content has to come

const offsets = new Map(stored());
let entry = null;
let wanted = null; // the offset that waits for content
let timer = null;

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(STORE)) ?? [];
  } catch {
    return []; // nothing was stored
  }
}

const apply = () => wanted !== null && scrollTo(0, wanted);

function release() {
  wanted = null;
  clearTimeout(timer);
}

function seek(offset) {
  release();
  wanted = offset;
  timer = setTimeout(release, PATIENCE);
  apply();
}

// To be called at each change of the address. isOther: whether it shows another view, which a new entry begins at its top.
export function enter(isOther) {
  const known = history.state?.entry;
  if (known && known === entry) return; // its filters changed in place
  if (known) {
    entry = known;
    seek(offsets.get(entry) ?? 0);
    return;
  }
  entry = newKey();
  history.replaceState({ entry }, "");
  release();
  if (isOther) scrollTo(0, 0);
  offsets.set(entry, scrollY);
}

history.scrollRestoration = "manual";
addEventListener("scroll", () => wanted === null && offsets.set(entry, scrollY), { passive: true });
for (const name of ["wheel", "touchstart", "pointerdown", "keydown"]) addEventListener(name, release, { passive: true });
addEventListener("pagehide", () => sessionStorage.setItem(STORE, JSON.stringify([...offsets].slice(-MOST))));
new ResizeObserver(apply).observe(document.documentElement);
enter(false);
