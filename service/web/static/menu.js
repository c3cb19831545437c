// A button that opens a menu: arrows move in it, Escape and a click elsewhere close it, which the browser's popovers do.
import { html, useEffect, useRef, useState } from "./lib.js";

const GAP = 4; // pixels between the button and its menu
let made = 0;

// items: [text, what it does, or the address of a link].
export function Menu({ label, items, disabled = false }) {
  const [id] = useState(() => `menu-${made++}`);
  const [open, setOpen] = useState(false);
  const button = useRef(null);
  const list = useRef(null);
  const entries = () => [...list.current.querySelectorAll("[role=menuitem]")];

  useEffect(() => {
    if (!open) return undefined;
    place(list.current, button.current);
    entries()[0]?.focus();
    const away = () => list.current?.hidePopover(); // it stands at a place of the screen, not of the page
    addEventListener("scroll", away, { passive: true });
    return () => removeEventListener("scroll", away);
  }, [open]);

  const move = (event) => {
    const all = entries();
    const at = all.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
    if (event.key === "Tab") list.current.hidePopover();
    if (to === undefined) return;
    event.preventDefault();
    all[to % all.length].focus();
  };
  const choose = (work) => () => {
    list.current.hidePopover();
    if (typeof work === "function") work();
  };
  return html`<button ref=${button} type="button" class="menu-button" popovertarget=${id} aria-haspopup="menu" aria-expanded=${open} aria-label=${label} disabled=${disabled}>⋯</button>
    <div ref=${list} id=${id} popover="auto" role="menu" class="menu" aria-label=${label} tabindex="-1" onToggle=${(event) => setOpen(event.newState === "open")} onKeyDown=${move}>
      ${items.map(([text, work]) => typeof work === "string"
        ? html`<a key=${text} role="menuitem" tabindex="-1" href=${work} onClick=${choose(work)}>${text}</a>`
        : html`<button key=${text} type="button" role="menuitem" tabindex="-1" onClick=${choose(work)}>${text}</button>`)}
    </div>`;
}

// Below the button and as far right as it, or above where there is no room below.
function place(list, button) {
  const from = button.getBoundingClientRect();
  const { width, height } = list.getBoundingClientRect();
  const below = from.bottom + GAP + height <= innerHeight;
  list.style.left = `${Math.max(GAP, from.right - width)}px`;
  list.style.top = `${below ? from.bottom + GAP : Math.max(GAP, from.top - GAP - height)}px`;
}
