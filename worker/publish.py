"""End a job with the outcome of its run: result, evaluation and metrics appear together with the end, or not at all.

The model's artifacts were registered as soon as each was complete (`report_store.py`), and are so again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from adamss_core.failpoints import failpoint
from adamss_core.training.request import RunResult
from service.shared.database.engine import Database
from service.shared.database.tables import Evaluation, HardestExample, Job, JobStatus, Spectrum, now
from service.shared.jobs import states
from service.shared.storage.home import Home
from worker.artifact_rows import forget_replaced, register, remove_replaced
from worker.artifact_uploads import ArtifactUploads
from worker.clean_json import clean
from worker.failures import Failure


def publish(
    db: Database,
    home: Path,
    job_id: str,
    attempt: int,
    result: RunResult,
    error: Failure | None = None,
    uploads: ArtifactUploads | None = None,
) -> bool:
    """Rename the zips into place and register them in the transaction that ends the job.

    The job's row is locked before the first rename, so a stale attempt never touches the files of a newer one. When
    the transaction fails, its files stay unregistered: another call registers them, or a sweeper removes them.

    Args:
        error: of an artifact that failed, or of the time limit; the job fails by it, and the (other) artifacts are
            published.

        uploads: of the artifacts to the store, if there is one.

    Raises:
        StorageUnavailable: an artifact could not be uploaded; nothing was changed.

    Returns:
        False if the job was cancelled or the lease lost: zips that are not registered are deleted then.
    """
    files = Home(home)
    if uploads is not None:
        uploads.upload(result.artifacts, files.job_artifacts(job_id))
    with db.write() as session:
        won = _end(session, job_id, attempt, result, error)
        if won:
            register(session, files, job_id, result.artifacts, uploads)
            for table in (HardestExample, Evaluation):  # of an end before the job was resumed
                session.execute(delete(table).where(table.job_id == job_id))
            session.add_all(
                HardestExample(job_id=job_id, place=place, **clean(row))
                for place, row in enumerate(result.hardest, start=1)
            )
            session.add_all(
                Evaluation(job_id=job_id, place=place, report=clean(report))
                for place, report in enumerate(result.evaluation, start=1)
            )
            if result.spectrum is not None:
                _keep_spectrum(session, job_id, result.spectrum)
            session.flush()
            failpoint("before_commit")
        elif _already_done(session, job_id, attempt, error):  # the connection broke between the commit and its response
            return True
    if not won:
        for artifact in result.artifacts:
            artifact.path.unlink(missing_ok=True)
        return False
    with db.read() as session:
        remove_replaced(session, files, job_id)
    if uploads is not None:
        with db.write() as session:
            keys = forget_replaced(session, uploads.files, files, job_id)
        uploads.files.discard(keys)
    return True


def _keep_spectrum(session: Session, job_id: str, report: dict[str, Any]) -> None:
    job = session.get_one(Job, job_id)
    inspects = job.resolved["inspects"]
    row = Spectrum(
        key=job.inspects,
        model=inspects["model"],
        revision=inspects["revision"],
        dataset_id=inspects["dataset"],
        report=clean(report),
        measured_at=now(),
    )
    session.merge(row)


def _end(session: Session, job_id: str, attempt: int, result: RunResult, error: Failure | None) -> bool:
    if error is None:
        return states.succeed(session, job_id, attempt, clean(result.result))
    ended = states.fail(session, job_id, attempt, dict(error), clean(result.result))
    return ended and _already_done(session, job_id, attempt, error)  # not cancelled instead


def _already_done(session: Session, job_id: str, attempt: int, error: Failure | None) -> bool:
    job = session.get(Job, job_id, populate_existing=True)
    status = JobStatus.SUCCEEDED if error is None else JobStatus.FAILED
    return job is not None and job.status == status and job.attempt == attempt


def is_last_attempt(db: Database, job_id: str) -> bool:
    """Return whether a failure now would end the job."""
    with db.read() as session:
        job = session.get(Job, job_id)
        return job is None or job.failures >= job.retries
