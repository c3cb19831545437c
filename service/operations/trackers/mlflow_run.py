"""Export to a run in MLflow, tagged with the job's id. MLFLOW_TRACKING_URI is its address; default: a local file."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from service.client.types import JobJson, MetricJson
from service.operations.trackers.follow import compared, named

EXPERIMENT = "adamss"
JOB, LAST_SEQ = "adamss.job", "adamss.seq"  # tags: id of the job, last sequence number written
STATUS = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
BATCH = 500  # numbers per call; MLflow accepts a thousand
LONGEST = 500  # characters of a parameter


class MlflowRun:
    """Follower that writes in batches; each batch stores the last sequence number as a tag."""

    def __init__(self, job: JobJson, folder: Path) -> None:
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute() / 'mlflow.db'}"
        folder.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(uri)
        self._waiting: list[Metric] = []
        known = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = known.experiment_id if known else self._client.create_experiment(EXPERIMENT)
        runs = self._client.search_runs([experiment], f"tags.`{JOB}` = '{job['id']}'")
        if runs:
            self._run = runs[0].info.run_id
            self.after = int(runs[0].data.tags.get(LAST_SEQ, "0"))
        else:
            run = self._client.create_run(experiment, run_name=job["name"], tags={JOB: job["id"]})
            self._run, self.after = run.info.run_id, 0
            params = [Param(name, text[:LONGEST]) for name, text in flat(job["resolved"]["spec"]).items()]
            self._client.log_batch(self._run, params=params)
        self.where = f"run {self._run} of experiment {EXPERIMENT} at {uri}"

    def write(self, row: MetricJson) -> None:
        moment = round(1000 * datetime.fromisoformat(row["time"]).timestamp())
        self._waiting += [Metric(name, value, moment, row["step"]) for name, value in named(row).items()]
        self.after = row["seq"]
        if len(self._waiting) >= BATCH:
            self.flush()

    def flush(self) -> None:
        self._client.log_batch(self._run, metrics=self._waiting, tags=[RunTag(LAST_SEQ, str(self.after))])
        self._waiting = []

    def close(self, job: JobJson) -> None:
        now = round(1000 * time.time())
        self._waiting += [Metric(name, value, now, job["progress"]["step"]) for name, value in compared(job).items()]
        self.flush()
        if job["status"] in STATUS:
            self._client.set_terminated(self._run, STATUS[job["status"]])


def flat(value: object, path: str = "") -> dict[str, str]:
    """Flatten nested objects: {"a": {"b": 1}} -> {"a.b": "1"}."""
    if not isinstance(value, dict):
        return {path: str(value)}
    parameters: dict[str, str] = {}
    for name, entry in value.items():
        parameters |= flat(entry, f"{path}.{name}" if path else str(name))
    return parameters


def begin(job: JobJson, folder: Path) -> MlflowRun:
    """Start or resume the job's run."""
    return MlflowRun(job, folder)
