// Form fields of the spec's JSON schema: their choices, and conversion between values and texts.

export function resolve(schema, components) {
  const name = schema.$ref?.split("/").pop() ?? schema.allOf?.[0]?.$ref?.split("/").pop();
  return name ? { ...components[name], ...schema } : schema;
}

function kinds(schema) {
  return (schema.anyOf ?? [schema]).filter((kind) => kind.type !== "null");
}

// The choices of a field with enumerated values, else null.
export function choices(schema) {
  const accepted = kinds(schema);
  if (accepted.every((kind) => kind.type === "boolean")) return [true, false];
  if (accepted.every((kind) => kind.enum || kind.const !== undefined)) return accepted.flatMap((kind) => kind.enum ?? [kind.const]);
  return null;
}

// Whether null is a value, such as "no clipping", other than a missing field.
export const nullable = (schema) => (schema.anyOf ?? []).some((kind) => kind.type === "null");

export function text(value) {
  if (value === undefined) return "";
  if (Array.isArray(value)) return value.some((entry) => typeof entry === "object") ? JSON.stringify(value) : value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

// The value of a field's text; undefined for an empty text. The service validates it.
export function parse(schema, given) {
  const trimmed = given.trim();
  if (trimmed === "") return undefined;
  if (trimmed === "null" && nullable(schema)) return null;
  const options = choices(schema);
  if (options) return options.find((option) => String(option) === trimmed);
  const accepted = kinds(schema);
  const types = new Set(accepted.map((kind) => kind.type));
  if (types.has("array") && trimmed.startsWith("[{")) {
    try {
      return JSON.parse(trimmed);
    } catch {
      return trimmed;
    }
  }
  const isPattern = types.has("string") && (trimmed === "all-linear" || /[^\w.,\s-]/.test(trimmed));
  const isSingle = accepted[0].type === "string" && !trimmed.includes(",");
  if (types.has("array") && !isPattern && !isSingle) {
    const items = accepted.find((kind) => kind.type === "array").items;
    return trimmed.split(",").map((entry) => entry.trim()).filter(Boolean).map((entry) => parse(items, entry));
  }
  if ((types.has("integer") || types.has("number")) && !Number.isNaN(Number(trimmed))) return Number(trimmed);
  if (types.has("object")) {
    try {
      return JSON.parse(trimmed);
    } catch {
      return trimmed;
    }
  }
  return trimmed;
}

// The value at a path such as adamss.r; undefined where there is none.
export const at = (spec, path) => path.split(".").reduce((part, name) => part?.[name], spec);

// { "adamss.r": 3 } -> { adamss: { r: 3 } }
export function nested(values) {
  const spec = {};
  for (const [path, value] of Object.entries(values)) {
    if (value === undefined) continue;
    const names = path.split(".");
    let block = spec;
    for (const name of names.slice(0, -1)) block = block[name] ??= {};
    block[names.at(-1)] = value;
  }
  return spec;
}
