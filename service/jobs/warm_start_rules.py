"""Check that a job can start from the adapter of another one (`init_from`)."""

from __future__ import annotations

from adamss_core.spec import SpecProblem
from adamss_core.spec.class_names import SAME_DATA, head_starts_afresh, match_classes
from service.http.context import Caller
from service.jobs import repository
from service.jobs.case import Ancestor, Case, DataWarning, Rule
from service.shared.database.tables import TERMINAL
from service.shared.jobs.planned_spec import planned_spec

ADAPTER = "adapter"
SAME = ("task", "problem_type", "base_model", "revision")
# The shape of A and B, the basis that they are values in, and the rows that B has.
SHAPES = ("r", "num_subspaces", "subspace_rank", "use_dynamic_rank", "target_modules")
SAME_IN_ADAMSS = (*SHAPES, "basis", "row_share", "bias")


def find_ancestor(caller: Caller, job_id: str | None) -> Ancestor | None:
    """Look up the job that `init_from` names, in the caller's project."""
    if job_id is None:
        return None
    with caller.db.read() as session:
        job = repository.find(session, caller.project_id, job_id)
        if job is None:
            return Ancestor(job_id)
        # Another attempt of a job that has not ended would replace the adapter.
        has_adapter = job.status in TERMINAL and repository.has_artifact(session, job.id, ADAPTER)
        classes = (job.result or {}).get("labels") or ()
        return Ancestor(job_id, job.status, planned_spec(job), has_adapter, tuple(classes))


def ancestor_exists(case: Case) -> SpecProblem | None:
    if case.ancestor is None or case.ancestor.spec is not None:
        return None
    return SpecProblem("init_from", f"There is no job {case.ancestor.id}. GET /jobs lists yours.", "unknown_job")


def ancestor_has_adapter(case: Case) -> SpecProblem | None:
    ancestor = case.ancestor
    if ancestor is None or ancestor.has_adapter:
        return None
    left_out = ", and its artifacts leave the adapter out" if ancestor.status == "succeeded" else ""
    message = f"Job {ancestor.id} has no adapter to start from: it is {ancestor.status}{left_out}."
    return SpecProblem("init_from", message, "no_adapter")


def ancestor_has_same_shape(case: Case) -> SpecProblem | None:
    if case.ancestor is None or case.ancestor.spec is None:
        return None
    mine, theirs = case.spec, case.ancestor.spec
    pairs = {name: (getattr(mine, name), getattr(theirs, name)) for name in SAME}
    pairs |= {f"adamss.{name}": (getattr(mine.adamss, name), getattr(theirs.adamss, name)) for name in SAME_IN_ADAMSS}
    for name, (here, there) in pairs.items():
        if here != there:
            return SpecProblem(
                name,
                f"{name} is {here!r} here, but {there!r} in job {case.ancestor.id}, whose adapter this job is to start "
                "from. Give both the same value, or leave init_from out.",
                "init_from_differs",
            )
    return None


def ancestor_has_same_classes(case: Case) -> list[str]:
    """Warn that the head of the ancestor is not taken over for other classes."""
    if case.ancestor is None or not case.ancestor.classes or not case.training_rows.labels:
        return []
    theirs, mine = case.ancestor.classes, list(case.training_rows.labels)
    if match_classes(theirs, mine) is not None:
        return []
    return [head_starts_afresh(f"Job {case.ancestor.id}, which init_from names,", theirs, mine, SAME_DATA)]


WARM_START_RULES: tuple[Rule, ...] = (ancestor_exists, ancestor_has_adapter, ancestor_has_same_shape)
WARM_START_WARNINGS: tuple[DataWarning, ...] = (ancestor_has_same_classes,)
