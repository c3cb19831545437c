"""Data sets as API and worker see them: which jobs use one, and its removal from the lists."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from adamss_core.spec.job import training_ids_of
from service.shared.database.tables import Dataset, Job, now


def dataset_ids(block: dict[str, Any]) -> set[str]:
    """Return the ids in the `dataset` block of a stored spec."""
    named = (*training_ids_of(block), block.get("eval"), block.get("test"))
    return {one for one in named if one is not None}


def uses_dataset(job: Job, dataset_id: str) -> bool:
    """Return whether a job trains or evaluates on a data set."""
    return dataset_id in dataset_ids((job.resolved.get("spec") or job.spec)["dataset"])


def mark_deleted(session: Session, dataset: Dataset) -> None:
    """Take a locked data set off the lists, and from the splits that were uploaded with it: the file is then read anew
    if it comes again. The caller removes its files."""
    for other_id in dataset.profile.get("splits", {}).values():
        other = session.get(Dataset, other_id, with_for_update=True) if other_id != dataset.id else None
        if other is not None and other.deleted_at is None and other.project_id == dataset.project_id:
            left = {split: one for split, one in other.profile["splits"].items() if one != dataset.id}
            other.profile = other.profile | {"splits": left}
            other.source = None
    dataset.deleted_at = now()
    dataset.profile = {}  # its preview holds rows
