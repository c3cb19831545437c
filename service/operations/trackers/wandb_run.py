"""A run in Weights & Biases under the job's id. WANDB_MODE=offline keeps it in files, for `wandb sync`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wandb

from service.client.types import JobJson, MetricJson
from service.operations.trackers.follow import named

PROJECT = "adamss"
PLACE = "adamss_seq"


class WandbRun:
    """Numbers go against a step of our own: W&B's may not go back, and an evaluation follows the row of its step."""

    def __init__(self, job: JobJson, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = job["resolved"]["spec"]
        self._run: Any = wandb.init(
            project=PROJECT, id=job["id"], name=job["name"], config=config, dir=str(folder), resume="allow"
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        # An offline run does not know what it was before; a file beside it does.
        self._place = folder / f"{job['id']}.{PLACE}"
        known = self._place.read_text() if self._place.exists() else self._run.summary.get(PLACE)
        self.after = int(known or 0)
        self.where = self._run.url or f"wandb sync {self._run.dir.removesuffix('/files')}"

    def take(self, row: MetricJson) -> None:
        self._run.log(named(row) | {"step": row["step"]})
        self.after = row["seq"]

    def flush(self) -> None:
        """Its own process writes what was logged."""
        self._place.write_text(str(self.after))

    def close(self, job: JobJson) -> None:
        self._run.summary[PLACE] = self.after
        self._place.write_text(str(self.after))
        self._run.finish(exit_code=0 if job["status"] != "failed" else 1)


def begin(job: JobJson, folder: Path) -> WandbRun:
    return WandbRun(job, folder)
