// Numbers and times as people read them.

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
  let place = 0;
  while (value >= 1000 && place < units.length - 1) {
    value /= 1000;
    place += 1;
  }
  return `${place === 0 ? value : value.toPrecision(3)} ${units[place]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

export function when(time) {
  return time ? new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" }) : "–";
}

export const words = (name) => name.replaceAll("_", " ");

// { a: { b: 1 } } -> { "a.b": 1 }, for tables of differences.
export function flat(value, prefix = "") {
  const found = {};
  for (const [name, entry] of Object.entries(value ?? {})) {
    const path = prefix ? `${prefix}.${name}` : name;
    if (entry !== null && typeof entry === "object" && !Array.isArray(entry)) Object.assign(found, flat(entry, path));
    else found[path] = entry;
  }
  return found;
}
