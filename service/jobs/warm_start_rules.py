"""Check that a job can start from the adapter of another one (`init_from`)."""

from __future__ import annotations

from adamss_core.spec import SpecProblem
from adamss_core.spec.class_names import SAME_DATA, head_starts_afresh, match_classes
from adamss_core.spec.job import StartingPoint
from service.http.context import Caller
from service.jobs import repository
from service.jobs.case import Ancestor, Case, DataWarning, Rule
from service.shared.database.tables import TERMINAL
from service.shared.jobs.planned_spec import planned_spec

ADAPTER = "adapter"
SAME = ("task", "problem_type", "base_model", "revision")
# The layers that have A and B, their shape, the basis that they are values in, the rows that B has, and what is trained
# in full beside them.
LAYERS = ("target_modules", "layers_to_transform", "layers_pattern", "modules_to_save")
SHAPES = ("r", "num_subspaces", "subspace_rank", "use_dynamic_rank")
SAME_IN_ADAMSS = (*SHAPES, *LAYERS, "basis", "row_share", "bias")


def find_ancestor(caller: Caller, start: StartingPoint | None) -> Ancestor | None:
    """Look up the job that `init_from` names, in the caller's project."""
    if start is None:
        return None
    with caller.db.read() as session:
        job = repository.find(session, caller.project_id, start.job)
        if job is None:
            return Ancestor(start.job)
        steps = tuple(row.step for row in repository.checkpoints(session, job.id))
        has_adapter = repository.has_artifact(session, job.id, ADAPTER)
        # Another attempt of a job that has not ended would replace the adapter, or remove the checkpoint.
        is_there = has_adapter if start.checkpoint is None else start.checkpoint in steps
        classes = (job.result or {}).get("labels") or ()
        has_start = job.status in TERMINAL and is_there
        spec = planned_spec(job)
        return Ancestor(start.job, job.status, spec, has_start, tuple(classes), start.checkpoint, steps)


def ancestor_exists(case: Case) -> SpecProblem | None:
    if case.ancestor is None or case.ancestor.spec is not None:
        return None
    return SpecProblem("init_from", f"There is no job {case.ancestor.id}. GET /jobs lists yours.", "unknown_job")


def ancestor_has_adapter(case: Case) -> SpecProblem | None:
    ancestor = case.ancestor
    if ancestor is None or ancestor.has_adapter:
        return None
    if ancestor.checkpoint is not None:
        return _no_checkpoint(ancestor, ancestor.checkpoint)
    left_out = ", and its artifacts leave the adapter out" if ancestor.status == "succeeded" else ""
    message = f"Job {ancestor.id} has no adapter to start from: it is {ancestor.status}{left_out}."
    return SpecProblem("init_from", message, "no_adapter")


def _no_checkpoint(ancestor: Ancestor, step: int) -> SpecProblem:
    kept = f"It keeps those of steps {', '.join(map(str, ancestor.steps))}." if ancestor.steps else "It keeps none."
    there = "has not ended" if step in ancestor.steps else f"has no checkpoint of step {step}"
    message = f"Job {ancestor.id} is {ancestor.status} and {there}. {kept}"
    return SpecProblem("init_from.checkpoint", message, "no_checkpoint")


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
