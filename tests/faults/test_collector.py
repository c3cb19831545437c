"""Row 30: the collector of files among many folders, beside running jobs."""

from __future__ import annotations

from pathlib import Path

from service.shared.database.tables import JobStatus
from tests.faults.topology import Topology, age

ORPHANS = 3_000  # folders; benchmarks/scale measures a pass over 100,000
YOUNG_DAYS = 0.9


def leave_orphans(topology: Topology) -> tuple[list[Path], list[Path]]:
    """Folders and files without a row: those that are old, and those that may still get one."""
    files = topology.settings.files
    old = [files.jobs / f"job_old{number:05}" for number in range(ORPHANS)]
    young = [files.jobs / f"job_young{number}" for number in range(20)]
    for folder in (*old, *young):
        folder.mkdir()
    for days, found in ((1.1, old), (YOUNG_DAYS, young)):
        rows, artifact = files.datasets / f"ds_{len(found)}.jsonl", files.artifact(f"job_{len(found)}", "lora")
        artifact.parent.mkdir()
        for path in (rows, artifact):
            path.write_text("{}")
            found.append(path)
        age(*found, days=days)
    return old, young


def test_row_30_collector_beside_a_running_job(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(steps=100_000, pause=0.05)
    old, young = leave_orphans(topology)
    for _ in range(2):
        topology.start_worker()
    topology.wait_step(job_id, 1)
    topology.until(lambda: not any(path.exists() for path in old))
    assert all(path.exists() for path in young)
    moved = topology.output("worker").count("no row names")
    assert moved == len(old)  # each by one worker alone
    in_trash = [path for path in topology.settings.files.trash.rglob("*") if path.name.startswith("job_old")]
    assert len(in_trash) == ORPHANS
    job = topology.job(job_id)
    assert (job.status, job.attempt, job.failures) == (JobStatus.RUNNING, 1, 0)


def test_row_30b_collector_killed_in_its_pass(topology: Topology) -> None:
    topology.api()
    topology.dataset()
    old, young = leave_orphans(topology)
    first = topology.start_worker(FAILPOINT="collecting:kill:100")
    assert first.wait() != 0
    assert any(path.exists() for path in old)
    topology.start_worker()  # takes over when the first one's lease has expired
    topology.until(lambda: not any(path.exists() for path in old))
    assert all(path.exists() for path in young)
