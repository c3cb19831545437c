"""From a job's row to what the training run is given."""

from __future__ import annotations

from pathlib import Path

from adamss_core.spec import JobSpec
from adamss_core.training.request import RunRequest
from service.settings import Settings
from service.tables import Job

FILE = "request.json"


def job_folder(settings: Settings, job_id: str) -> Path:
    """Log, checkpoints and work files of a job."""
    return settings.folder("jobs") / job_id


def build_request(job: Job, settings: Settings) -> RunRequest:
    """Everything a run needs to know; no secrets.

    Raises:
        pydantic.ValidationError: the row's spec is not one that this version understands.
    """
    spec = JobSpec.model_validate(job.resolved.get("spec") or job.spec)
    # Planned numbers count all rows; the run derives its own from those that it trains on.
    adamss = spec.adamss.model_copy(update=dict.fromkeys(job.resolved.get("auto", []), "auto"))
    spec = spec.model_copy(
        update={"adamss": adamss, "webhook": None}
    )  # its address may be a secret, and manifests carry the spec
    datasets = settings.resolved_home / "datasets"
    held_out = spec.dataset.eval
    local = settings.resolved_home / "models" / spec.base_model
    return RunRequest(
        job_id=job.id,
        spec=spec,
        train_file=datasets / f"{spec.dataset.train}.jsonl",
        eval_file=datasets / f"{held_out}.jsonl" if held_out else None,
        # A folder wins over the hub, and a name without organisation is a folder even where it is missing: the run
        # then fails by saying so, rather than by fetching something else of that name.
        model=str(local) if local.is_dir() or "/" not in spec.base_model else spec.base_model,
        revision=None if local.is_dir() else spec.revision,
        folder=job_folder(settings, job.id),
        cache=settings.folder("cache/decompositions"),
        keep_checkpoints=settings.keep_checkpoints,
        init_from=settings.resolved_home / "artifacts" / spec.init_from / "adapter.zip" if spec.init_from else None,
    )


def needed_bytes(job: Job, settings: Settings) -> int:
    """What the run will take on disk, by the estimate: checkpoints, and artifacts written out and zipped."""
    sizes: dict[str, int | None] = job.resolved.get("estimate", {}).get("artifact_bytes", {})
    checkpoint = 3 * (sizes.get("adapter") or 0)  # the adapter, and two moments for each of its parameters
    return 2 * sum(size or 0 for size in sizes.values()) + (settings.keep_checkpoints + 2) * checkpoint
