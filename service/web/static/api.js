// Calls to the service. The browser adds the sign-in cookie; changes carry a header that only our own page can add.

export class ApiError extends Error {
  constructor(status, { code, message, param, also = [] }) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
    this.also = also; // further fields at fault
  }
}

async function call(method, path, { json, form, signal, key } = {}) {
  const headers = { "x-adamss-page": "web" };
  if (key) headers["idempotency-key"] = key; // a repeated request creates nothing new
  if (json !== undefined) headers["content-type"] = "application/json";
  const body = json !== undefined ? JSON.stringify(json) : form;
  const response = await fetch(path, { method, headers, body, signal });
  if (response.status === 204) return null;
  const text = await response.text();
  let data;
  try {
    data = JSON.parse(text);
  } catch {
    data = { error: { code: "http_error", message: `HTTP ${response.status}: ${text.slice(0, 200)}` } };
  }
  if (!response.ok) throw new ApiError(response.status, data.error);
  return data;
}

export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const pairs = given.flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  return pairs.length ? "?" + new URLSearchParams(pairs) : "";
}

export const get = (path, values = {}, signal) => call("GET", path + query(values), { signal });
export const post = (path, json, signal, key) => call("POST", path, { json, signal, key });
export const patch = (path, json) => call("PATCH", path, { json });
export const upload = (path, form) => call("POST", path, { form });
export const remove = (path) => call("DELETE", path);

// All entries of a list, page by page.
export async function all(path, values = {}, maximum = 2000) {
  const entries = [];
  let after;
  do {
    const page = await get(path, { limit: 200, ...values, after });
    entries.push(...page.data);
    after = page.has_more ? page.next : undefined;
  } while (after !== undefined && entries.length < maximum);
  return entries;
}

// The value, or null while the resource does not exist.
export async function orNull(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof ApiError && [403, 404, 409, 422].includes(error.status)) return null;
    throw error;
  }
}
