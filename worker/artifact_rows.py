"""Move a run's zips into place and register them, in the transaction of a caller who holds the job's lock."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from adamss_core.fileio.fsync import sync_folder
from adamss_core.training.request import ArtifactFile
from service.shared.database.tables import Artifact, StoredFile, now
from service.shared.storage.home import Home
from service.shared.storage.host_files import HostFiles
from worker.artifact_uploads import ArtifactUploads
from worker.clean_json import clean


def register(
    session: Session,
    files: Home,
    job_id: str,
    artifacts: Iterable[ArtifactFile],
    uploads: ArtifactUploads | None = None,
) -> None:
    """Rename each zip into place and write its row, in the place of one that an earlier attempt left.

    A zip that is in place already, since it was registered as soon as it was complete, stays there.

    Args:
        uploads: has uploaded each of them, where there is a store.
    """
    folder = files.job_artifacts(job_id)
    folder.mkdir(parents=True, exist_ok=True)
    for artifact in artifacts:
        target = _target(session, files, job_id, artifact)
        if artifact.path.exists() or not target.exists():
            artifact.path.replace(target)
        session.merge(
            Artifact(
                job_id=job_id,
                name=artifact.name,
                path=files.relative(target),
                size_bytes=artifact.size_bytes,
                sha256=artifact.sha256,
                manifest=clean(artifact.manifest),
                created_at=now(),
            )
        )
        if uploads is not None:
            uploads.record(session, artifact, target)
    for changed in (folder, folder.parent):
        sync_folder(changed)


def forget_replaced(session: Session, files: HostFiles, home: Home, job_id: str) -> list[str]:
    """Forget what the store has of a job's artifacts that no row names any more; return the keys to discard."""
    named = select(Artifact.path).where(Artifact.job_id == job_id)
    zips = StoredFile.name.startswith(f"{home.relative(home.job_artifacts(job_id))}/", autoescape=True)
    return files.forget(session, StoredFile.owner == job_id, zips, StoredFile.name.not_in(named))


def remove_replaced(session: Session, files: Home, job_id: str) -> None:
    """Delete the zips of a job that has ended which no row names any more."""
    named = set(session.scalars(select(Artifact.path).where(Artifact.job_id == job_id)))
    for path in files.job_artifacts(job_id).glob("*.zip"):
        if files.relative(path) not in named:
            path.unlink(missing_ok=True)


def _target(session: Session, files: Home, job_id: str, artifact: ArtifactFile) -> Path:
    """Return a path of its own for a zip that differs from the registered one: that stays whole until the commit."""
    known = session.get(Artifact, (job_id, artifact.name))
    if known is None:
        return files.artifact(job_id, artifact.name)
    if known.sha256 == artifact.sha256:
        return files.resolve(known.path)
    return files.artifact(job_id, f"{artifact.name}-{artifact.sha256[:12]}")
