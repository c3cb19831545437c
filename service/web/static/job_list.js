// All jobs of the project, kept up to date by polling the newest and the unfinished ones.
import { useRef, useState } from "./lib.js";
import { all, get, orNull } from "./api.js";
import { ENDED, LIVE, useEvery } from "./live.js";

const RELOAD_SECONDS = 2;
const FULL_RELOAD_SECONDS = 60; // ended jobs do not change, but other clients may delete them
const MAX_JOBS = 10000;
const PAGE = 1000;
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

// [jobs, problem, reload, forget a deleted job]
export function useJobs() {
  const [jobs, setJobs] = useState(null);
  const [problem, setProblem] = useState(null);
  const known = useRef(null);
  const loadedAt = useRef(0); // time of the last full reload
  const loading = useRef(false);

  const load = async () => {
    if (loading.current) return; // polls must not overlap
    loading.current = true;
    try {
      const due = Date.now() - loadedAt.current > FULL_RELOAD_SECONDS * 1000;
      if (due) {
        const everything = await all("/jobs", { limit: PAGE }, MAX_JOBS);
        known.current = new Map(everything.map((job) => [job.id, job]));
        loadedAt.current = Date.now();
      } else {
        known.current = await changed(known.current);
      }
      setJobs([...known.current.values()]);
      setProblem(null);
    } catch (error) {
      setProblem(error.message);
    }
    loading.current = false;
  };
  const forget = (id) => {
    known.current?.delete(id);
    setJobs([...known.current.values()]);
  };
  useEvery(RELOAD_SECONDS, load, []);
  return [jobs, problem, load, forget];
}
