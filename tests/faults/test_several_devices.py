"""Rows 37 and 38: jobs on two devices whose processes die, are cut off, are told to stop, or run out of memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.shared.database.tables import JobStatus
from tests.faults.relay import Relay
from tests.faults.test_control import END_SECONDS, ask
from tests.faults.test_training import LIMITED, check_at_limit, losses
from tests.faults.topology import Process, Topology
from tests.worker.rank_processes import RankProcesses, rank_processes
from tests.worker.support import process_state

TWO = {"ADAMSS_DEVICES": "cpu:2"}
SEVERAL: dict[str, Any] = {"resources": {"devices": 2}, "retries": 5}
LONG = 20_000  # steps that no test waits for

pytestmark = pytest.mark.core


def start_worker(topology: Topology, **environment: str) -> Process:
    return topology.start_worker(**TWO, **environment)


def group_of(topology: Topology, job_id: str) -> RankProcesses:
    return rank_processes(topology.settings.files.job(job_id))


def started(topology: Topology, job_id: str) -> RankProcesses:
    """Wait until both ranks are there; most of what they import is not loaded then."""
    with topology.explained(job_id):
        topology.until(lambda: len(group_of(topology, job_id).ranks) == 2)
    return group_of(topology, job_id)


def at_work(topology: Topology, job_id: str, attempt: int) -> RankProcesses:
    """Wait until an attempt has written a checkpoint of its own, and made steps after it."""
    with topology.explained(job_id):
        topology.until(lambda: topology.job(job_id).attempt == attempt)
        topology.until(lambda: topology.last_step(job_id, attempt) > 0)
        first = topology.last_step(job_id, attempt)
        topology.until(lambda: topology.last_step(job_id, attempt) > first + 10)
    return group_of(topology, job_id)


def check_gone(topology: Topology, job_id: str, group: RankProcesses, seconds: float = END_SECONDS) -> None:
    with topology.explained(job_id):
        topology.until(lambda: not group.living, seconds)


def begun(topology: Topology, job_id: str) -> list[int]:
    """The steps at which attempts have begun."""
    return [event.data["step"] for event in topology.events(job_id) if event.type == "training_started"]


def reasons(topology: Topology, job_id: str) -> list[str]:
    """Why attempts were given back and charged."""
    returned = [event.data for event in topology.events(job_id) if event.type == "requeued"]
    return [data["reason"]["code"] for data in returned if data["charged"]]


def check_one_at_a_time(topology: Topology, job_id: str) -> None:
    """No attempt has written a row after the next one had begun."""
    attempts = [row.attempt for row in topology.metrics(job_id)]
    assert attempts == sorted(attempts)


def test_row_37_any_process_killed_mid_step(topology: Topology) -> None:
    """One rank after the other, their launcher, and the worker: each ends all, and costs one retry."""
    topology.api()
    job_id = topology.submit(LONG, **SEVERAL)
    worker = start_worker(topology)
    for attempt, victim in enumerate(("1", "0", "launcher", "worker"), 1):
        group = at_work(topology, job_id, attempt)
        if victim == "worker":
            worker.kill()
        else:
            group.kill(victim)
        check_gone(topology, job_id, group)
    start_worker(topology)
    last = at_work(topology, job_id, 5)
    steps = begun(topology, job_id)
    assert steps[0] == 0
    assert steps == sorted(set(steps)), "each attempt resumes from a checkpoint of the one before"
    assert reasons(topology, job_id) == ["rank_lost", "rank_lost", "process_killed", "worker_lost"]
    check_one_at_a_time(topology, job_id)
    assert ask(topology, job_id, "cancel").is_success
    topology.wait(job_id, JobStatus.CANCELLED, seconds=END_SECONDS)
    check_gone(topology, job_id, last)


def test_row_37_killed_while_the_ranks_start(topology: Topology) -> None:
    """The others wait for it to join, and would do so for minutes."""
    topology.api()
    job_id = topology.submit(20, **SEVERAL)
    start_worker(topology)
    for failures, victim in enumerate(("1", "launcher"), 1):
        group = started(topology, job_id)
        group.kill(victim)
        check_gone(topology, job_id, group)
        topology.until(partial(has_failed, topology, job_id, failures))
    job = topology.check_succeeded(job_id, steps=20)
    assert (job.attempt, job.failures) == (3, 2)
    assert reasons(topology, job_id) == ["rank_lost", "process_killed"]


def has_failed(topology: Topology, job_id: str, failures: int) -> bool:
    return topology.job(job_id).failures >= failures


def test_row_37_first_rank_killed_in_a_checkpoint_and_before_publishing(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(30, **SEVERAL)
    for failures, failpoint in enumerate(("checkpoint@0:kill:2", "before_publish:kill"), 1):
        worker = start_worker(topology, FAILPOINT=failpoint)
        topology.until(partial(has_failed, topology, job_id, failures))
        worker.kill()
    start_worker(topology)
    job = topology.check_succeeded(job_id, steps=30)
    assert (job.attempt, job.failures) == (3, 2)
    assert begun(topology, job_id) == [0, 10, 30]
    check_one_at_a_time(topology, job_id)


HOST = "import socket\nsocket.gethostname = lambda: {name!r}\n"


def of_host(folder: Path, name: str) -> dict[str, str]:
    """The environment of a worker on a host of its own, whose devices are not this machine's."""
    (folder / name).mkdir()
    (folder / name / "sitecustomize.py").write_text(HOST.format(name=name))
    return {"ADAMSS_DEVICE_LOCKS": str(folder / name / "locks"), "PYTHONPATH": str(folder / name)}


@pytest.fixture
def relays(topology: Topology) -> Iterator[tuple[Relay, Relay]]:
    """Before PostgreSQL and Redis, for one host."""
    assert topology.postgres is not None
    assert topology.redis is not None
    made = (Relay(int(topology.postgres.address.rpartition(":")[2])), Relay(topology.redis.port))
    yield made
    for relay in made:
        relay.close()


@pytest.mark.only("production")
def test_row_37_host_cut_off(topology: Topology, relays: tuple[Relay, Relay], tmp_path: Path) -> None:
    """Nothing is refused: what its processes send is never answered, until another host has the job."""
    assert topology.postgres is not None
    assert topology.redis is not None
    topology.api()
    job_id = topology.submit(LONG, **SEVERAL)
    own = topology.environment
    through = {
        "ADAMSS_DATABASE_URL": own["ADAMSS_DATABASE_URL"].replace(
            topology.postgres.address, f"127.0.0.1:{relays[0].port}"
        ),
        "ADAMSS_BROKER_URL": own["ADAMSS_BROKER_URL"].replace(f":{topology.redis.port}", f":{relays[1].port}"),
    }
    hosts = [of_host(tmp_path, name) for name in ("host-a", "host-b")]
    for host in hosts:
        host["PYTHONPATH"] = os.pathsep.join([host["PYTHONPATH"], topology.python_path])
    start_worker(topology, **hosts[0], **through)
    first = at_work(topology, job_id, 1)
    start_worker(topology, **hosts[1])
    for relay in relays:
        relay.cut()
    check_gone(topology, job_id, first, topology.settings.lease_seconds + END_SECONDS)
    topology.wait_attempt(job_id, 2)
    for relay in relays:
        relay.heal()  # what the first host has sent arrives late
    second = at_work(topology, job_id, topology.job(job_id).attempt)
    assert begun(topology, job_id)[-1] > 0
    check_one_at_a_time(topology, job_id)
    assert ask(topology, job_id, "cancel").is_success
    topology.wait(job_id, JobStatus.CANCELLED, seconds=END_SECONDS)
    check_gone(topology, job_id, second)


def test_row_37_orders_are_those_of_one_process(topology: Topology) -> None:
    """Pause, SIGTERM to every process at once as a machine does that goes down, and cancel; none costs a retry."""
    topology.api()
    job_id = topology.submit(LONG, **SEVERAL)
    worker = start_worker(topology)
    group = at_work(topology, job_id, 1)
    assert ask(topology, job_id, "pause").json()["status"] == "pausing"
    topology.wait(job_id, JobStatus.PAUSED, seconds=END_SECONDS)
    check_gone(topology, job_id, group)
    paused_at = topology.checkpoints(job_id)[-1].step
    assert paused_at == topology.job(job_id).step
    assert ask(topology, job_id, "resume").is_success
    group = at_work(topology, job_id, 2)
    for pid in (*group.living, worker.pid):
        os.kill(pid, signal.SIGTERM)
    assert worker.wait() == 0
    check_gone(topology, job_id, group)
    job = topology.job(job_id)
    assert (job.status, job.failures) == (JobStatus.QUEUED, 0)
    stopped_at = topology.checkpoints(job_id)[-1].step
    assert stopped_at == job.step
    start_worker(topology)
    group = at_work(topology, job_id, 3)
    assert begun(topology, job_id) == [0, paused_at, stopped_at]
    assert ask(topology, job_id, "cancel").json()["status"] == "cancelling"
    topology.wait(job_id, JobStatus.CANCELLED, seconds=END_SECONDS)
    check_gone(topology, job_id, group)
    topology.check_nothing_published(job_id)
    assert topology.job(job_id).failures == 0


@pytest.mark.parametrize("failpoint", ["loading@0:stop", "gradients@1:stop:5", "before_publish:stop"])
def test_row_37_cancel_in_every_phase(topology: Topology, failpoint: str) -> None:
    """One process hears nothing; while it trains, that is one without orders, for which the first one waits."""
    topology.api()
    job_id = topology.submit(20, **SEVERAL)
    start_worker(topology, FAILPOINT=failpoint)
    with topology.explained(job_id):
        topology.until(lambda: any(process_state(pid) == "T" for pid in group_of(topology, job_id).ranks.values()))
    group = group_of(topology, job_id)
    assert ask(topology, job_id, "cancel").json()["status"] == "cancelling"
    topology.wait(job_id, JobStatus.CANCELLED, seconds=END_SECONDS)
    check_gone(topology, job_id, group)
    assert topology.job(job_id).failures == 0


def test_row_37_time_limit(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(LONG, **SEVERAL | LIMITED)
    start_worker(topology)
    group = started(topology, job_id)
    topology.wait(job_id)
    check_at_limit(topology, job_id, LONG)
    check_gone(topology, job_id, group)


@pytest.mark.parametrize(("rank", "at"), [(0, 1), (1, 15)])
def test_row_38_out_of_memory_on_one_rank(topology: Topology, rank: int, at: int) -> None:
    """All halve together what goes through the model at a time: each of the two has two of a step's four rows."""
    topology.leave_out_dropout()
    topology.api()
    whole, halved = topology.submit(20), topology.submit(20, **SEVERAL)
    start_worker(topology, FAILPOINT=f"gradients@{rank}:oom:{at}", ADAMSS_WORKER_CONCURRENCY="1")
    topology.check_succeeded(whole, steps=20)
    job = topology.check_succeeded(halved, steps=20)
    assert (job.attempt, job.failures) == (1, 0)
    events = [event.data for event in topology.events(halved) if event.type == "micro_batch_halved"]
    assert [(data["micro_batch"], data["step"]) for data in events] == [(1, at)]
    assert losses(topology, halved) == pytest.approx(losses(topology, whole), rel=1e-4)
