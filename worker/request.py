"""Build the request of a training run from the job's row."""

from __future__ import annotations

from pathlib import Path

from adamss_core.spec.job import StartingPoint
from adamss_core.training.request import KeptCheckpoint, PublishedModel, RunRequest
from service.shared.added_models import added_folder
from service.shared.database.engine import Database
from service.shared.database.tables import Artifact, Checkpoint, Job
from service.shared.jobs.job_queries import model_artifact
from service.shared.jobs.planned_spec import planned_spec
from service.shared.settings import Settings
from service.shared.storage.home import Home


def build_request(db: Database, job: Job, settings: Settings) -> RunRequest:
    """Build the request; it holds no secrets.

    Raises:
        pydantic.ValidationError: this version does not understand the row's spec.
    """
    spec = planned_spec(job)
    # Planned numbers count all rows; the run derives its own from those that it trains on.
    adamss = spec.adamss.model_copy(update=dict.fromkeys(job.resolved.get("auto", []), "auto"))
    # The webhook's address may be a secret, and manifests carry the spec.
    spec = spec.model_copy(update={"adamss": adamss, "webhook": None})
    files = settings.files
    held_out = spec.dataset.eval
    train_file, *more = (files.dataset_rows(one.id) for one in spec.dataset.training_sets)
    with db.read() as session:
        added = added_folder(session, files, job.project_id, spec.base_model)
    local = added or files.model(spec.base_model)
    is_folder = added is not None or local.is_dir()
    return RunRequest(
        job_id=job.id,
        spec=spec,
        train_file=train_file,
        more_train_files=tuple(more),
        eval_file=files.dataset_rows(held_out) if held_out else None,
        # A folder wins over the hub. A name without organisation is a folder even if that is missing: the run then
        # fails and says so, instead of fetching another model of that name.
        model=str(local) if is_folder or "/" not in spec.base_model else spec.base_model,
        revision=None if is_folder else spec.revision,
        folder=files.job(job.id).path,
        cache=files.decompositions,
        keep_checkpoints=settings.keep_checkpoints,
        test_file=files.dataset_rows(spec.dataset.test) if spec.dataset.test else None,
        init_from=_start_of(db, spec.starting_point, files),
        publishes=_checkpoint_folder(db, spec.starting_point, files) if "publishes" in job.resolved else None,
        evaluates=_evaluated(db, job, files),
        inspects=job.inspects is not None,
        operator_limit=settings.job_time_limit_seconds,
    )


def _evaluated(db: Database, job: Job, files: Home) -> PublishedModel | None:
    """Return the model that the job evaluates; None for a job that trains one."""
    if job.evaluates is None:
        return None
    is_base = job.resolved["evaluates"]["model"] == "base"
    with db.read() as session:
        artifact = model_artifact(session, job.evaluates)
    if artifact is None:  # the run misses the file, and says so
        return PublishedModel(files.artifact(job.evaluates, "adapter"), "", is_base)
    return PublishedModel(files.resolve(artifact.path), artifact.sha256, is_base)


def _start_of(db: Database, start: StartingPoint | None, files: Home) -> Path | KeptCheckpoint | None:
    """Return the adapter or the checkpoint that a job starts from."""
    if start is None or start.checkpoint is None:
        return None if start is None else _adapter_of(db, start.job, files)
    with db.read() as session:
        ancestor = session.get(Job, start.job)
    if ancestor is None:  # deleted since; the run misses the file, and says so
        return files.artifact(start.job, "adapter")
    adamss = planned_spec(ancestor).adamss.model_dump(mode="json")
    classes = tuple((ancestor.result or {}).get("labels") or ())
    return KeptCheckpoint(_checkpoint_folder(db, start, files), adamss, classes)


def _checkpoint_folder(db: Database, start: StartingPoint | None, files: Home) -> Path:
    """Return the folder of a checkpoint; a place where none is, where no row names it."""
    assert start is not None
    with db.read() as session:
        row = session.get(Checkpoint, (start.job, start.checkpoint))
    folder = files.job(start.job)
    return folder.checkpoints / f"step-{start.checkpoint}" if row is None else folder.path / row.path


def _adapter_of(db: Database, job_id: str, files: Home) -> Path:
    """Return the zip of a finished job's adapter; its usual place where no row names one, for the run to miss it."""
    with db.read() as session:
        artifact = session.get(Artifact, (job_id, "adapter"))
    return files.artifact(job_id, "adapter") if artifact is None else files.resolve(artifact.path)


def needed_bytes(job: Job, settings: Settings) -> int:
    """Return the estimated disk use of the run in bytes: checkpoints, and artifacts written out and zipped."""
    sizes: dict[str, int | None] = job.resolved.get("estimate", {}).get("artifact_bytes", {})
    checkpoint = 3 * (sizes.get("adapter") or 0)  # the adapter, and two moments for each of its parameters
    # With contenders each zip is written once more, with their numbers in its card, before the first one is removed.
    copies = 3 if planned_spec(job).compare else 2
    return copies * sum(size or 0 for size in sizes.values()) + (settings.keep_checkpoints + 2) * checkpoint
