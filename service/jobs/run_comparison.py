"""Compare two runs: what differs in their specs, their metrics, and whether the same rows show a difference."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from service.http.context import Caller
from service.http.openapi import Out
from service.jobs import repository, schemas
from service.jobs.paired_test import PairedTestOut, paired_test
from service.jobs.schemas import JudgementOut
from service.jobs.service import get
from service.shared.database.tables import Job, Json, PinnedBaseline
from service.shared.errors import NotFound

NOT_COMPARED = frozenset({"name", "webhook", "priority", "retention", "retries"})  # nothing of the training


class DifferenceOut(Out):
    """A field of the specs that differs."""

    field: str
    """Its path."""
    job: Any
    """Its value in the job; null where it has none."""
    other: Any
    """Its value in the other job."""


class ComparedMetricOut(Out):
    """A metric of both jobs."""

    name: str
    """Its name, such as eval_accuracy."""
    job: float | None
    """Of the job's published model."""
    other: float | None
    """Of the other job's."""
    difference: float | None
    """The job's less the other's."""


class RunComparisonOut(Out):
    """Two runs beside each other; `GET /jobs/{id}/metrics` has the curves of each."""

    job: str
    """The job."""
    other: str
    """The job that it is compared with."""
    is_baseline: bool
    """Whether that one is the pinned baseline."""
    differences: list[DifferenceOut]
    """Fields of the plans' specs that differ."""
    metrics: list[ComparedMetricOut]
    """Metrics that either has."""
    judgements: list[JudgementOut | None]
    """The metric of the job and of the other, each with its interval; null before the end."""
    paired: PairedTestOut | None
    """Whether the rows that both were evaluated on show a difference."""
    not_paired: str | None
    """Why there is no paired test; null where there is one."""


def compare(caller: Caller, job_id: str, other_id: str | None) -> RunComparisonOut:
    """Compare a job with another one, by default with the baseline of its group, else of the project.

    Raises:
        NotFound: one of the jobs does not exist in this project, or no baseline is pinned.
    """
    with caller.db.read() as session:
        job = get(session, caller, job_id)
        baseline = repository.find_baseline(session, job)
        if other_id is None and baseline is None:
            message = 'No baseline is pinned. Name a job (?with=…), or pin one: PATCH /jobs/{id} {"baseline": true}.'
            raise NotFound(message, code="no_baseline", param="with")
        other = get(session, caller, other_id or str(baseline))
        reports = [repository.evaluation_reports(session, one.id) for one in (job, other)]
        tested = paired_test(job, other, *reports)
        return RunComparisonOut(
            job=job.id,
            other=other.id,
            is_baseline=other.id == baseline,
            differences=_differences(job, other),
            metrics=_metrics(job.result or {}, other.result or {}),
            judgements=[schemas.render(one).judgement for one in (job, other)],
            paired=None if isinstance(tested, str) else tested,
            not_paired=tested if isinstance(tested, str) else None,
        )


def pin(session: Session, job: Job, *, pinned: bool) -> None:
    """Make a job the baseline of its group, of the project where it is in none; or let it be one no more."""
    if not pinned:
        session.execute(delete(PinnedBaseline).where(PinnedBaseline.job_id == job.id))
        return
    session.merge(PinnedBaseline(project_id=job.project_id, group_name=job.group_name or "", job_id=job.id))


def _differences(job: Job, other: Job) -> list[DifferenceOut]:
    ours, theirs = (_flat(one.resolved.get("spec", {})) for one in (job, other))
    paths = sorted(path for path in ours | theirs if path.partition(".")[0] not in NOT_COMPARED)
    return [
        DifferenceOut(field=path, job=ours.get(path), other=theirs.get(path))
        for path in paths
        if ours.get(path) != theirs.get(path)
    ]


def _flat(block: Json, before: str = "") -> Json:
    found: Json = {}
    for name, value in block.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return found


def _metrics(ours: Json, theirs: Json) -> list[ComparedMetricOut]:
    names = [name for name in ours | theirs if name.startswith(("eval_", "test_")) and not name.endswith("_rows")]
    found = []
    for name in names:
        one, two = _number(ours.get(name)), _number(theirs.get(name))
        difference = None if one is None or two is None else one - two
        found.append(ComparedMetricOut(name=name, job=one, other=two, difference=difference))
    return found


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None
