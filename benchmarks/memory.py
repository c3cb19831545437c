"""`make bench-memory`: peak memory and file sizes of whole jobs against the dry run's estimate, on a CPU.

Each job is uploaded, planned, submitted and trained as a service and its worker do, in a home folder of its own; the
peak is that of the training process, read from the system.

Usage: python -m benchmarks.memory [--only TEXT] [--fitted] [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import psutil

from adamss_core.spec import JobSpec
from benchmarks.memory_cases import FITTED, HELD_OUT, Case, install, rows, rows_name
from benchmarks.report import Limit, Section, write_json
from service.datasets.service import upload
from service.http.app import start, stop
from service.http.context import Caller, Context
from service.jobs import service as jobs
from service.jobs.schemas import PlanOut
from service.jobs.token_lengths import MEASURING
from service.keys.service import DEFAULT_PROJECT_ID
from service.shared.database.tables import Artifact, Job, JobStatus, Role
from service.shared.processes.forkserver import ForkServer
from service.shared.settings import Settings
from worker.abilities import find_resources
from worker.device_locks import open_devices
from worker.runner import Runner
from worker.sweeper import Sweeper

RESULTS = Path(__file__).parent / "results" / "memory.json"
ROWS, STEPS = 300, 2
SAMPLE_SECONDS, MEASURE_SECONDS = 0.05, 120.0
MEMORY_LIMIT, FILE_LIMIT = 0.25, 0.10  # relative errors
MEGABYTE = 1e6


@dataclass(frozen=True)
class Outcome:
    """Estimate and measurement of one job."""

    plan: PlanOut
    peak: int
    files: dict[str, int]

    @property
    def memory_ratio(self) -> float:
        return self.plan.estimate.memory_bytes / self.peak

    @property
    def file_ratios(self) -> dict[str, float]:
        said = self.plan.estimate.artifact_bytes.model_dump()
        return {name: said[name] / size for name, size in self.files.items() if name in said}


def measure(case: Case) -> Outcome:
    """Run one job in a service of its own."""
    with tempfile.TemporaryDirectory(prefix="adamss-memory-") as folder:
        settings = Settings(home=Path(folder), api_key=None)
        settings.files.models.mkdir(parents=True, exist_ok=True)
        install(case.model, settings.files.models)
        context = start(settings)
        try:
            return _measured(case, context)
        finally:
            stop(context)


def _measured(case: Case, context: Context) -> Outcome:
    settings = context.settings
    caller = Caller(
        **vars(context),
        project_id=DEFAULT_PROJECT_ID,
        role=Role.SUBMIT,
        key_name="benchmark",
        upload_bytes=settings.max_upload_bytes,
    )
    file = settings.resolved_home / rows_name(case)
    file.write_bytes(rows(case, ROWS))
    with file.open("rb") as source:
        spec = _spec(case, upload(caller, source, file.name)[0].id)
    _register(context)
    plan = _planned(caller, spec)
    job = jobs.submit(caller, spec, None).job
    peak = _peak_of(job.id, context)
    with context.db.read() as session:
        row = session.get_one(Job, job.id)
        if row.status != JobStatus.SUCCEEDED:
            raise RuntimeError(f"{case.name}: {row.error}")
        files = {artifact.name: artifact.size_bytes for artifact in session.query(Artifact).filter_by(job_id=job.id)}
    return Outcome(plan, peak, files)


def _peak_of(job_id: str, context: Context) -> int:
    """Run a job as a worker does, and return the peak of its training process in bytes."""
    settings = context.settings
    forkserver = ForkServer(["adamss_core.warm", "worker.training_process"], settings.forkserver_idle_seconds)
    runner = Runner(settings, context.db, "bench", open_devices(settings, "bench"), forkserver)
    thread = Thread(target=runner.run, args=(job_id,))
    thread.start()
    peak = 0
    while thread.is_alive():
        peak = max(peak, _peak_of_children())
        thread.join(SAMPLE_SECONDS)
    forkserver.close()
    return peak


def _spec(case: Case, dataset_id: str) -> JobSpec:
    fields: dict[str, Any] = {"name": case.name, "base_model": case.model, "adamss": {"num_subspaces": 10}} | case.spec
    fields["dataset"] = {"train": dataset_id, **case.spec.get("dataset", {})}
    fields["training"] = {"max_steps": STEPS, **case.training}
    return JobSpec.model_validate(fields)


def _register(context: Context) -> None:
    """Register a worker of this machine, which the estimate asks for its precision."""
    devices = open_devices(context.settings, "bench")
    own = find_resources(devices.devices)
    sweeper = Sweeper(context.settings, context.db, "bench", devices, lambda job: None, lambda: 0, own)
    sweeper.sweep()


def _planned(caller: Caller, spec: JobSpec) -> PlanOut:
    """Repeat the dry run until it knows the rows' lengths."""
    until = time.monotonic() + MEASURE_SECONDS
    while MEASURING in (plan := jobs.dry_run(caller, spec)).warnings:
        if time.monotonic() > until:
            raise TimeoutError("the token lengths were not measured")
        time.sleep(0.5)
    return plan


def _peak_of_children() -> int:
    """Return the largest peak that a child process has had so far, in bytes."""
    peaks = [0]
    for child in psutil.Process().children(recursive=True):
        try:
            lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
        except OSError:  # it has ended
            continue
        peaks += [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return max(peaks)


def table(title: str, cases: Sequence[Case]) -> Section:
    section = Section(
        title,
        ["job", "batch tokens", "said MB", "had MB", "said/had", "adapter", "LoRA", "merged"],
        notes=["Peaks are VmHWM of the training process; the last three columns are said/had of the files' sizes."],
    )
    for case in cases:
        outcome = measure(case)
        estimate, files = outcome.plan.estimate, outcome.file_ratios
        memory = [estimate.memory_bytes / MEGABYTE, outcome.peak / MEGABYTE, outcome.memory_ratio]
        section.rows.append([case.name, estimate.batch_tokens, *memory, *files.values()])
        print(case.name, *(f"{value:.4g}" for value in (*memory, *files.values())), flush=True)
    section.limits += [
        Limit("largest error of memory", max(abs(row[4] - 1) for row in section.rows), MEMORY_LIMIT),
        Limit("largest error of a file", max(abs(ratio - 1) for row in section.rows for ratio in row[5:]), FILE_LIMIT),
    ]
    return section


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="jobs whose name contains it")
    parser.add_argument("--fitted", action="store_true", help="also the jobs by which the estimate was fitted")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the numbers go")
    options = parser.parse_args(arguments)
    tables: dict[str, Sequence[Case]] = {"jobs that the estimate was not fitted to": HELD_OUT}
    if options.fitted:
        tables["jobs that the estimate was fitted to"] = FITTED
    sections = []
    for title, cases in tables.items():
        if chosen := [case for case in cases if options.only in case.name]:
            sections.append(table(title, chosen))
            print(sections[-1].render())
    write_json(options.json, sections)


if __name__ == "__main__":
    main()
