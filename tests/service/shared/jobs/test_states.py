from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import product
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.shared.database.tables import LEASED, Event, Job, JobStatus, now
from service.shared.errors import Conflict
from service.shared.jobs import states
from service.shared.jobs.states.transitions import TRANSITIONS
from tests.service.support import Service, run_job, status_of

ROOM = Path(states.__file__).parent
SOURCES = [Path(__file__).parents[4] / package for package in ("service", "worker")]
EVENTS = {
    "queued", "started", "succeeded", "failed", "cancelled", "cancelling", "paused", "pausing", "resumed", "requeued",
    "worker_lost", "stopping",
}  # fmt: skip
ERROR = {"code": "nan_loss", "message": "The loss is not a number.", "hint": "Lower the rate."}
FUNCTIONS: dict[str, Callable[[Session, Job], object]] = {
    "claim": lambda session, job: states.claim(session, job.id, "worker-1", 60.0),
    "pause": states.pause,
    "cancel": states.cancel,
    "resume": states.resume,
    "renew": lambda session, job: states.renew(session, job.id, 1, 60.0),
    "succeed": lambda session, job: states.succeed(session, job.id, 1, {}),
    "fail": lambda session, job: states.fail(session, job.id, 1, ERROR),
    "give_back": lambda session, job: states.give_back(session, job.id, 1, charge=True, error=ERROR),
    "stop_early": lambda session, job: states.stop_early(session, job, {}, "halving"),
    "expire_leases": lambda session, job: states.expire_leases(session),
}


def last_event(service: Service, job_id: str) -> tuple[str, str, dict[str, object]]:
    with service.db.read() as session:
        newest = select(Event).where(Event.job_id == job_id).order_by(Event.seq.desc()).limit(1)
        event = session.scalars(newest).one()
        return event.type, event.message, event.data


def test_each_end_of_an_attempt_writes_its_event(any_service: Service) -> None:
    ids = [any_service.submit()["id"] for _ in range(4)]
    for job_id in ids:
        run_job(any_service, job_id)
        assert last_event(any_service, job_id) == ("started", "Attempt 1 runs.", {"worker": "worker-1"})
    done, failed, returned, cancelled = ids
    with any_service.db.write() as session:
        assert states.succeed(session, done, 1, {})
        assert states.fail(session, failed, 1, ERROR)
        assert states.give_back(session, returned, 1, charge=True, error=ERROR, delay=1.26, step=7)
        states.cancel(session, session.get_one(Job, cancelled))
        assert states.fail(session, cancelled, 1, ERROR), "a cancel that was asked for wins"
    message = "The job is done; its artifacts are ready."
    assert last_event(any_service, done) == ("succeeded", message, {})
    assert last_event(any_service, failed) == ("failed", ERROR["message"], ERROR)
    data = {"charged": True, "reason": ERROR, "step": 7, "delay_seconds": 1.3}
    assert last_event(any_service, returned) == ("requeued", "The job waits for a worker again.", data)
    assert last_event(any_service, cancelled) == ("cancelled", "The job was cancelled.", {})


def test_a_refused_transition_writes_no_event(any_service: Service) -> None:
    job_id = any_service.submit()["id"]
    run_job(any_service, job_id)
    with any_service.db.write() as session:
        assert states.claim(session, job_id, "other", 60.0) is None
        assert not states.succeed(session, job_id, 2, {})
        assert not states.fail(session, job_id, 2, ERROR)
        assert not states.give_back(session, job_id, 2, charge=True)
        assert session.get_one(Job, job_id).status in LEASED
    assert last_event(any_service, job_id)[0] == "started"


def test_the_listed_transitions_are_those_that_the_functions_make(service: Service) -> None:
    job_id = service.submit()["id"]
    made: set[tuple[JobStatus | None, JobStatus, str]] = {(None, status_of(service, job_id), "submit")}
    stops = (None, {"stopped_early": "halving"})
    for before, retries, stopped, (name, act) in product(JobStatus, (0, 3), stops, FUNCTIONS.items()):
        with service.db.write() as session:
            job = session.get_one(Job, job_id)
            job.status, job.attempt, job.failures, job.retries = before, 1, 0, retries
            job.lease_until, job.not_before = now() - timedelta(minutes=1), None
            job.stopped_early = stopped
            job.error = {"code": "time_limit", "message": "", "hint": ""}  # the only failure that is resumed
            session.flush()
            with suppress(Conflict):
                act(session, job)
        if (after := status_of(service, job_id)) != before:
            made.add((before, after, name))
    assert made == {(one.before, one.after, name) for one in TRANSITIONS for name in one.functions}


def test_no_other_module_changes_a_status_or_tells_of_a_transition() -> None:
    offences = [
        f"{path.name}:{node.lineno}"
        for folder in SOURCES
        for path in folder.rglob("*.py")
        if ROOM not in path.parents
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.stmt | ast.expr) and (_writes_a_status(node) or _tells_of_a_transition(node))
    ]
    assert offences == []


def test_the_search_for_other_writers_finds_each_way_to_write() -> None:
    written = """
job.status = JobStatus.FAILED
job.status, job.error = state, error
update(Job).values(status=state)
update(Job).values({"status": state})
setattr(job, "status", state)
Job(id=job_id)
add_event(session, job, "failed", "", {})
states.add_event(session, job, "requeued", "", {})
Event(job_id=job_id, type="cancelled")
"""
    for line in written.strip().splitlines():
        assert any(_writes_a_status(node) or _tells_of_a_transition(node) for node in ast.walk(ast.parse(line))), line


def _writes_a_status(node: ast.AST) -> bool:
    targets = getattr(node, "targets", []) or [getattr(node, "target", None)]
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
        return any(
            isinstance(part, ast.Attribute) and part.attr == "status" and not _is_self(part)
            for target in targets
            if target is not None
            for part in ast.walk(target)
        )
    if not isinstance(node, ast.Call):
        return False
    name = _name(node)
    if name == "values":
        keys = [key.arg for key in node.keywords] + [*_strings(node.args)]
        return "status" in keys
    return name == "Job" or (name == "setattr" and "status" in _strings(node.args))


def _tells_of_a_transition(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or _name(node) not in ("add_event", "Event"):
        return False
    return bool(EVENTS & set(_strings([*node.args, *(key.value for key in node.keywords)])))


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _is_self(part: ast.Attribute) -> bool:
    return isinstance(part.value, ast.Name) and part.value.id == "self"


def _strings(nodes: list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value
