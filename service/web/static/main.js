// The shell of the page, and which view an address after # shows.
import { html, render, useEffect, useState } from "./lib.js";
import { post } from "./api.js";
import { Compare } from "./compare.js";
import { Datasets } from "./datasets.js";
import { Job } from "./job.js";
import { Jobs } from "./jobs.js";
import { NewJob } from "./new.js";

const TITLES = { "": "Jobs", jobs: "Job", new: "New job", compare: "Compare", datasets: "Data sets" };

function parse() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, id] = path.split("/");
  return { view, id, query: new URLSearchParams(search) };
}

function View({ view, id, query }) {
  if (view === "jobs" && id) return html`<${Job} key=${id} id=${id} />`;
  if (view === "new") return html`<${NewJob} key=${query.toString()} from=${query.get("from")} dataset=${query.get("dataset")} />`;
  if (view === "datasets") return html`<${Datasets} id=${id} />`;
  if (view === "compare") {
    return html`<${Compare} ids=${(query.get("jobs") ?? "").split(",").filter(Boolean)} axis=${query.get("x") ?? "step"} />`;
  }
  return html`<${Jobs} />`;
}

function App() {
  const [route, setRoute] = useState(parse());
  useEffect(() => {
    const move = () => {
      setRoute(parse());
      window.scrollTo(0, 0);
    };
    addEventListener("hashchange", move);
    return () => removeEventListener("hashchange", move);
  }, []);
  useEffect(() => {
    if (route.view === "jobs" && route.id) return; // it has its name
    document.title = `${TITLES[route.view] ?? "Jobs"} · AdaMSS`;
  }, [route.view, route.id]);
  const current = (views) => (views.includes(route.view) ? "page" : undefined);
  const skip = (event) => {
    event.preventDefault(); // the address after # is the view's
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
        <a href="#/datasets" aria-current=${current(["datasets"])}>Data sets</a>
        <a href="/docs">API</a>
      </nav>
      <button class="plain" onClick=${() => post("/signout").then(() => location.assign("/"))}>Sign out</button>
      <${Ready} />
    </header>
    <${View} ...${route} />`;
}

const AWAY = { ready: false, away: true };

// Whether jobs would run now.
function Ready() {
  const [state, setState] = useState(null);
  useEffect(() => {
    const ask = () => fetch("/readyz").then((answer) => answer.json()).then(setState, () => setState(AWAY));
    ask();
    const timer = setInterval(ask, 15000);
    return () => clearInterval(timer);
  }, []);
  if (!state || state.ready) return null;
  const missing = state.away ? [] : ["database", "broker", "worker"].filter((part) => !state[part]);
  const only = missing.join() === "worker";
  return html`<p class="notice" role="status">${only
    ? html`No worker is heard from: jobs wait. Start one with <code>adamss worker</code>, or see <code>adamss doctor</code>.`
    : html`Not heard from: ${missing.join(", ") || "the service"}. <code>adamss doctor</code> says what to do.`}</p>`;
}

render(html`<${App} />`, document.getElementById("app"));
