// State of one job: its history, downsampled for plots, continued by the event stream.
import { useEffect, useRef, useState } from "./lib.js";
import { all, ApiError, get, orNull } from "./api.js";

export const LIVE = ["queued", "running", "pausing", "paused", "cancelling"];
export const ENDED = ["succeeded", "failed", "cancelled"];
const POINTS = 1000; // rows of the requested history: charts are a few hundred pixels wide
const MAX_ROWS = 2 * POINTS; // beyond, the history is loaded again, downsampled
const DRAW_MS = 250;
const RETRY_MS = [1000, 2000, 5000, 10000, 30000]; // pauses between attempts while the service is unreachable

// A row replaces the rows of its kind from its step on: a new attempt resumes from its checkpoint.
export function addRow(rows, row) {
  let end = rows.length;
  if (rows.some((old) => old.seq === row.seq)) return rows;
  const last = rows.findLast((old) => old.kind === row.kind);
  if (last && last.step >= row.step) {
    rows = rows.filter((old) => old.kind !== row.kind || old.step < row.step);
    end = rows.length;
  }
  return [...rows.slice(0, end), row];
}

// The part that loads quickly for a run of any length.
async function facts(id) {
  const job = await get(`/jobs/${id}`);
  const trains = !job.evaluates && !job.inspects; // else it has no subspaces
  const begun = trains && (job.progress.step > 0 || (await get(`/jobs/${id}/subspaces/history`, { limit: 1 })).data.length > 0);
  const [events, map] = await Promise.all([
    all(`/jobs/${id}/events`, { limit: 1000 }),
    begun ? get(`/jobs/${id}/subspaces`) : null,
  ]);
  return { job, events, map };
}

// Shows the quick part first. For a running job it is loaded again after the rows, where the stream continues.
async function load(id, show) {
  const history = get(`/jobs/${id}/metrics`, { max_points: POINTS });
  history.catch(() => {}); // awaited below
  const quick = await facts(id);
  show({ ...quick, rows: null });
  const { data: rows, next } = await history;
  const known = ENDED.includes(quick.job.status) ? quick : await facts(id);
  return { ...known, rows, after: next ?? 0 };
}

// For one job: another id needs another key. The third value loads the job anew: the stream of a job that has ended is closed, and such a job may be resumed.
export function useJob(id) {
  const [round, setRound] = useState(0);
  const [shown, setShown] = useState(null);
  const [error, setError] = useState(null);
  const known = useRef(null);

  useEffect(() => {
    let source = null;
    let timer = null;
    let retry = null;
    let failures = 0;
    let closed = false;

    const draw = () => {
      if (timer === null) {
        timer = setTimeout(() => {
          timer = null;
          if (!closed) setShown({ ...known.current });
        }, DRAW_MS);
      }
    };
    const on = (name, apply) =>
      source.addEventListener(name, (message) => {
        apply(JSON.parse(message.data));
        draw();
      });
    const listen = () => {
      source?.close(); // opened by a concurrent start
      source = new EventSource(`/jobs/${id}/stream?after=${known.current.after}`);
      source.addEventListener("open", () => (failures = 0));
      // A browser reconnects after a broken connection, but not after a response other than 200, such as a proxy's
      // while the service restarts.
      source.addEventListener("error", () => source.readyState === EventSource.CLOSED && retryLater());
      on("state", (job) => (known.current.job = job));
      on("metrics", (row) => {
        known.current.rows = addRow(known.current.rows, row);
        known.current.after = row.seq;
        if (known.current.rows.length > MAX_ROWS) start();
      });
      on("events", (event) => {
        const { events } = known.current;
        if (!events.some((old) => old.seq === event.seq)) known.current.events = [...events, event];
      });
      on("subspaces", (map) => {
        const steps = (known.current.map?.steps ?? []).filter((step) => step < map.step);
        known.current.map = { ...map, steps: [...steps, map.step] };
      });
      on("end", () => source.close());
    };
    const retryLater = () => {
      clearTimeout(retry);
      retry = setTimeout(start, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
    };
    const start = async () => {
      source?.close();
      try {
        known.current = await load(id, (quick) => closed || known.current || setShown(quick));
        if (closed) return;
        setShown(known.current);
        setError(null);
        if (!ENDED.includes(known.current.job.status) && !document.hidden) listen();
      } catch (problem) {
        if (closed) return;
        const transient = !(problem instanceof ApiError) || problem.status === 429 || problem.status >= 500;
        // A transient error keeps the loaded state on screen; a permanent one replaces it.
        if (!transient || !known.current) setError(problem);
        if (transient) retryLater();
      }
    };
    // All tabs share six connections to a service: a hidden tab closes its stream.
    const onVisibility = () => {
      if (document.hidden) source?.close();
      else if (known.current && !ENDED.includes(known.current.job.status)) start();
    };
    document.addEventListener("visibilitychange", onVisibility);
    start();
    return () => {
      closed = true;
      document.removeEventListener("visibilitychange", onVisibility);
      clearTimeout(timer);
      clearTimeout(retry);
      source?.close();
    };
  }, [id, round]);

  return [shown, error, () => setRound((last) => last + 1)];
}

// Calls `work` now and every few seconds while the page is visible.
export function useEvery(seconds, work, dependencies) {
  useEffect(() => {
    work();
    const timer = setInterval(() => document.hidden || work(), seconds * 1000);
    return () => clearInterval(timer);
  }, dependencies);
}

// Lists beyond the stream, polled while the job runs.
export function useList(job, path) {
  const [entries, setEntries] = useState([]);
  const ended = ENDED.includes(job.status);
  useEvery(ended ? 3600 : 5, async () => setEntries((await orNull(all(`/jobs/${job.id}/${path}`))) ?? []), [job.id, job.status]);
  return entries;
}
