"""What every follower does, and which there are."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, get_args

if TYPE_CHECKING:
    from pathlib import Path

    from service.client import Client
    from service.client.types import JobJson, MetricJson

Target = Literal["tensorboard", "mlflow", "wandb"]
TARGETS: tuple[Target, ...] = get_args(Target)


class Follower(Protocol):
    """Takes a job's rows.

    Attributes:
        where: where they can be looked at, in words.
        after: the last sequence number that an earlier run of the follower has taken.
    """

    where: str
    after: int

    def take(self, row: MetricJson) -> None: ...

    def flush(self) -> None:
        """What was taken can be looked at within seconds."""

    def close(self, job: JobJson) -> None:
        """The job has ended, or is not followed any longer."""


class MissingExtra(Exception):
    """The tool is not installed."""


def open_follower(target: Target, job: JobJson, folder: Path) -> Follower:
    """Begins, or goes on with, the copy of a job in a tool.

    Args:
        folder: for what the tool keeps in files.

    Raises:
        MissingExtra: its package is not there.
    """
    try:
        module = import_module(f"service.operations.trackers.{target}_run")
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("service"):
            raise
        raise MissingExtra(f'{target} is not installed here. Install it: pip install "adamss[{target}]"') from error
    make: Callable[[JobJson, Path], Follower] = module.begin
    return make(job, folder)


def follow(client: Client, job_id: str, follower: Follower) -> int:
    """Hands over every row once, until the job has ended; how many there were."""
    count = 0
    try:
        for rows in client.iter_pages(job_id, after=follower.after):
            for row in rows:
                follower.take(row)
            follower.flush()
            count += len(rows)
    finally:
        follower.close(client.get_job(job_id))
    return count


def named(row: MetricJson) -> dict[str, float]:
    """A row's numbers under the names that tools group by: train/loss, eval/accuracy."""
    found = {}
    for name, value in row["values"].items():
        if value is not None:
            found[name.replace("eval_", "eval/", 1) if row["kind"] == "eval" else f"train/{name}"] = float(value)
    return found
