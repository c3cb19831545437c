"""Checks of everything that the service needs; each finding has a remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Literal

from packaging.requirements import Requirement
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.health.repository import jobs_beyond_workers, live_workers
from service.shared.database.clock import database_now
from service.shared.database.engine import (
    TRAINING_CONNECTIONS,
    WORKER_CONNECTIONS,
    Database,
    api_connections,
)
from service.shared.database.schema import SchemaState, current_revision, known_revisions, state_of
from service.shared.database.tables import LEASED, AddedModel, Delivery, Job, JobStatus, ModelStatus, Worker
from service.shared.jobs.queue import broker_answers
from service.shared.settings import Settings
from service.shared.storage.home import Home
from service.shared.storage.host_files import open_store
from service.shared.storage.pairing import mismatch
from service.shared.storage.permissions import wider_paths
from service.shared.storage.store_errors import StorageMisconfigured, StorageUnavailable
from service.shared.storage.trash import Trash

LOW_BYTES, NO_BYTES = 5_000_000_000, 200_000_000
SHOWN_PATHS = 3
DEVICE_SECONDS = 60.0
EXTRAS = ("", "core", "service")  # extras of our requirements that a service needs
_COUNT_GPUS = "import torch; print(torch.cuda.device_count())"


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        check: name of the check.
        state: "warning" if the service still works, "problem" if it does not.
        message: the finding, in words.
        remedy: action to take; empty if none is needed.
    """

    check: str
    state: Literal["ok", "warning", "problem"]
    message: str
    remedy: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Run every check, in the order of their dependencies; no check changes anything."""
    findings = [*_versions(), *_home(settings), *_disk(settings), *_store(settings)]
    db = Database(settings.resolved_database_url)
    try:
        findings += _reachable(settings, db)
        if findings[-1].state != "problem":
            checks: tuple[Callable[[Settings, Database], Iterator[Finding]], ...] = (
                _pair,
                _schema,
                _connections,
                _workers,
                _models,
                _jobs,
            )
            findings += [finding for check in checks for finding in check(settings, db)]
    except SQLAlchemyError as error:
        findings.append(Finding("database", "problem", _first_line(error), "Look at the database's own log."))
    finally:
        db.close()
    return [*findings, *_trash(settings), *_broker(settings), *_devices()]


def _versions() -> Iterator[Finding]:
    wrong = []
    for line in requires("adamss") or []:
        requirement = Requirement(line)
        if requirement.name == "adamss" or not _is_needed(requirement):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} is {installed}, needed is {requirement.specifier}")
    if wrong:
        yield Finding(
            "versions",
            "problem",
            "; ".join(wrong) + ".",
            "Install again, in the checkout: pip install -U -c constraints.txt '.[service]'",
        )
    else:
        python = ".".join(map(str, sys.version_info[:3]))
        yield Finding("versions", "ok", f"adamss {version('adamss')} on Python {python}, with all it needs.")


def _is_needed(requirement: Requirement) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in EXTRAS)


def _home(settings: Settings) -> Iterator[Finding]:
    home = settings.resolved_home
    if not home.is_dir():
        yield Finding("home", "problem", f"{home} does not exist.", "Set ADAMSS_HOME, or start it once: adamss up")
    elif not os.access(home, os.W_OK | os.X_OK):
        yield Finding("home", "problem", f"{home} cannot be written.", "Give the service's user the right to write it.")
    else:
        yield _privacy(settings.files)


def _privacy(home: Home) -> Finding:
    wider = wider_paths(home)
    if not wider:
        return Finding("home", "ok", f"{home.root} can be written, and read by its owner only.")
    names = ", ".join(map(str, wider[:SHOWN_PATHS]))
    more = f" and {len(wider) - SHOWN_PATHS} more" if len(wider) > SHOWN_PATHS else ""
    message = f"Others than the owner have rights to {names}{more}."
    return Finding("home", "warning", message, f"Close it: chmod -R go-rwx {home.root}")


def _disk(settings: Settings) -> Iterator[Finding]:
    home = settings.resolved_home
    while not home.exists():
        home = home.parent
    free = shutil.disk_usage(home).free
    words = f"{free / 1e9:.1f} GB are free for {settings.resolved_home}."
    remedy = "Delete jobs and data sets that nobody needs, or enlarge the disk."
    if free < NO_BYTES:
        yield Finding("disk", "problem", words, remedy)
    else:
        yield Finding("disk", "warning", words, remedy) if free < LOW_BYTES else Finding("disk", "ok", words)


def _store(settings: Settings) -> Iterator[Finding]:
    """Write, read and delete an object, as a start of the service does."""
    if settings.storage_url is None:
        return
    try:
        store = open_store(settings.storage_url)
        assert store is not None
        store.try_out()
    except StorageMisconfigured as error:
        yield Finding("storage", "problem", error.problem, error.remedy)
    except StorageUnavailable as error:
        remedy = "Look at the store and the network. Until it is back, uploads fail and jobs wait with their files."
        yield Finding("storage", "problem", str(error), remedy)
    else:
        yield Finding("storage", "ok", f"Files can be written to, read from and deleted in {settings.storage_url}.")


def _reachable(settings: Settings, db: Database) -> Iterator[Finding]:
    if db.is_sqlite and not settings.files.database.is_file():
        yield Finding("database", "problem", "The database does not exist yet.", "Start the service once: adamss up")
        return
    try:
        with db.read() as session:
            if db.is_sqlite:
                checked = session.execute(text("PRAGMA quick_check(1)")).scalar_one()
                words = "SQLite answers"
            else:
                checked, server = "ok", session.execute(text("SHOW server_version")).scalar_one()
                words = f"PostgreSQL {server} answers"
    except SQLAlchemyError as error:
        remedy = "Start the database, and check ADAMSS_DATABASE_URL: host, port, user, password and name."
        yield Finding("database", "problem", _first_line(error), remedy)
        return
    if checked != "ok":
        yield Finding("database", "problem", f"The file is damaged: {checked}", "Restore a backup: adamss restore FILE")
    else:
        yield Finding("database", "ok", f"{words}.")


def _pair(settings: Settings, db: Database) -> Iterator[Finding]:
    if settings.resolved_home.is_dir() and (problem := mismatch(settings, db)) is not None:
        message, remedy = problem
        yield Finding("pair", "problem", message, remedy)


def _trash(settings: Settings) -> Iterator[Finding]:
    if settings.resolved_home.is_dir() and (size := Trash(settings.files).size()):
        words = f"{size / 1e6:,.1f} MB that no row names are in {settings.files.trash}, each file for a day."
        yield Finding("trash", "ok", words, "To remove them now: adamss doctor --empty-trash")


def _schema(_: Settings, db: Database) -> Iterator[Finding]:
    newest = known_revisions()[0]
    with db.read() as session:
        current = current_revision(session.connection())
    state = state_of(current)
    if state is SchemaState.CURRENT:
        yield Finding("migrations", "ok", f"The schema is at {current}, the newest.")
    elif state is SchemaState.NEWER:
        message = f"The schema is at {current} of a later release; this one knows {newest} and works on it."
        yield Finding("migrations", "warning", message, "Upgrade this machine's installation too.")
    else:
        message = f"The schema is at {current or 'no revision'}, this version of the service needs {newest}."
        remedy = "Start the API of this version once: it migrates. If it is newer than the service, upgrade the latter."
        yield Finding("migrations", "problem", message, remedy)


def _connections(settings: Settings, db: Database) -> Iterator[Finding]:
    """Compare what all processes may open with what PostgreSQL allows."""
    if db.is_sqlite:
        return
    with db.read() as session:
        allowed, reserved = (
            int(session.execute(text(f"SHOW {name}")).scalar_one())
            for name in ("max_connections", "superuser_reserved_connections")
        )
        workers = live_workers(session, settings.lease_seconds)
    api = settings.api_processes * api_connections(settings.api_processes)
    worker = WORKER_CONNECTIONS + settings.worker_concurrency * (1 + TRAINING_CONNECTIONS)
    most, free = api + workers * worker, allowed - reserved
    words = f"API and {workers} workers open {most} connections at most, and PostgreSQL allows {free}."
    if most <= free:
        yield Finding("connections", "ok", words)
    else:
        remedy = f"Set PostgreSQL's max_connections to {most + reserved} or more, or run fewer processes."
        yield Finding("connections", "warning", words, remedy)


def _workers(settings: Settings, db: Database) -> Iterator[Finding]:
    with db.read() as session:
        alive = live_workers(session, settings.lease_seconds)
        beyond = jobs_beyond_workers(session, settings.lease_seconds)
        names = [device for row in session.scalars(select(Worker)) for device in row.devices]
    if alive and beyond:
        message = f"{beyond} queued jobs use fields of the spec that no active worker understands."
        yield Finding("workers", "warning", message, "Start a worker of a newer release: adamss worker")
    elif alive:
        yield Finding("workers", "ok", f"{alive} active within {settings.lease_seconds:g} s: {', '.join(names)}.")
    else:
        remedy = (
            "Start one: adamss worker (or `adamss up`). Its log has an error if it cannot reach database or broker."
        )
        yield Finding("workers", "problem", "No active worker: jobs stay queued.", remedy)


def _models(settings: Settings, db: Database) -> Iterator[Finding]:
    """Look for base models that jobs name and the models folder lacks, as after a restore without models."""
    with db.read() as session:
        found = session.scalars(select(Job.resolved[("spec", "base_model")].as_string()).distinct())
        names = sorted({name for name in found if name} - set(_placed_models(settings, session)))
    folders = [name for name in names if "/" not in name]  # the others may come from the hub
    missing = [name for name in folders if not settings.files.model(name).is_dir()]
    if not missing:
        yield Finding("models", "ok", f"All {len(folders)} base models that jobs name are in the models folder.")
        return
    more = f" and {len(missing) - SHOWN_PATHS} more" if len(missing) > SHOWN_PATHS else ""
    message = f"{', '.join(missing[:SHOWN_PATHS])}{more}: jobs name these, and {settings.files.models} lacks them."
    remedy = "Copy them there: such jobs fail when they run, and finished ones cannot predict or merge."
    yield Finding("models", "warning", message, remedy)


def _placed_models(settings: Settings, session: Session) -> Iterator[str]:
    """Yield the names of added models whose folders are in the home folder."""
    ready = select(AddedModel).where(AddedModel.status == ModelStatus.READY, AddedModel.deleted_at.is_(None))
    return (row.name for row in session.scalars(ready) if settings.files.added_model(row.id).is_dir())


def _jobs(settings: Settings, db: Database) -> Iterator[Finding]:
    with db.read() as session:
        moment = database_now(session)
        counted = session.execute(select(Job.status, func.count()).group_by(Job.status))
        counts = {JobStatus(status).value: count for status, count in counted}
        overdue = list(session.scalars(select(Job.id).where(Job.status.in_(LEASED), Job.lease_until < moment)))
        stuck = session.execute(
            select(func.count()).where(Delivery.next_at.is_not(None), Delivery.tries > 2)
        ).scalar_one()
    words = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none yet"
    if overdue:
        message = f"{', '.join(overdue[:3])}: the lease has expired without a heartbeat of the worker."
        yield Finding("jobs", "warning", message, "An active worker requeues them within a minute; see `workers`.")
    else:
        yield Finding("jobs", "ok", f"{words}.")
    if stuck:
        message = f"{stuck} failed in several tries."
        yield Finding("webhooks", "warning", message, "The events of their jobs and the worker's log have the reason.")


def _broker(settings: Settings) -> Iterator[Finding]:
    if settings.broker_url.startswith("filesystem") and not settings.resolved_home.is_dir():
        return  # `_home` reports it, and a look at the queue would create the folder
    if not broker_answers(settings):
        remedy = "Start it, and check ADAMSS_BROKER_URL. Submits work without it; jobs wait until it is back."
        yield Finding("broker", "problem", "The broker does not accept messages.", remedy)
        return
    if settings.broker_url.startswith("filesystem"):
        yield Finding("broker", "ok", "The queue folder can be written.")
        return
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        with Redis.from_url(settings.broker_url, socket_timeout=2.0) as client:
            policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
    except RedisError:  # a hosted Redis may refuse the query
        policy = "noeviction"
    if policy == "noeviction":
        yield Finding("broker", "ok", "Redis answers.")
    else:
        message = f"Redis may evict messages (maxmemory-policy {policy})."
        yield Finding("broker", "warning", message, "Set maxmemory-policy to noeviction.")


def _devices() -> Iterator[Finding]:
    """Compare the GPUs of the driver with the GPUs of torch."""
    listed = _output(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    usable = _output([sys.executable, "-P", "-c", _COUNT_GPUS])
    if usable is None:
        yield Finding("devices", "problem", "torch cannot be imported.", f"See: {sys.executable} -c 'import torch'")
    elif listed is not None and listed.split() and int(usable) == 0:
        remedy = "Install the build of torch for the driver's CUDA; see pytorch.org."
        yield Finding("devices", "problem", "This machine has GPUs, but torch cannot use them.", remedy)
    elif int(usable) == 0:
        yield Finding("devices", "ok", f"No GPU here; jobs train on {os.cpu_count()} CPU cores.")
    else:
        yield Finding("devices", "ok", "; ".join((listed or f"{usable} GPUs").splitlines()) + ".")


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEVICE_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _first_line(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0][:300]
