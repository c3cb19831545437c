"""Remove what is kept no longer: artifacts, checkpoints and logs of ended jobs, and data sets that nobody uses.

Rows go first, under the lock that submits take too, then the files go to the home folder's trash. Where the process
dies in between, the file collector finds files that no row names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import delete, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.shared.database.engine import Database
from service.shared.database.tables import TERMINAL, Artifact, AuditEntry, Checkpoint, Dataset, Job, StoredFile, now
from service.shared.datasets import mark_deleted
from service.shared.expiries import Expiry, expiries, is_needed, is_used, kept_until, models_of
from service.shared.jobs import states
from service.shared.registrations import registered_as
from service.shared.settings import Settings
from service.shared.storage.host_files import HostFiles
from service.shared.storage.trash import Trash
from worker.duty_lease import DutyLease, DutyLost
from worker.periodic_thread import PeriodicThread

logger = logging.getLogger(__name__)

AUTHOR = "retention"
RETENTION_SECONDS = 3_600.0  # between two looks at everything that has an end
_WORDS = {
    "artifacts": "The model's artifacts were",
    "checkpoints": "The checkpoints were",
    "logs": "The training log was",
}


class Retention(PeriodicThread):
    """Remove what `service.shared.expiries` says is kept no longer, in a thread; one worker does it at a time.

    Args:
        seconds: between two looks at the duty, which is done once an hour.
        pass_seconds: until another worker takes over from one that died in its pass.
    """

    def __init__(
        self,
        settings: Settings,
        db: Database,
        host_files: HostFiles | None = None,
        *,
        seconds: float,
        pass_seconds: float,
    ) -> None:
        super().__init__("retention", seconds)
        self._host_files = host_files or HostFiles(settings.files, db, None)
        self._settings, self._db, self._files = settings, db, settings.files
        self._trash = Trash(settings.files)
        self._duty = DutyLease(db, AUTHOR, seconds=RETENTION_SECONDS, pass_seconds=pass_seconds)

    def round(self) -> None:
        try:
            if self._duty.take():
                self.apply(self._duty.renew)
                self._duty.end()
        except DutyLost:
            logger.warning("retention: another worker has taken over")
        except (SQLAlchemyError, OSError) as error:
            logger.warning("retention: put off: %r", error)

    def apply(self, alive: Callable[[], object] = lambda: None) -> list[Expiry]:
        """Remove everything whose time is over, but what unfinished jobs need; return what was removed.

        Args:
            alive: called before each removal.
        """
        moment = now()
        with self._db.read() as session:
            over = [one for one in expiries(self._settings, session) if one.until <= moment]
        removed = []
        for expiry in over:
            if self._closing:
                break
            alive()
            if self._remove(expiry):
                removed.append(expiry)
        return removed

    def _remove(self, expiry: Expiry) -> bool:
        with self._db.write() as session:
            forget = self._forget_dataset if expiry.kind == "dataset" else self._forget
            paths = forget(session, expiry)
            keys = self._forget_stored(session, expiry, paths)
        for path in paths:
            self._trash.move(path)
        self._host_files.discard(keys)
        if paths:
            logger.info("%s of %s were kept until %s", expiry.kind, expiry.id, expiry.until)
        return bool(paths)

    def _forget_stored(self, session: Session, expiry: Expiry, paths: Sequence[Path]) -> list[str]:
        """Forget what the store has below the paths; return the keys to discard."""
        if not paths:
            return []
        names = [self._files.relative(path) for path in paths]
        # Of a folder its files, of a log its chunks.
        below = (StoredFile.name.startswith(f"{name}{end}", autoescape=True) for name in names for end in "/@")
        named = or_(StoredFile.name.in_(names), *below)
        return self._host_files.forget(session, StoredFile.owner == expiry.id, named)

    def _forget(self, session: Session, expiry: Expiry) -> Sequence[Path]:
        """Delete the rows of a job's files, write the event and return the files; none where a job needs them."""
        job = session.execute(select(Job).where(Job.id == expiry.id).with_for_update()).scalar_one_or_none()
        if job is None or job.status not in TERMINAL or self._is_kept(job, expiry):
            return []
        folder = self._files.job(job.id)
        if expiry.kind == "artifacts":
            if is_needed(session, job) or registered_as(session, job.id):
                return []
            rows = list(session.scalars(select(Artifact).where(*models_of(job.id))))
            paths = [self._files.resolve(row.path) for row in rows]
            session.execute(delete(Artifact).where(*models_of(job.id)))
        elif expiry.kind == "checkpoints":
            if is_needed(session, job):
                return []
            session.execute(delete(Checkpoint).where(Checkpoint.job_id == job.id))
            paths = [folder.checkpoints]
        else:
            paths = [folder.log]
        data = {"what": expiry.kind, "size_bytes": expiry.size_bytes, "kept_until": expiry.until.isoformat()}
        states.add_event(session, job, AUTHOR, f"{_WORDS[expiry.kind]} removed: the time to keep them is over.", data)
        return paths

    def _is_kept(self, job: Job, expiry: Expiry) -> bool:
        """Return whether the job has ended anew since the look at it."""
        assert expiry.kind != "dataset"
        until = kept_until(self._settings, expiry.kind, job.ended_at, job.spec.get("retention"))
        return until is None or until > now()

    def _forget_dataset(self, session: Session, expiry: Expiry) -> Sequence[Path]:
        """Take a data set off the lists, audit that, and return its files; none where it is used."""
        dataset = session.get(Dataset, expiry.id, with_for_update=True)
        if dataset is None or dataset.deleted_at is not None or is_used(session, dataset):
            return []
        entry = {"project_id": dataset.project_id, "action": "remove data set", "path": dataset.id}
        session.add(AuditEntry(time=now(), key_name=AUTHOR, **entry))
        mark_deleted(session, dataset)
        return self._files.dataset_paths(expiry.id)
