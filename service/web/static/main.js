// The frame of the page, and the routing of addresses after # to views.
import { html, render, useEffect, useRef, useState } from "./lib.js";
import { parse } from "./address.js";
import { post, SIGNED_OUT } from "./api.js";
import { Compare } from "./compare.js";
import { Datasets } from "./datasets.js";
import { Job } from "./job.js";
import { Jobs } from "./jobs.js";
import { Models } from "./models.js";
import { NewJob } from "./new.js";
import { Notices } from "./notices.js";
import { Sweeps } from "./sweeps.js";
import { Workers } from "./workers.js";

const TITLES = { "": "Jobs", jobs: "Job", new: "New job", compare: "Compare", datasets: "Data sets", models: "Models", sweeps: "Sweeps", workers: "Workers" };

function View({ view, id, query }) {
  if (view === "jobs" && id) return html`<${Job} key=${id} id=${id} edited=${query.has("edit")} />`;
  if (view === "new") return html`<${NewJob} key=${query.toString()} from=${query.get("from")} dataset=${query.get("dataset")} preset=${query.get("preset")} />`;
  if (view === "workers") return html`<${Workers} />`;
  if (view === "datasets") return html`<${Datasets} id=${id} query=${query} />`;
  if (view === "models") return html`<${Models} name=${id} />`;
  if (view === "sweeps") return html`<${Sweeps} id=${id} query=${query} />`;
  if (view === "compare") {
    return html`<${Compare} ids=${(query.get("jobs") ?? "").split(",").filter(Boolean)} axis=${query.get("x") ?? "step"} reference=${query.get("with")} />`;
  }
  return html`<${Jobs} query=${query} />`;
}

function App() {
  const [route, setRoute] = useState(parse);
  const shown = useRef(route);
  useEffect(() => {
    const move = () => {
      const next = parse();
      if (next.view !== shown.current.view || next.id !== shown.current.id) window.scrollTo(0, 0);
      shown.current = next;
      setRoute(next);
    };
    addEventListener("hashchange", move);
    return () => removeEventListener("hashchange", move);
  }, []);
  useEffect(() => {
    if (["jobs", "datasets", "sweeps"].includes(route.view) && route.id) return; // the view of one sets its name
    document.title = `${TITLES[route.view] ?? "Jobs"} · AdaMSS`;
  }, [route.view, route.id]);
  const current = (views) => (views.includes(route.view) ? "page" : undefined);
  const skip = (event) => {
    event.preventDefault(); // keeps the view's address after #
    const main = document.querySelector("main");
    main.tabIndex = -1;
    main.focus();
  };
  return html`<a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header>
      <a class="brand" href="#/"><img src="/static/icon.svg" alt="" width="22" height="22" /> AdaMSS</a>
      <nav aria-label="Views">
        <a href="#/" aria-current=${current(["", "jobs"])}>Jobs</a>
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
    <${View} ...${route} />`;
}

// A session that has ended leads to the sign-in page, which leads back to the view; a new job that is being written stays.
function Session() {
  const [ended, setEnded] = useState(false);
  useEffect(() => {
    const end = () => (parse().view === "new" ? setEnded(true) : location.reload());
    const again = () => document.hidden || setEnded(false); // the next call tells
    addEventListener(SIGNED_OUT, end);
    document.addEventListener("visibilitychange", again);
    return () => {
      removeEventListener(SIGNED_OUT, end);
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

render(html`<${App} />`, document.getElementById("app"));
