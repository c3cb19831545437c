// All jobs of the project, kept up to date by asking for what can have changed.
import { useRef, useState } from "./lib.js";
import { all, get, orNull } from "./api.js";
import { ENDED, LIVE, useEvery } from "./live.js";

const RELOAD_SECONDS = 2;
const EVERYTHING_SECONDS = 60; // ended jobs do not change, but may be deleted elsewhere
const MOST = 10000;
const PAGE = 1000;
const NEWEST = 20; // a job that came and ended between two looks is among these

async function changed(known) {
  const [newest, live] = await Promise.all([get("/jobs", { limit: NEWEST }), all("/jobs", { status: LIVE, limit: PAGE }, MOST)]);
  const found = new Map([...newest.data, ...live].map((job) => [job.id, job]));
  const left = [...known.values()].filter((job) => !ENDED.includes(job.status) && !found.has(job.id));
  const ended = await Promise.all(left.map(async ({ id }) => [id, await orNull(get(`/jobs/${id}`))]));
  const jobs = new Map([...known, ...found, ...ended]);
  for (const [id, job] of ended) if (job === null) jobs.delete(id);
  return jobs;
}

// [jobs, problem, look now, leave out one that is deleted]
export function useJobs() {
  const [jobs, setJobs] = useState(null);
  const [problem, setProblem] = useState(null);
  const known = useRef(null);
  const read = useRef(0); // when all were

  const loading = useRef(false);

  const load = async () => {
    if (loading.current) return; // a slow answer is not asked for on top of itself
    loading.current = true;
    try {
      const due = Date.now() - read.current > EVERYTHING_SECONDS * 1000;
      if (due) {
        const everything = await all("/jobs", { limit: PAGE }, MOST);
        known.current = new Map(everything.map((job) => [job.id, job]));
        read.current = Date.now();
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
