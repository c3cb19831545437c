// A moment as people say it, "3 min ago", with the exact time on hover and for machines.
import { html } from "./lib.js";
import { when } from "./format.js";

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const LONG_AGO = 30 * DAY; // beyond, the date says more

export function ago(time, now = Date.now()) {
  const seconds = Math.round((now - new Date(time)) / 1000);
  if (seconds < 10) return "just now"; // clocks of browser and service differ
  if (seconds < MINUTE) return `${seconds} s ago`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min ago`;
  if (seconds < DAY) return `${Math.floor(seconds / HOUR)} h ago`;
  if (seconds < LONG_AGO) return `${Math.floor(seconds / DAY)} d ago`;
  return new Date(time).toLocaleDateString(undefined, { year: "numeric", month: "short", day: "numeric" });
}

export const Ago = ({ time }) => (time ? html`<time datetime=${time} title=${when(time)}>${ago(time)}</time>` : "–");
