// Notices of the browser when a job ends, as long as the page is open in some tab and they are allowed.
import { html, useEffect, useRef, useState } from "./lib.js";
import { all, get, orNull } from "./api.js";
import { score, words } from "./format.js";
import { best, metricNamed } from "./job_summary.js";
import { LIVE } from "./live.js";
import { useTasks } from "./tasks.js";

const SECONDS = 15; // also of a tab in the background, which is what notices are for
const STORE = "adamss-notices"; // of this browser
const MOST = 1000; // unfinished jobs that are watched

const allowed = () => "Notification" in window && Notification.permission !== "denied";

export function Notices() {
  const [on, setOn] = useState(() => allowed() && Notification.permission === "granted" && localStorage.getItem(STORE) === "on");
  const tasks = useTasks();
  const known = useRef(null); // ids of the jobs that had not ended
  const told = useRef(tasks);
  told.current = tasks;

  useEffect(() => {
    if (!on) return undefined;
    const look = async () => {
      try {
        const now = new Set((await all("/jobs", { status: LIVE }, MOST)).map((job) => job.id));
        const ended = [...(known.current ?? [])].filter((id) => !now.has(id));
        known.current = now;
        for (const job of await Promise.all(ended.map((id) => orNull(get(`/jobs/${id}`))))) if (job) tell(job, told.current);
      } catch {
        // The service is away: what ended meanwhile is seen by the next look.
      }
    };
    look();
    const timer = setInterval(look, SECONDS * 1000);
    return () => {
      known.current = null;
      clearInterval(timer);
    };
  }, [on]);

  if (!allowed()) return null;
  const change = async () => {
    const next = !on && (await Notification.requestPermission()) === "granted";
    localStorage.setItem(STORE, next ? "on" : "off");
    setOn(next);
  };
  return html`<button class="plain" aria-pressed=${on} onClick=${change} title="A notice of this browser for each job that ends">Notices ${on ? "on" : "off"}</button>`;
}

function tell(job, tasks) {
  const metric = best(job);
  const described = metric && metricNamed(tasks, job.task, metric[0]);
  const body = metric ? `${described.title}: ${score(described, metric[1])}` : (job.error?.message ?? "");
  const notice = new Notification(`${job.name}: ${words(job.status)}`, { body, tag: job.id, icon: "/favicon.ico" }); // one for all tabs
  notice.onclick = () => {
    window.focus();
    location.hash = `#/jobs/${job.id}`;
    notice.close();
  };
}
