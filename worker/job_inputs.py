"""Fetch what an attempt needs and its host lacks: data sets, adapters, a base model, and the job's checkpoints."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from sqlalchemy import select

from adamss_core.training.request import KeptCheckpoint, RunRequest
from service.shared.database.engine import Database
from service.shared.database.tables import Job, StoredFile
from service.shared.datasets import dataset_ids
from service.shared.storage.home import Home, JobFolder
from service.shared.storage.host_files import HostFiles
from worker.fetch_events import announce_fetch

logger = logging.getLogger(__name__)


def fetch_inputs(files: HostFiles, home: Home, db: Database, job: Job, request: RunRequest) -> None:
    """Make sure that everything an attempt reads is on this host, whole; nothing is done without a store.

    Raises:
        StorageUnavailable, StoredFileGone, StoredFileDamaged: something is not here, and cannot be fetched.
    """
    if files.store is None:
        return
    block = (job.resolved.get("spec") or job.spec)["dataset"]
    paths = [path for one in dataset_ids(block) for path in (home.dataset_rows(one), home.dataset_images(one))]
    paths += _models(request)
    folder = home.job(job.id)
    kept = _stored(db, home, job.id, folder)
    if not _continues(folder, job.attempt):
        _remove_unknown(folder, kept)
    wanted = [*paths, *kept]
    _announce(files, db, job, request, [path for path in wanted if not path.exists()])
    files.local_all(wanted)


def _announce(files: HostFiles, db: Database, job: Job, request: RunRequest, missing: list[Path]) -> None:
    """Announce what is not here and comes from the store; the base model by its name."""
    sizes = {path: row.size_bytes for path in missing if (row := files.find(path)) is not None}
    if not sizes:
        return
    size = sum(sizes.values())
    rest = f"{len(sizes)} files, {size / 1e6:,.1f} MB"
    if Path(request.model) in sizes:
        message = f"Fetching the base model {request.spec.base_model} and what else this host lacks: {rest}."
        announce_fetch(db, job, "fetching_model", message, "store", size)
    else:
        announce_fetch(db, job, "fetching", f"Fetching what this host lacks: {rest}.", "store", size)


def contender_files(folder: JobFolder) -> list[Path]:
    """Return what another host needs of contenders: their checkpoints, and the results of those that are done."""
    return [path for pattern in ("*/steps/step-*", "*/entry.json") for path in folder.comparison.glob(pattern)]


def _models(request: RunRequest) -> list[Path]:
    """Return what the run loads: a base model that is a folder, and an adapter or checkpoint of another job."""
    start = request.init_from.folder if isinstance(request.init_from, KeptCheckpoint) else request.init_from
    evaluated = None if request.evaluates is None else request.evaluates.archive
    base = Path(request.model) if Path(request.model).is_absolute() else None
    return [path for path in (start, evaluated, base) if path is not None]


def _stored(db: Database, home: Home, job_id: str, folder: JobFolder) -> list[Path]:
    """Return checkpoints of the job and files of its contenders, as far as the store has them."""
    with db.read() as session:
        names = session.scalars(select(StoredFile.name).where(StoredFile.owner == job_id)).all()
    roots = (folder.checkpoints, folder.comparison)
    return [path for path in map(home.resolve, names) if any(path.is_relative_to(root) for root in roots)]


def _continues(folder: JobFolder, attempt: int) -> bool:
    """Return whether the attempt before this one ran on this host, as far as it came to a step."""
    try:
        return int(folder.step.read_text().split()[0]) == attempt - 1
    except (OSError, ValueError, IndexError):
        return False


def _remove_unknown(folder: JobFolder, known: list[Path]) -> None:
    """Remove what another host has not resumed from: the job has taken another way since."""
    for path in (*folder.checkpoints.glob("*"), *contender_files(folder)):
        if path in known:
            continue
        logger.info("removing %s: the job has run elsewhere since", path)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
