"""Fill a database with jobs, metric rows and events, in statements that the database runs by itself."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from service.shared.database.engine import Database
from service.shared.database.tables import Artifact, now
from service.shared.storage.home import Home

LONG_JOB = "job_long0000000000000000"  # runs, and reports while it is measured
OLD_JOB = "job_ended000000000000000"  # as long, and has ended
LIVE = 110  # of the filled jobs: 100 wait, 10 run
DELETED = 40  # jobs of equal length in each database, to be deleted
DELETED_ROWS = 20
NAMES = 50
CHUNK = 1_000  # jobs whose rows are inserted in one transaction


@dataclass(frozen=True)
class Size:
    """Rows of one database.

    Attributes:
        long: metric rows of `LONG_JOB`, and of `OLD_JOB`.
    """

    jobs: int
    rows_per_job: int
    events_per_job: int
    long: int

    @property
    def rows(self) -> int:
        return self.jobs * self.rows_per_job + 2 * self.long

    def __str__(self) -> str:
        return f"{self.jobs:,} jobs, {self.rows:,} metric rows, {self.jobs * self.events_per_job:,} events"


def fill(db: Database, size: Size, template: str) -> None:
    """Insert copies of a submitted job, most of them ended, each with rows as a run reports them."""
    with db.write() as session:
        connection = session.connection()
        _jobs(connection, template, "job_filled", size.jobs, size.rows_per_job + size.events_per_job)
        _jobs(connection, template, "job_delete", DELETED, DELETED_ROWS)
        for job_id, status in ((LONG_JOB, "running"), (OLD_JOB, "succeeded")):
            _copy(connection, template, f"'{job_id}'", "'long'", f"'{status}'", "1", str(size.long))
        _give_statuses(connection)
    for prefix, jobs, rows in (("job_filled", size.jobs, size.rows_per_job), ("job_delete", DELETED, DELETED_ROWS)):
        for first in range(1, jobs + 1, CHUNK):
            with db.write() as session:
                ids = _numbers(session.connection(), "j", first, min(first + CHUNK - 1, jobs))
                _rows(session.connection(), ids, f"'{prefix}' || substr(CAST(100000000 + j.i AS TEXT), 2)", rows)
                _events(session.connection(), ids, f"'{prefix}' || substr(CAST(100000000 + j.i AS TEXT), 2)", size)
    for job_id in (LONG_JOB, OLD_JOB):
        with db.write() as session:
            _rows(session.connection(), _numbers(session.connection(), "j", 1, 1), f"'{job_id}'", size.long)
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE" if not db.is_sqlite else "PRAGMA wal_checkpoint(TRUNCATE)"))


def fill_home(db: Database, home: Home) -> None:
    """Give every filled job its folder and an artifact, as the file collector finds them."""
    with db.write() as session:
        ids = [str(row[0]) for row in session.connection().execute(text("SELECT id FROM jobs"))]
        artifacts = [
            Artifact(job_id=job_id, name="metrics", path=home.relative(home.artifact(job_id, "metrics")))
            for job_id in ids
        ]
        for artifact in artifacts:
            artifact.size_bytes, artifact.sha256, artifact.manifest, artifact.created_at = 0, "0" * 64, {}, now()
        session.add_all(artifacts)
    jobs, kept = home.jobs, home.artifacts
    for job_id in ids:
        (jobs / job_id).mkdir()
        (kept / job_id).mkdir()
        (kept / job_id / "metrics.zip").touch()


def report(db: Database, rows: int) -> None:
    """Add rows to `LONG_JOB`, as its run does between two looks."""
    with db.write() as session:
        connection = session.connection()
        job = text("SELECT last_seq FROM jobs WHERE id = :id")
        last = connection.execute(job, {"id": LONG_JOB}).scalar_one()
        numbers = _numbers(connection, "s", last + 1, last + rows)
        _rows_from(connection, f"{numbers}, (SELECT 1 AS i) AS j", f"'{LONG_JOB}'")
        step = text("UPDATE jobs SET last_seq = :last WHERE id = :id")
        connection.execute(step, {"id": LONG_JOB, "last": last + rows})


def _numbers(connection: Connection, name: str, first: int, last: int) -> str:
    """Write a table of whole numbers, in each dialect's words."""
    if connection.dialect.name == "postgresql":
        return f"(SELECT generate_series({first}, {last}) AS i) AS {name}"
    counted = f"WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) SELECT i FROM n"
    return f"({counted}) AS {name}"


def _jobs(connection: Connection, template: str, prefix: str, count: int, rows: int) -> None:
    numbers = _numbers(connection, "j", 1, count)
    job_id = f"'{prefix}' || substr(CAST(100000000 + j.i AS TEXT), 2)"
    _copy(connection, template, job_id, f"'name ' || (j.i % {NAMES})", "'succeeded'", "j.i", str(rows), numbers)


def _copy(
    connection: Connection, template: str, job_id: str, name: str, status: str, number: str, rows: str, of: str = ""
) -> None:
    columns = "project_id, spec, resolved, retries, attempt, failures, total_steps, epoch, asa"
    result = _json(connection, """'{"eval_accuracy": 0.9, "eval_loss": 0.3, "seconds": 100.0}'""")
    # Their times lie before the template's, some seconds apart, so that lists have an order.
    moment = (
        f"created_at - ({number}) * interval '7 seconds'"
        if connection.dialect.name == "postgresql"
        else f"datetime(created_at, '-' || (({number}) * 7) || ' seconds') || '.000000'"
    )
    statement = f"""
        INSERT INTO jobs (id, name, status, {columns}, created_at, queued_at, started_at, ended_at, step, last_seq,
                          result)
        SELECT {job_id}, {name}, {status}, {", ".join(f"t.{column}" for column in columns.split(", "))},
               {moment}, {moment}, {moment}, {moment}, {rows}, {rows}, {result}
        FROM jobs AS t{", " + of if of else ""} WHERE t.id = '{template}'"""
    connection.execute(text(statement.replace(":", r"\:")))


def _give_statuses(connection: Connection) -> None:
    """Let the newest wait and run, and a tenth of the others have failed or been cancelled."""
    number = "CAST(substr(id, 11) AS INTEGER)"
    status = f"CASE WHEN {number} <= 100 THEN 'queued' WHEN {number} <= {LIVE} THEN 'running' "
    status += f"WHEN {number} % 20 = 0 THEN 'failed' WHEN {number} % 20 = 1 THEN 'cancelled' ELSE 'succeeded' END"
    connection.execute(text(f"UPDATE jobs SET status = {status} WHERE id LIKE 'job^_filled%' ESCAPE '^'"))
    live = "status IN ('queued', 'running') AND id LIKE 'job^_%' ESCAPE '^'"
    connection.execute(text(f"UPDATE jobs SET ended_at = NULL, result = NULL WHERE {live}"))
    leased = "lease_until = '2100-01-01 00:00:00.000000', worker = 'w', attempt = 1"
    connection.execute(text(f"UPDATE jobs SET {leased} WHERE status = 'running'".replace(":", r"\:")))


def _rows(connection: Connection, ids: str, job_id: str, rows: int) -> None:
    _rows_from(connection, f"{ids}, {_numbers(connection, 's', 1, rows)}", job_id)


def _rows_from(connection: Connection, source: str, job_id: str) -> None:
    loss, norm = "(2.0 / s.i + (s.i % 1000 * 7919 % 1000) / 1000.0)", "((s.i % 997 * 7919 % 997) / 100.0)"
    values = f"""'{{"loss": ' || {loss} || ', "learning_rate": 0.001, "grad_norm": ' || {norm} ||
        ', "samples_per_second": 100.5, "tokens_per_second": 10240.5, "memory_bytes": 1000000000,
        "active_subspaces": 60, "target_subspaces": 60, "trainable_parameters": 10000}}'"""
    evaluation = f"""'{{"eval_loss": ' || {loss} || ', "eval_accuracy": 0.5}}'"""
    statement = f"""
        INSERT INTO metrics (job_id, seq, attempt, kind, step, epoch, time, "values", loss, grad_norm)
        SELECT {job_id}, s.i, 1, CASE WHEN s.i % 20 = 0 THEN 'eval' ELSE 'train' END, s.i, s.i / 100.0,
               {_moment(connection)},
               {_json(connection, f"CASE WHEN s.i % 20 = 0 THEN {evaluation} ELSE {values} END")},
               CASE WHEN s.i % 20 = 0 THEN NULL ELSE {loss} END, CASE WHEN s.i % 20 = 0 THEN NULL ELSE {norm} END
        FROM {source}"""
    connection.execute(text(statement.replace(":", r"\:")))


def _events(connection: Connection, ids: str, job_id: str, size: Size) -> None:
    first, last = size.rows_per_job + 1, size.rows_per_job + size.events_per_job
    data = _json(connection, """'{"step": 1, "path": "checkpoints/step-00000001"}'""")
    statement = f"""
        INSERT INTO events (job_id, seq, attempt, time, type, message, data)
        SELECT {job_id}, s.i, 1, {_moment(connection)}, 'checkpoint', 'A checkpoint was written.', {data}
        FROM {ids}, {_numbers(connection, "s", first, last)}"""
    connection.execute(text(statement.replace(":", r"\:")))


def _moment(connection: Connection) -> str:
    moment = "'2026-01-01 00:00:00.000000'"
    return f"CAST({moment} AS timestamptz)" if connection.dialect.name == "postgresql" else moment


def _json(connection: Connection, words: str) -> str:
    return f"CAST({words} AS json)" if connection.dialect.name == "postgresql" else f"({words})"
