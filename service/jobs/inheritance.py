"""May a job start from the adapter of another one?"""

from __future__ import annotations

from adamss_core.spec import JobSpec
from service.http.context import Caller
from service.jobs import repository
from service.shared.errors import InvalidRequest

ADAPTER = "adapter"
SAME = ("r", "num_subspaces", "subspace_rank", "use_dynamic_rank", "target_modules")  # what shapes an adapter


def check_init_from(caller: Caller, spec: JobSpec) -> None:
    """Raises InvalidRequest for a job of another project, one without an adapter, or one that is shaped otherwise."""
    if spec.init_from is None:
        return
    with caller.db.read() as session:
        job = repository.find(session, caller.project_id, spec.init_from)
        found = job is not None and repository.has_artifact(session, job.id, ADAPTER)
        fields = None if job is None else job.resolved.get("spec") or job.spec
    if job is None or fields is None:
        raise _refused(f"There is no job {spec.init_from}. GET /jobs lists yours.", "unknown_job")
    if not found:
        raise _refused(
            f"Job {job.id} has no adapter to start from: it is {job.status}"
            f"{', and its artifacts leave the adapter out' if job.status == 'succeeded' else ''}.",
            "no_adapter",
        )
    other = JobSpec.model_validate(fields)
    for name in ("task", "problem_type", "base_model", "revision"):
        _require_same(name, getattr(spec, name), getattr(other, name), job.id)
    for name in SAME:
        _require_same(f"adamss.{name}", getattr(spec.adamss, name), getattr(other.adamss, name), job.id)


def _require_same(name: str, mine: object, theirs: object, job_id: str) -> None:
    if mine != theirs:
        raise InvalidRequest(
            f"{name} is {mine!r} here, but {theirs!r} in job {job_id}, whose adapter this job is to start from. Give "
            "both the same value, or leave init_from out.",
            code="init_from_differs",
            param=name,
        )


def _refused(message: str, code: str) -> InvalidRequest:
    return InvalidRequest(message, code=code, param="init_from")
