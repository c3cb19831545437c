"""What another target would have kept: the recorded scores, ranked again along the recorded mask steps."""

from __future__ import annotations

from dataclasses import dataclass

from adamss_core.spec import AdamssSpec, kept_after
from service.http.context import Caller
from service.jobs import repository
from service.jobs.schemas import ReplayOut, ReplayStepOut
from service.jobs.service import get
from service.shared.database.tables import Json, SubspaceMap
from service.shared.errors import InvalidRequest
from service.shared.jobs.planned_spec import planned_spec

Place = tuple[str, int]  # module, and position in it


@dataclass
class Course:
    """A replay under way.

    Attributes:
        pruned_at: what was pruned, and when; in the order of modules and subspaces, by which ties are broken.
        exact: see `ReplayOut`.
    """

    pruned_at: dict[Place, int | None]
    steps: list[ReplayStepOut]
    exact: bool = True

    @property
    def kept(self) -> list[Place]:
        return [place for place, step in self.pruned_at.items() if step is None]


def replay(caller: Caller, job_id: str, target: int) -> ReplayOut:
    """Raises InvalidRequest where the run has recorded no scores, or the target is more than there is."""
    with caller.db.read() as session:
        job = get(session, caller, job_id)
        adamss = planned_spec(job).adamss
        steps = [step for step in repository.subspace_steps(session, job_id) if step > 0]
        if not adamss.use_asa or not steps:
            raise InvalidRequest(
                "The job has recorded no importances: it trains without ASA, or has not come to its first mask step.",
                code="no_importances",
            )
        course: Course | None = None
        last: SubspaceMap | None = None
        for step in steps:  # one map in memory at a time
            last = repository.subspace_map(session, job_id, step)
            if last is None:  # a newer attempt has begun at an earlier step
                continue
            total: int = last.summary["total"]
            if target > total:
                raise InvalidRequest(f"The job has {total} subspaces; ask for fewer.", code="target", param="target")
            if course is None:
                course = Course(dict.fromkeys(_places(last.summary)), [])
            _mask(course, last, kept_after(adamss.model_copy(update={"asa_target_subspaces": target}), step, total))
            session.expunge(last)
    assert course is not None
    assert last is not None
    return _render(course, last.summary, adamss, target)


def _mask(course: Course, recorded: SubspaceMap, wanted: int) -> None:
    """Keeps the `wanted` highest scores of those that are left; ties go to the earlier module and subspace."""
    modules = recorded.summary["modules"]
    candidates = course.kept
    ranked = sorted(candidates, key=lambda place: -_score(modules[place[0]][place[1]]))
    for place in ranked[wanted:]:
        course.pruned_at[place] = recorded.step
    # A score is the step's own unless the run had pruned the subspace at an earlier step.
    course.exact &= all(_is_fresh(modules[module][index], recorded.step) for module, index in candidates)
    course.steps.append(
        ReplayStepOut(
            step=recorded.step, wanted=wanted, kept=len(course.kept), recorded=int(recorded.summary["active"])
        )
    )


def _score(subspace: Json) -> float:
    return float(subspace["importance"] or 0.0)


def _is_fresh(subspace: Json, step: int) -> bool:
    return bool(subspace["active"]) or subspace["pruned_at"] == step


def _places(summary: Json) -> list[Place]:
    return [(module, index) for module, group in summary["modules"].items() for index in range(len(group))]


def _render(course: Course, summary: Json, adamss: AdamssSpec, target: int) -> ReplayOut:
    modules = {
        module: [
            subspace | {"active": course.pruned_at[module, index] is None, "pruned_at": course.pruned_at[module, index]}
            for index, subspace in enumerate(group)
        ]
        for module, group in summary["modules"].items()
    }
    return ReplayOut(
        target=target,
        recorded_target=min(adamss.asa_target_subspaces, summary["total"]),
        exact=course.exact,
        total=summary["total"],
        active=len(course.kept),
        modules=modules,
        steps=course.steps,
    )
