"""Replay pruning for another target: rank the recorded scores again at the recorded mask steps."""

from __future__ import annotations

from dataclasses import dataclass

from adamss_core.spec import AdamssSpec, kept_after
from service.http.context import Caller
from service.jobs import repository
from service.jobs.report_schemas import ReplayOut, ReplayStepOut
from service.jobs.service import get
from service.shared.database.tables import Json, SubspaceMap
from service.shared.errors import InvalidRequest
from service.shared.jobs.planned_spec import planned_spec

Subspace = tuple[str, int]  # module, and position in it


@dataclass
class ReplayState:
    """The state of a replay between two mask steps.

    Attributes:
        pruned_at: subspace -> step at which it was pruned, None while it is active; in the order of modules and
            subspaces, by which ties are broken.
        exact: see `ReplayOut`.
    """

    pruned_at: dict[Subspace, int | None]
    steps: list[ReplayStepOut]
    exact: bool = True

    @property
    def active(self) -> list[Subspace]:
        return [subspace for subspace, step in self.pruned_at.items() if step is None]


def replay(caller: Caller, job_id: str, target: int) -> ReplayOut:
    """Return the subspaces that another target would have kept.

    Raises:
        InvalidRequest: the run has recorded no scores, or has fewer subspaces than the target.
    """
    with caller.db.read() as session:
        job = get(session, caller, job_id)
        adamss = planned_spec(job).adamss
        steps = [step for step in repository.subspace_steps(session, job_id) if step > 0]
        if not adamss.use_asa or not steps:
            raise InvalidRequest(
                "The job has recorded no importances: it trains without ASA, or has not come to its first mask step.",
                code="no_importances",
            )
        state: ReplayState | None = None
        last: SubspaceMap | None = None
        for step in steps:  # one map in memory at a time
            last = repository.subspace_map(session, job_id, step)
            if last is None:  # a newer attempt has begun at an earlier step
                continue
            total: int = last.summary["total"]
            if target > total:
                raise InvalidRequest(f"The job has {total} subspaces; ask for fewer.", code="target", param="target")
            if state is None:
                state = ReplayState(dict.fromkeys(_subspaces(last.summary)), [])
            _mask(state, last, kept_after(adamss.model_copy(update={"asa_target_subspaces": target}), step, total))
            session.expunge(last)
    assert state is not None
    assert last is not None
    return _render(state, last.summary, adamss, target)


def _mask(state: ReplayState, recorded: SubspaceMap, wanted: int) -> None:
    """Keep the `wanted` highest scores of the active subspaces; ties go to the earlier module and subspace."""
    modules = recorded.summary["modules"]
    candidates = state.active
    ranked = sorted(candidates, key=lambda subspace: -_score(modules[subspace[0]][subspace[1]]))
    for subspace in ranked[wanted:]:
        state.pruned_at[subspace] = recorded.step
    # A score is the step's own unless the run had pruned the subspace at an earlier step.
    state.exact &= all(_is_fresh(modules[module][index], recorded.step) for module, index in candidates)
    state.steps.append(
        ReplayStepOut(
            step=recorded.step, wanted=wanted, kept=len(state.active), recorded=int(recorded.summary["active"])
        )
    )


def _score(subspace: Json) -> float:
    return float(subspace["importance"] or 0.0)


def _is_fresh(subspace: Json, step: int) -> bool:
    return bool(subspace["active"]) or subspace["pruned_at"] == step


def _subspaces(summary: Json) -> list[Subspace]:
    return [(module, index) for module, group in summary["modules"].items() for index in range(len(group))]


def _render(state: ReplayState, summary: Json, adamss: AdamssSpec, target: int) -> ReplayOut:
    modules = {
        module: [
            subspace | {"active": state.pruned_at[module, index] is None, "pruned_at": state.pruned_at[module, index]}
            for index, subspace in enumerate(group)
        ]
        for module, group in summary["modules"].items()
    }
    return ReplayOut(
        target=target,
        recorded_target=min(adamss.asa_target_subspaces, summary["total"]),
        exact=state.exact,
        total=summary["total"],
        active=len(state.active),
        modules=modules,
        steps=state.steps,
    )
