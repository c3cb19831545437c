"""What the page costs its readers, in real Chromium: how soon a logged row is drawn, how long a job with a long history
takes to open, and what an open list of many jobs asks of the API.

python -m benchmarks.page --steps 100000 --rows 60 --jobs 10000

Rows go the way of a training process: through its reporter, which gathers them for a second, into the database; from
there through the stream into the chart. No buffer on the way is flushed early.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psutil

from benchmarks.long_job import JOB, SPEC, fill, row, running_api
from benchmarks.report import Limit, Section, write_json
from service.cli.serve import free_port
from service.keys.service import own_key
from service.shared.database.engine import Database
from service.shared.database.tables import Job, JobStatus, now
from service.shared.settings import Settings
from tests.browser import chromium
from worker.report_store import ReportStore
from worker.reporter import BufferedReporter

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

UNSEEN = tuple(f"{JOB}{number}" for number in range(3))
OPENED = 5  # times that a job is opened
LIVE_JOBS = 5
LISTED_SECONDS = 20  # that the list stays open
PAUSE = 0.5  # seconds between two rows, on average: the pace of a small model on a CPU
# Looks before each frame which steps the loss chart has, and notes when it saw them first.
WATCH = """() => { window.seen = {};
    const look = () => {
        const steps = document.querySelector("[data-chart=loss]")?.chart?.data[0] ?? [];
        for (let i = steps.length - 1; i >= 0 && !(steps[i] in seen); i--) seen[steps[i]] = Date.now();
        requestAnimationFrame(look);
    }; look(); }"""
# Milliseconds since the navigation began, once loss chart and map are there.
DRAWN = """() => document.querySelector("[data-chart=loss] canvas") && document.querySelector(".map tbody td")
    && performance.now()"""

# Milliseconds since the navigation began, once rows are there, and once all jobs are.
FIRST_ROWS = "() => document.querySelector('tbody tr') && performance.now()"
ALL_JOBS = """() => document.querySelector("tbody tr")
    && !/loading/i.test(document.querySelector("main [role=status]").textContent) && performance.now()"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    path = chromium.find()
    if path is None:
        raise SystemExit(chromium.MISSING)
    with TemporaryDirectory() as home:
        settings = Settings(home=Path(home), port=free_port("127.0.0.1"))
        with running_api(settings) as api, chromium.launched(path) as browser:
            fill(settings, arguments.steps)
            for job_id in UNSEEN:
                fill(settings, arguments.steps, job_id)
            opened = [from_the_list(browser, settings), *opening(browser, settings)]
            waits = live(browser, settings, arguments.steps, arguments.rows)
            add_jobs(settings, arguments.jobs)
            listed = listing(browser, settings, api)
    sections = [opening_section(arguments.steps, opened), live_section(waits), listing_section(arguments.jobs, *listed)]
    for section in sections:
        print(section.render())
    if arguments.json:
        write_json(arguments.json, sections, steps=arguments.steps, rows=arguments.rows, jobs=arguments.jobs)


def opening_section(steps: int, opened: list[list[float]]) -> Section:
    section = Section(f"Opening a job of {steps:,} steps (seconds)", ["browser", "min", "median", "max"])
    kinds = ("from the list, the first look", "straight, without a cache", "straight, with its cache")
    section.rows = [[kind, *spread(seconds)] for kind, seconds in zip(kinds, opened, strict=True)]
    section.limits = [Limit("largest median", max(map(median, opened)), 1.0)]
    return section


def live_section(waits: list[float]) -> Section:
    section = Section("From logged to drawn (seconds)", ["rows", "min", "median", "max"])
    section.rows = [[len(waits), *spread(waits)]]
    section.limits = [Limit("largest", max(waits), 2.0)]
    return section


def listing_section(jobs: int, looks: list[tuple[float, float]], share: float, size: float) -> Section:
    first, whole = (median(seconds) for seconds in zip(*looks, strict=True))
    columns = ["seconds to the first rows", "to all jobs", "of a CPU while it is open, the API", "kB each second"]
    section = Section(f"The list of {jobs:,} jobs, {LIVE_JOBS} of them waiting", columns)
    section.rows = [[first, whole, share, size / 1000]]
    section.limits = [Limit("median of the first look", first, 1.0)]
    return section


def spread(values: list[float]) -> list[float]:
    return [min(values), median(values), max(values)]


def from_the_list(browser: Browser, settings: Settings) -> list[float]:
    """Time until loss chart and map of a job with an uncached history are drawn, in seconds."""
    seconds = []
    for job_id in UNSEEN:
        page = signed_in(browser, settings)
        page.goto(settings.resolved_url)
        page.wait_for_selector("tbody tr")
        begin = page.evaluate("(id) => { location.hash = `#/jobs/${id}`; return performance.now(); }", job_id)
        seconds.append((float(page.wait_for_function(DRAWN).json_value()) - begin) / 1000)
        page.context.close()
    return seconds


def opening(browser: Browser, settings: Settings) -> tuple[list[float], list[float]]:
    """Time until loss chart and map are drawn, in a fresh browser and then again, in seconds."""
    first: list[float] = []
    again: list[float] = []
    for _ in range(OPENED):
        page = signed_in(browser, settings)
        for seconds in (first, again):
            page.goto("about:blank")
            page.goto(f"{settings.resolved_url}/#/jobs/{JOB}")
            seconds.append(float(page.wait_for_function(DRAWN).json_value()) / 1000)
        page.context.close()
    return first, again


def signed_in(browser: Browser, settings: Settings) -> Page:
    """Open a signed-in page in a browser with an empty cache."""
    page = browser.new_context().new_page()
    assert page.request.post(f"{settings.resolved_url}/signin", form={"key": own_key(settings) or ""}).ok
    return page


def live(browser: Browser, settings: Settings, step: int, rows: int) -> list[float]:
    """Time from the report of each row to its drawing, in seconds."""
    db = Database(settings.resolved_database_url)
    with db.write() as session:
        job = session.get_one(Job, JOB)
        job.status, job.attempt, job.started_at = JobStatus.RUNNING, 1, now()
    folder = settings.files.job(JOB)
    folder.path.mkdir(parents=True)
    page = signed_in(browser, settings)
    page.goto(f"{settings.resolved_url}/#/jobs/{JOB}")
    page.wait_for_function(DRAWN)
    page.evaluate(WATCH)
    logged = log_rows(BufferedReporter(ReportStore(db, JOB, 1, folder, settings.files), lease_seconds=60), step, rows)
    page.wait_for_function("(step) => step in window.seen", arg=max(logged))
    seen = page.evaluate("() => window.seen")
    db.close()
    return [seen[str(step)] / 1000 - moment for step, moment in logged.items()]


def add_jobs(settings: Settings, count: int) -> None:
    """Insert jobs of realistic size, ended except for a few."""
    db = Database(settings.resolved_database_url)
    schedule = [{"step": step, "wanted": 120 - step} for step in range(20)]
    resolved = {
        "spec": {
            **SPEC,
            "training": {"metric_for_best": "accuracy"},
            **{f"field_{number}": "some value" for number in range(80)},
        },
        "schedule": schedule,
    }
    with db.write() as session:
        project = session.get_one(Job, JOB).project_id
        for number in range(count):
            status = JobStatus.QUEUED if number < LIVE_JOBS else JobStatus.SUCCEEDED
            job = Job(id=f"job_{number:020}", project_id=project, name=f"run {number}", status=status, spec=SPEC)
            job.resolved, job.result = resolved, {"eval_accuracy": number / count}
            job.created_at = job.queued_at = now()
            job.retries, job.total_steps, job.step, job.last_seq = 0, 100, 100, 0
            session.add(job)
    db.close()


def listing(
    browser: Browser, settings: Settings, api: psutil.Process
) -> tuple[list[tuple[float, float]], float, float]:
    """Time until the list shows rows, and has all jobs; then the API's CPU share and bytes per second while idle."""
    looks: list[tuple[float, float]] = []
    page = signed_in(browser, settings)
    while len(looks) < OPENED:
        page.context.close()
        page = signed_in(browser, settings)
        page.goto(f"{settings.resolved_url}/#/")
        first = page.wait_for_function(FIRST_ROWS).json_value()
        whole = page.wait_for_function(ALL_JOBS, timeout=120_000).json_value()
        looks.append((float(first) / 1000, float(whole) / 1000))
    sizes: list[int] = []
    page.wait_for_timeout(1_000)
    page.on("response", lambda answer: sizes.append(int(answer.headers.get("content-length", 0))))
    before, begin = api.cpu_times(), time.monotonic()
    page.wait_for_timeout(1_000 * LISTED_SECONDS)
    after, took = api.cpu_times(), time.monotonic() - begin
    work = after.user + after.system - before.user - before.system
    return looks, work / took, sum(sizes) / took


def log_rows(reporter: BufferedReporter, step: int, rows: int) -> dict[int, float]:
    """Log steps and their progress as a run does; return the time of each."""
    source, logged = random.Random(0), {}
    for number in range(step + 1, step + 1 + rows):
        logged[number] = time.time()
        values = row(number, None)["values"]
        assert isinstance(values, dict)
        reporter.metrics(kind="train", step=number, epoch=1.0, values=values)
        reporter.progress(step=number, total_steps=2 * number, epoch=1.0, eta_seconds=60.0, asa=None)
        time.sleep(source.uniform(0, 2 * PAUSE))
    reporter.close(60)
    return logged


if __name__ == "__main__":
    main()
