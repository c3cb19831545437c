// Formats of numbers and times for reading.

export function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return Number(value.toPrecision(digits)).toString();
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

export function when(time) {
  if (!time) return "–";
  const parts = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" };
  const moment = new Date(time);
  return moment.toLocaleString(undefined, moment.getFullYear() === new Date().getFullYear() ? parts : { year: "numeric", ...parts });
}

// Text of a data set's cell: a chat as its messages, a list of words as a line, others as JSON.
export function cell(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return value;
  if (Array.isArray(value) && value.length && value.every((message) => message?.role)) {
    return value.map((message) => `${message.role}: ${message.content}`).join("\n");
  }
  if (Array.isArray(value) && value.every((entry) => typeof entry === "string")) return value.join(" ");
  return JSON.stringify(value);
}

export const signed = (value, digits = 4) => `${value > 0 ? "+" : ""}${number(value, digits)}`;

// A metric's value as people read it: shares as percentages.
export const score = ({ is_share: isShare }, value) => (typeof value === "number" && isShare ? `${number(100 * value, 3)} %` : number(value));

// A difference of a metric, and an interval of them: of shares, which are shown as percentages, in their points.
export const difference = ({ is_share: isShare }, value) => signed(isShare ? 100 * value : value, 3);
export const differences = (metric, low, high) => `${difference(metric, low)} to ${difference(metric, high)}${metric.is_share ? " points" : ""}`;

// A and B of an adapter, before and after pruning. What a plan says of the end is a bound: the sizes of those left decide.
export function elements({ peak, end, published }, isPlan) {
  const bound = (count) => `${isPlan && end < peak ? "at most " : ""}${number(count)}`;
  return `${number(peak)} at the start, ${bound(end)} at the end, ${published === peak ? number(peak) : bound(published)} published`;
}

export const capitalised = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export const words = (name) => name.replaceAll("_", " ");

export const yesNo = (value) => (value ? "yes" : "no");

// { a: { b: 1 } } -> { "a.b": 1 }, for tables of differences.
export function flat(value, prefix = "") {
  const fields = {};
  for (const [name, entry] of Object.entries(value ?? {})) {
    const path = prefix ? `${prefix}.${name}` : name;
    if (entry !== null && typeof entry === "object" && !Array.isArray(entry)) Object.assign(fields, flat(entry, path));
    else fields[path] = entry;
  }
  return fields;
}
