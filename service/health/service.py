"""Readiness of the service, and its metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from service.health import repository
from service.health.schemas import ReadyOut
from service.http.context import Context
from service.shared.database.engine import Database
from service.shared.database.tables import now
from service.shared.jobs.queue import broker_answers
from service.shared.settings import Settings


def readiness(context: Context) -> ReadyOut:
    """Probe database, broker and workers."""
    database = worker = False
    try:
        with context.db.read() as session:
            database = repository.answers(session)
            worker = repository.live_workers(session, context.settings.lease_seconds) > 0
    except SQLAlchemyError:
        database = False
    broker = broker_answers(context.settings)
    return ReadyOut(ready=database and broker and worker, database=database, broker=broker, worker=worker)


class ServiceMetrics(Collector):
    """Gauges of jobs, queue and workers, counted at each scrape."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db, self._settings = db, settings

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with self._db.read() as session:
            jobs = repository.jobs_by_status(session)
            oldest = repository.oldest_queued(session)
            workers = repository.live_workers(session, self._settings.lease_seconds)
            devices = repository.live_devices(session, self._settings.lease_seconds)
            busy = repository.busy_workers(session)
        by_status = GaugeMetricFamily("adamss_jobs", "Jobs by status.", labels=["status"])
        for status, count in jobs.items():
            by_status.add_metric([status], count)
        yield by_status
        age = 0.0 if oldest is None else max(0.0, (now() - oldest).total_seconds())
        yield GaugeMetricFamily("adamss_queue_age_seconds", "Waiting time of the oldest queued job.", value=age)
        yield GaugeMetricFamily("adamss_workers", "Workers with a heartbeat within the lease time.", value=workers)
        yield GaugeMetricFamily("adamss_workers_busy", "Workers with a running job.", value=busy)
        by_device = GaugeMetricFamily("adamss_devices", "Devices of the live workers.", labels=["device"])
        for device, count in devices.items():
            by_device.add_metric([device], count)
        yield by_device


def register(registry: CollectorRegistry, context: Context) -> None:
    """Add the service's gauges to a registry."""
    registry.register(ServiceMetrics(context.db, context.settings))
