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

export const SIGNED_OUT = "adamss-signed-out";

const PAGE = { "x-adamss-page": "web" };

// The answer's content; raises ApiError for an error. That the session has ended is told to the frame of the page.
function parsed(status, text) {
  if (status === 204) return null;
  if (status === 401) dispatchEvent(new Event(SIGNED_OUT));
  let data;
  try {
    data = JSON.parse(text);
  } catch {
    data = { error: { code: "http_error", message: `HTTP ${status}: ${text.slice(0, 200)}` } };
  }
  if (status < 200 || status >= 300) throw new ApiError(status, data.error);
  return data;
}

async function call(method, path, { json, form, signal, key } = {}) {
  const headers = { ...PAGE };
  if (key) headers["idempotency-key"] = key; // a repeated request creates nothing new
  if (json !== undefined) headers["content-type"] = "application/json";
  const body = json !== undefined ? JSON.stringify(json) : form;
  const response = await fetch(path, { method, headers, body, signal });
  return parsed(response.status, await response.text());
}

// Uploads a data set; `created` is false where the same file had been there before.
export async function uploadDataset(file) {
  const body = new FormData();
  body.append("file", file);
  const response = await fetch("/datasets", { method: "POST", headers: PAGE, body });
  return { ...parsed(response.status, await response.text()), created: response.status === 201 };
}

// Calls take(value) for each event of a stream that answers a request; ends with it, or raises.
export async function follow(path, json, take, signal) {
  const headers = { ...PAGE, "content-type": "application/json" };
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(json), signal });
  if (!response.ok) parsed(response.status, await response.text());
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    const events = (rest + read.value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const value = JSON.parse(event.replace(/^data: /, ""));
      if (value.error) throw new ApiError(0, value.error);
      take(value);
    }
  }
}

// Sends a file, as the body itself or in a form; report(done, total) is called on the way, which fetch cannot do.
export function send(path, body, report) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    const type = body instanceof FormData ? {} : { "content-type": "application/octet-stream" }; // of a form the browser knows it
    for (const [name, value] of Object.entries({ ...PAGE, ...type })) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => report(event.loaded, event.total);
    request.onerror = () => reject(new ApiError(0, { code: "not_reachable", message: "The connection broke off. Send the file again." }));
    request.onload = () => {
      try {
        resolve(parsed(request.status, request.responseText));
      } catch (error) {
        reject(error);
      }
    };
    request.send(body);
  });
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

// A key that makes a repeated request the same one. Browsers offer randomUUID on pages with TLS only.
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

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
