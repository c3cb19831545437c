"""Between projects, jobs start in turns, on both databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, select, text, update

from service.shared.database.tables import Event, Job, Project, now
from service.shared.jobs import states
from tests.processes import ANEW
from tests.worker.support import PROJECT, Service, scaled_settings
from worker.device_locks import open_devices
from worker.runner import Runner

PROJECTS = [PROJECT, "proj_b", "proj_c", "proj_d"]
CLAIM, GIVE_BACK = "claim", "give back"


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    url: dict[str, str] = (
        {} if request.param == "sqlite" else {"database_url": request.getfixturevalue("migrated_postgres_url")}
    )
    service = Service(scaled_settings(tmp_path / "home", **url))
    yield service
    service.db.close()


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that `run` starts; they stay as they are."""
    started: list[Job] = []
    monkeypatch.setattr(Runner, "_supervise", lambda _, job, claimed_at, held: started.append(job))
    return started


def run(service: Service, hint: str) -> None:
    Runner(service.settings, service.db, "worker-1", open_devices(service.settings, "worker-1"), ANEW).run(hint)


def test_a_project_with_many_jobs_lets_others_start_between_them(service: Service, runner: list[Job]) -> None:
    """Seen to fail where a worker ran the job of its hint: B's jobs came after all fifty."""
    other = service.add_project("b")
    of_a = [service.add_job() for _ in range(50)]
    of_b = [service.add_job(project=other) for _ in range(2)]
    for job_id in of_a + of_b:
        run(service, job_id)
    assert [job.project_id for job in runner[:4]] == [PROJECT, other, PROJECT, other]
    assert [job.id for job in runner if job.project_id == PROJECT] == of_a
    assert [job.id for job in runner if job.project_id == other] == of_b


def test_a_project_that_has_started_many_jobs_waits_for_a_new_one(service: Service, runner: list[Job]) -> None:
    many = [service.add_job() for _ in range(6)]
    for job_id in many[:3]:
        run(service, job_id)
    new = service.add_job(project=service.add_project("b"))
    run(service, many[3])
    run(service, many[4])
    assert [job.id for job in runner] == [*many[:3], new, many[3]]


def test_full_projects_keep_nobody_waiting(service: Service, runner: list[Job]) -> None:
    """Seen to fail where `next_in_turn` looked at the limit no more than the claim of the one job before it did: the
    worker gave up after three full projects.
    """
    full = [service.add_project(f"full{number}") for number in range(5)]
    with service.db.write() as session:
        session.execute(update(Project).where(Project.id.in_(full)).values(max_running_jobs=1))
    for job_id in [service.add_job(project=project) for project in full]:
        run(service, job_id)
    waiting = [service.add_job(project=project) for project in full]
    last = service.add_job()
    with service.db.write() as session:  # the full ones' turns come first
        session.execute(update(Project).where(Project.id == PROJECT).values(standing=1_000.0))
    run(service, waiting[0])
    assert [job.project_id for job in runner] == [*full, PROJECT]
    assert runner[-1].id == last
    run(service, waiting[0])
    assert len(runner) == 6


def test_no_project_starts_twice_while_another_waits(service: Service) -> None:
    """Random arrivals, starts and returned jobs of four equal projects, whose jobs take no time. A start is charged, so
    no project starts once more while one with fewer starts waits; and each project's jobs start in the order of their
    queueing.
    """
    for name in "bcd":
        service.add_project(name)
    actions = st.one_of(st.sampled_from(PROJECTS), st.just(CLAIM), st.just(GIVE_BACK))
    rounds = st.lists(actions, max_size=25).map(lambda listed: [*listed, *[CLAIM] * 10])

    @settings(max_examples=20, deadline=None, database=None, derandomize=True)
    @given(rounds)
    def check(actions: list[str]) -> None:
        empty(service)
        Turns(service).play(actions)

    check()


def empty(service: Service) -> None:
    with service.db.write() as session:
        session.execute(delete(Event))
        session.execute(delete(Job))
        session.execute(update(Project).values(standing=0.0))


class Turns:
    """Plays actions against the database, and follows who waits and who started when."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.waiting: dict[str, list[str]] = {project: [] for project in PROJECTS}
        self.starts: Counter[str] = Counter()
        self.running: list[Job] = []
        self.moment = 0

    def play(self, actions: list[str]) -> None:
        for action in actions:
            self.moment += 1
            if action == CLAIM:
                self.claim()
            elif action == GIVE_BACK:
                self.give_back()
            else:
                self.queue(action, self.service.add_job(project=action))

    def queue(self, project: str, job_id: str) -> None:
        self.waiting[project].append(job_id)
        with self.service.db.write() as session:  # no two at the same time
            queued = now() + timedelta(seconds=self.moment)
            session.execute(update(Job).where(Job.id == job_id).values(queued_at=queued))

    def claim(self) -> None:
        with self.service.db.write() as session:
            job_id = states.next_in_turn(session)
            job = None if job_id is None else states.claim(session, job_id, "worker-1", 60.0)
        if job is None:
            assert not any(self.waiting.values())
            return
        project = job.project_id
        assert job.id == self.waiting[project].pop(0)
        fewest = min(self.starts[other] for other in self.waiting if other == project or self.waiting[other])
        assert self.starts[project] == fewest, f"{project} started once more while another waited"
        self.starts[project] += 1
        self.running.append(job)

    def give_back(self) -> None:
        if not self.running:
            return
        job = self.running.pop(0)
        with self.service.db.write() as session:
            assert states.give_back(session, job.id, job.attempt, charge=False)
        self.queue(job.project_id, job.id)


def test_the_next_job_is_found_without_reading_all(service: Service) -> None:
    """Whatever the number of jobs: no plan reads the table of jobs from end to end."""
    statements: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if "standing" in statement:
            statements.append((statement, parameters))

    event.listen(service.db.engine, "before_cursor_execute", note)
    with service.db.read() as session:
        states.next_in_turn(session, running_jobs=1)
        explain = "EXPLAIN QUERY PLAN " if service.db.is_sqlite else "EXPLAIN "
        if not service.db.is_sqlite:
            session.execute(text("SET LOCAL enable_seqscan = off"))  # an empty table is read whole otherwise
        run = session.connection().exec_driver_sql
        plans = [run(explain + statement, parameters).all() for statement, parameters in tuple(statements)]
    assert len(plans) == (1 if service.db.is_sqlite else 2)  # the highest priority first
    for plan in plans:
        lines = [str(row[-1]) for row in plan]
        assert [line for line in lines if "ix_jobs_project_next" in line], lines
        assert not [line for line in lines if line.startswith("SCAN jobs") or "Seq Scan on jobs" in line], lines


def test_an_older_version_beside_it_does_not_name_the_column(service: Service) -> None:
    """Its projects are next, as ones that have used nothing."""
    with service.db.write() as session:
        session.execute(
            text("INSERT INTO projects (id, name, created_at) VALUES ('proj_old', 'old', :now)"),
            {"now": now().isoformat(sep=" ")},
        )
        assert session.execute(select(Project.standing).where(Project.id == "proj_old")).scalar_one() == 0
