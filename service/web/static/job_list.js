// All jobs of the project, kept up to date by polling the newest and the unfinished ones.
import { useRef, useState } from "./lib.js";
import { all, get, orNull } from "./api.js";
import { ENDED, LIVE, useEvery } from "./live.js";

const RELOAD_SECONDS = 2;
const FULL_RELOAD_SECONDS = 60; // ended jobs do not change, but other clients may delete them
const MAX_JOBS = 10000;
const PAGE = 1000;
const FIRST_PAGE = 100; // small: it is the first look
const NEWEST = 20; // includes jobs submitted and ended between two polls

async function changed(known) {
  const [newest, live] = await Promise.all([get("/jobs", { limit: NEWEST }), all("/jobs", { status: LIVE, limit: PAGE }, MAX_JOBS)]);
  const current = new Map([...newest.data, ...live].map((job) => [job.id, job]));
  const missing = [...known.values()].filter((job) => !ENDED.includes(job.status) && !current.has(job.id));
  const ended = await Promise.all(missing.map(async ({ id }) => [id, await orNull(get(`/jobs/${id}`))]));
  const jobs = new Map([...known, ...current, ...ended]);
  for (const [id, job] of ended) if (job === null) jobs.delete(id);
  return jobs;
}

// All jobs, newest first, and whether there are more; `show` gets those that are there so far.
async function everything(show) {
  const jobs = new Map();
  let page = { has_more: true, next: undefined };
  while (page.has_more && jobs.size < MAX_JOBS) {
    page = await get("/jobs", { limit: jobs.size ? PAGE : FIRST_PAGE, after: page.next });
    for (const job of page.data) jobs.set(job.id, job);
    if (page.has_more) show(jobs);
  }
  return [jobs, !page.has_more];
}

// complete: null while older jobs are still asked for, else whether these are all.
export function useJobs() {
  const [jobs, setJobs] = useState(null);
  const [problem, setProblem] = useState(null);
  const [complete, setComplete] = useState(null);
  const known = useRef(null);
  const loadedAt = useRef(0); // time of the last full reload
  const loading = useRef(false);
  const deleted = useRef(new Set()); // a reload under way may have read them before

  const show = (found) => {
    for (const id of deleted.current) found.delete(id);
    setJobs([...found.values()]);
  };
  const load = async () => {
    if (loading.current) return; // polls must not overlap
    loading.current = true;
    try {
      if (Date.now() - loadedAt.current > FULL_RELOAD_SECONDS * 1000) {
        const [found, whole] = await everything((some) => known.current ?? show(some));
        known.current = found;
        loadedAt.current = Date.now();
        setComplete(whole);
      } else {
        known.current = await changed(known.current);
      }
      show(known.current);
      setProblem(null);
    } catch (error) {
      setProblem(error.message);
    }
    loading.current = false;
  };
  const forget = (id) => {
    deleted.current.add(id);
    if (known.current) show(known.current);
  };
  useEvery(RELOAD_SECONDS, load, []);
  return { jobs, problem, complete, load, forget };
}
