// The frame of the page, and the routing of addresses after # to views.
import { html, render, useEffect, useRef, useState } from "./lib.js";
import { parse } from "./address.js";
import { post, SIGNED_OUT } from "./api.js";
import { Notices } from "./notices.js";
import { enter } from "./scrolled.js";
import { setTitle } from "./title.js";

const ICON = new URL("icon.svg", import.meta.url).pathname; // in the folder that browsers keep
const TITLES = { jobs: "Jobs", job: "Job", new: "New job", compare: "Compare", datasets: "Data sets", models: "Models", sweeps: "Sweeps", workers: "Workers" };

// The views, each loaded when it is first shown: what is asked for first need not wait for the others.
const VIEWS = {
  jobs: async () => (await import("./jobs.js")).Jobs,
  job: async () => (await import("./job.js")).Job,
  new: async () => (await import("./new.js")).NewJob,
  compare: async () => (await import("./compare.js")).Compare,
  datasets: async () => (await import("./datasets.js")).Datasets,
  models: async () => (await import("./models.js")).Models,
  sweeps: async () => (await import("./sweeps.js")).Sweeps,
  workers: async () => (await import("./workers.js")).Workers,
};

const LATER = 3000; // milliseconds: what is shown first has the network and the processor for itself

const loaded = new Map(); // view → its component
const failed = new Set(); // views that did not load: the browser keeps that until the page is loaded again

async function load(name) {
  try {
    loaded.set(name, await VIEWS[name]());
  } catch (error) {
    failed.add(name);
    throw error;
  }
}

// Loads a view, or the whole page where the view has failed before and the service answers.
async function loadAgain(name) {
  if (failed.has(name) && (await fetch("/readyz").catch(() => null))) location.reload();
  else await load(name);
}

// Loads the other views one by one, so that they show at a click, and a page outlives an upgrade of the service.
async function loadOthers() {
  for (const name of Object.keys(VIEWS)) await load(name).catch(() => {});
}

// The name of a view and what it is given, by the address.
function target({ view, id, query }) {
  if (view === "jobs" && id) return ["job", { key: id, id, edited: query.has("edit") }];
  if (view === "new") return ["new", { key: query.toString(), from: query.get("from"), dataset: query.get("dataset"), preset: query.get("preset") }];
  if (view === "models") return ["models", { name: id }];
  if (view === "compare") {
    return ["compare", { ids: [...new Set((query.get("jobs") ?? "").split(",").filter(Boolean))], axis: query.get("x") ?? "step", reference: query.get("with") }];
  }
  return [Object.hasOwn(VIEWS, view) && view !== "job" ? view : "jobs", { id, query }];
}

// The title of a view until it knows the name of what it shows.
function titleOf([name, { id, query, name: model }]) {
  if (name === "datasets" && id) return "Data set";
  if (name === "sweeps" && (id || query.has("from"))) return id ? "Sweep" : "New sweep";
  return model ?? TITLES[name];
}

// What differs in another view, and not with the filters of one.
const placeOf = ([name, { key, id, name: model, query }]) => [name, key ?? id ?? model, query?.get("from")].join();

function focusMain() {
  const main = document.querySelector("main");
  if (!main) return;
  main.tabIndex = -1;
  main.focus({ preventScroll: true });
}

// A view that did not load is asked for again at the next visit. moved: whether it is not the first one.
function View({ name, values, moved }) {
  const [state, setState] = useState(loaded.has(name) ? "loaded" : "loading");
  useEffect(() => {
    if (state === "loading") loadAgain(name).then(() => loaded.has(name) && setState("loaded"), () => setState("failed"));
    else if (moved && document.activeElement === document.body) focusMain(); // what had the focus is gone
  }, [state]);
  if (state === "loaded") return html`<${loaded.get(name)} ...${values} />`;
  return html`<main id="main"><h1>${titleOf([name, values])}</h1>
    ${state === "loading" ? html`<p class="muted" role="status">Loading…</p>` : html`<${NotLoaded} />`}</main>`;
}

// A view whose files are no longer there, as after an upgrade of the service, or did not arrive.
function NotLoaded() {
  return html`<p role="alert">This view did not load. <button onClick=${() => location.reload()}>Load the page again</button></p>`;
}

function App() {
  const [[name, values], setShown] = useState(() => target(parse()));
  const place = placeOf([name, values]);
  const shown = useRef(place);
  const moved = useRef(false);
  useEffect(() => {
    const move = () => {
      const next = target(parse());
      const isOther = placeOf(next) !== shown.current;
      shown.current = placeOf(next);
      moved.current ||= isOther;
      if (isOther) setTitle(titleOf(next));
      enter(isOther);
      setShown(next);
    };
    setTitle(titleOf([name, values]));
    addEventListener("hashchange", move);
    return () => removeEventListener("hashchange", move);
  }, []);
  useEffect(() => {
    if (moved.current) focusMain();
  }, [place]);
  const current = (views) => (views.includes(name) ? "page" : undefined);
  const skip = (event) => {
    event.preventDefault(); // keeps the view's address after #
    focusMain();
  };
  return html`<a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header>
      <a class="brand" href="#/"><img src=${ICON} alt="" width="22" height="22" /> AdaMSS</a>
      <nav aria-label="Views">
        <a href="#/" aria-current=${current(["jobs", "job"])}>Jobs</a>
        <a href="#/new" aria-current=${current(["new"])}>New job</a>
        <a href="#/sweeps" aria-current=${current(["sweeps"])}>Sweeps</a>
        <a href="#/datasets" aria-current=${current(["datasets"])}>Data sets</a>
        <a href="#/models" aria-current=${current(["models"])}>Models</a>
        <a href="#/workers" aria-current=${current(["workers"])}>Workers</a>
        <a href="/docs">API</a>
      </nav>
      <${Notices} />
      <button class="plain" onClick=${() => post("/signout").then(() => location.assign("/"))}>Sign out</button>
      <${Ready} />
      <${Session} />
    </header>
    <${View} key=${name} name=${name} values=${values} moved=${moved.current} />`;
}

// A session that has ended leads to the sign-in page, which leads back to the view; a new job that is being written stays.
function Session() {
  const [ended, setEnded] = useState(false);
  useEffect(() => {
    const end = () => (parse().view === "new" ? setEnded(true) : location.reload());
    const again = () => document.hidden || setEnded(false); // the next call tells
    // Whoever asked and does not catch the refusal need not tell of it as well.
    const told = (event) => event.reason?.status === 401 && event.preventDefault();
    addEventListener(SIGNED_OUT, end);
    addEventListener("unhandledrejection", told);
    document.addEventListener("visibilitychange", again);
    return () => {
      removeEventListener(SIGNED_OUT, end);
      removeEventListener("unhandledrejection", told);
      document.removeEventListener("visibilitychange", again);
    };
  }, []);
  if (!ended) return null;
  return html`<p class="notice" role="alert">Your session has ended. <a href="/" target="_blank">Sign in in another tab</a>, then continue here.</p>`;
}

const UNREACHABLE = { ready: false, unreachable: true };

// A notice while the service cannot run jobs.
function Ready() {
  const [state, setState] = useState(null);
  useEffect(() => {
    const check = () => fetch("/readyz").then((response) => response.json()).then(setState, () => setState(UNREACHABLE));
    check();
    const timer = setInterval(check, 15000);
    return () => clearInterval(timer);
  }, []);
  if (!state || state.ready) return null;
  const missing = state.unreachable ? [] : ["database", "broker", "worker"].filter((part) => !state[part]);
  const onlyWorker = missing.join() === "worker";
  if (state.migrated === false && state.database) {
    return html`<p class="notice" role="status">The database has the schema of another release. Restart the service with that release.</p>`;
  }
  return html`<p class="notice" role="status">${onlyWorker
    ? html`No active worker: jobs stay queued. Start one with <code>adamss worker</code>, or run <code>adamss doctor</code>.`
    : html`Unreachable: ${missing.join(", ") || "the service"}. Run <code>adamss doctor</code> for remedies.`}</p>`;
}

setTimeout(loadOthers, LATER);
render(html`<${App} />`, document.getElementById("app"));
