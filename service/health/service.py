"""Readiness of the service, and its metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.values import MutexValue, ValueClass
from sqlalchemy.exc import SQLAlchemyError

from service.health import repository
from service.health.schemas import ReadyOut
from service.http.context import Caller, Context
from service.shared.database.engine import Database
from service.shared.database.schema import SchemaState, current_revision, state_of
from service.shared.database.tables import Role, now
from service.shared.jobs.queue import broker_answers
from service.shared.settings import Settings


def readiness(context: Context) -> ReadyOut:
    """Probe database, its schema, broker and workers."""
    database = migrated = worker = False
    try:
        with context.db.read() as session:
            database = repository.answers(session)
            migrated = state_of(current_revision(session.connection())) in (SchemaState.CURRENT, SchemaState.NEWER)
            worker = repository.live_workers(session, context.settings.lease_seconds) > 0
    except SQLAlchemyError:
        database = False
    broker = broker_answers(context.settings)
    ready = database and migrated and broker and worker
    return ReadyOut(ready=ready, database=database, migrated=migrated, broker=broker, worker=worker)


def scrape(registry: CollectorRegistry, caller: Caller) -> bytes:
    """Export the service's metrics to an admin, and to any other key the counts of its own project.

    Args:
        registry: the service's metrics. Requests, busy workers and Python's own numbers tell of all projects.
    """
    if caller.role is not Role.ADMIN:
        registry = CollectorRegistry()
        registry.register(JobMetrics(caller.db, caller.project_id))
    elif ValueClass is not MutexValue:  # this is one of several API processes, each of which has its own numbers
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        register(registry, caller)
    return generate_latest(registry)


SAMPLED = {
    "cpu_percent": "CPU of a running job's training process since its last logged step; 100 is a core.",
    "process_memory_bytes": "Memory of a running job's training process.",
    "gpu_percent": "Use of the GPU that a running job trains on, where NVML is installed.",
    "gpu_memory_bytes": "Memory that a running job has reserved on its GPU.",
}


class JobMetrics(Collector):
    """Gauges of the jobs of one project, or of all, counted at each scrape."""

    def __init__(self, db: Database, project_id: str | None) -> None:
        self._db, self._project_id = db, project_id

    def collect(self) -> Iterator[Metric]:
        with self._db.read() as session:
            jobs = repository.jobs_by_status(session, self._project_id)
            oldest = repository.oldest_queued(session, self._project_id)
            last = repository.last_rows(session, self._project_id)
            device_seconds = repository.device_seconds(session, self._project_id)
        by_status = GaugeMetricFamily("adamss_jobs", "Jobs by status.", labels=["status"])
        for status, count in jobs.items():
            by_status.add_metric([status], count)
        yield by_status
        age = 0.0 if oldest is None else max(0.0, (now() - oldest).total_seconds())
        yield GaugeMetricFamily("adamss_queue_age_seconds", "Waiting time of the oldest queued job.", value=age)
        meaning = "Seconds of one device that the jobs of a project's keys have used."
        used = CounterMetricFamily("adamss_device_seconds", meaning, labels=["project", "owner"])
        for project, owner, seconds in device_seconds:
            used.add_metric([project, owner], seconds)
        yield used
        for name, meaning in SAMPLED.items():
            by_job = GaugeMetricFamily(f"adamss_job_{name}", meaning, labels=["job"])
            for job_id, values in last.items():
                if (value := values.get(name)) is not None:
                    by_job.add_metric([job_id], value)
            yield by_job


class WorkerMetrics(Collector):
    """Gauges of the workers, counted at each scrape."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db, self._settings = db, settings

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with self._db.read() as session:
            workers = repository.live_workers(session, self._settings.lease_seconds)
            devices = repository.live_devices(session, self._settings.lease_seconds)
            busy = repository.busy_workers(session)
        yield GaugeMetricFamily("adamss_workers", "Workers with a heartbeat within the lease time.", value=workers)
        yield GaugeMetricFamily("adamss_workers_busy", "Workers with a running job.", value=busy)
        by_device = GaugeMetricFamily("adamss_devices", "Devices of the live workers.", labels=["device"])
        for device, count in devices.items():
            by_device.add_metric([device], count)
        yield by_device


def register(registry: CollectorRegistry, context: Context) -> None:
    """Add the service's gauges to a registry."""
    registry.register(JobMetrics(context.db, None))
    registry.register(WorkerMetrics(context.db, context.settings))
