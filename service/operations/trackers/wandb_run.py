"""Export to a run in Weights & Biases with the job's id. WANDB_MODE=offline writes files for `wandb sync`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wandb

from service.client.types import JobJson, MetricJson
from service.operations.trackers.follow import compared, named

PROJECT = "adamss"
LAST_SEQ = "adamss_seq"


class WandbRun:
    """Follower with its own step metric: W&B's step must increase, but an evaluation repeats the step of a row."""

    def __init__(self, job: JobJson, folder: Path, options: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        named = {"project": PROJECT, "name": job["name"]} | {key: value for key, value in options.items() if value}
        self._run: Any = wandb.init(
            id=job["id"],
            config=job["resolved"]["spec"],
            dir=str(folder),
            resume="allow",
            reinit="create_new",  # a worker copies several jobs at a time
            **named,
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        # An offline run has no access to its earlier state, so a file beside it stores the last sequence number.
        self._last_seq = folder / f"{job['id']}.{LAST_SEQ}"
        known = self._last_seq.read_text() if self._last_seq.exists() else self._run.summary.get(LAST_SEQ)
        self.after = int(known or 0)
        self.where = self._run.url or f"wandb sync {self._run.dir.removesuffix('/files')}"

    def write(self, row: MetricJson) -> None:
        self._run.log(named(row) | {"step": row["step"]})
        self.after = row["seq"]

    def flush(self) -> None:
        """Store the last sequence number; W&B's own process writes the logged rows."""
        self._last_seq.write_text(str(self.after))

    def close(self, job: JobJson) -> None:
        self._run.summary.update({LAST_SEQ: self.after} | compared(job))
        self._last_seq.write_text(str(self.after))
        self._run.finish(exit_code=0 if job["status"] != "failed" else 1)


def begin(job: JobJson, folder: Path, **options: Any) -> WandbRun:
    """Start or resume the job's run.

    Args:
        options: `project`, `name`, `entity` and `tags` of the run, as far as they are given.
    """
    return WandbRun(job, folder, options)
