"""Makes the artifacts of a run visible: files and rows appear together with the end of the job, or not at all."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.orm import Session

from adamss_core.failpoints import failpoint
from adamss_core.fileio.fsync import sync_folder
from adamss_core.training.request import RunResult
from service.shared.database.engine import Database
from service.shared.database.tables import Artifact, Job, JobStatus, WorstExample, now
from service.shared.jobs import states
from worker.clean_json import clean


def publish(db: Database, home: Path, job_id: str, attempt: int, result: RunResult) -> bool:
    """Renames the zips into place and registers them in the transaction that ends the job.

    The job's row is locked before the first rename, so a stale attempt never touches the files of a newer one. When
    the transaction breaks off, its files stay where no row names them: calling this again goes on from there, and a
    sweeper removes what is never registered.

    Returns:
        False where the job was cancelled or taken away meanwhile; the zips are gone then, and nothing was published.
    """
    folder = home / "artifacts" / job_id
    with db.write() as session:
        won = states.succeed(session, job_id, attempt, clean(result.result))
        if won:
            _register(session, folder, job_id, result)
            session.add_all(
                WorstExample(job_id=job_id, place=place, **clean(row))
                for place, row in enumerate(result.worst, start=1)
            )
            session.flush()
            failpoint("before_commit")
        elif _already_done(session, job_id, attempt):  # the connection broke after the commit, before its answer
            return True
    if not won:
        for artifact in result.artifacts:
            artifact.path.unlink(missing_ok=True)
    return won


def _register(session: Session, folder: Path, job_id: str, result: RunResult) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for artifact in result.artifacts:
        target = folder / f"{artifact.name}.zip"
        if artifact.path.exists() or not target.exists():
            artifact.path.replace(target)
        session.add(
            Artifact(
                job_id=job_id,
                name=artifact.name,
                path=f"artifacts/{job_id}/{target.name}",
                size_bytes=artifact.size_bytes,
                sha256=artifact.sha256,
                manifest=clean(artifact.manifest),
                created_at=now(),
            )
        )
    for changed in (folder, folder.parent):
        sync_folder(changed)


def _already_done(session: Session, job_id: str, attempt: int) -> bool:
    job = session.get(Job, job_id, populate_existing=True)
    return job is not None and job.status == JobStatus.SUCCEEDED and job.attempt == attempt
