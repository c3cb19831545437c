"""Protocol of followers, and the loop that feeds them a job's metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

if TYPE_CHECKING:
    from pathlib import Path

    from service.client import Client
    from service.client.types import JobJson, MetricJson

Target = Literal["tensorboard", "mlflow", "wandb"]
_PLAIN = str.maketrans({":": "-", "=": "", "@": "-"})  # MLflow takes neither "=" nor "@" in a name
TARGETS: tuple[Target, ...] = get_args(Target)


class Follower(Protocol):
    """Writer of a job's metrics to a tool.

    Attributes:
        where: location of the metrics in the tool, in words.
        after: last sequence number written by an earlier run of the follower.
    """

    where: str
    after: int

    def write(self, row: MetricJson) -> None: ...

    def flush(self) -> None:
        """Make the written rows visible in the tool within seconds."""

    def close(self, job: JobJson) -> None:
        """Finish the export, because the job has ended or is no longer followed."""


class MissingExtra(Exception):
    """Absence of the tool's package."""


def open_follower(target: Target, job: JobJson, folder: Path, options: Mapping[str, Any] | None = None) -> Follower:
    """Start or resume the export of a job to a tool.

    Args:
        folder: folder for the tool's files.
        options: further arguments for `begin` of the tool's module.

    Raises:
        MissingExtra: the tool's package is not installed.
    """
    try:
        module = import_module(f"service.operations.trackers.{target}_run")
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("service"):
            raise
        raise MissingExtra(f'{target} is not installed here. Install it: pip install "adamss[{target}]"') from error
    make: Callable[..., Follower] = module.begin
    return make(job, folder, **(options or {}))


def follow(client: Client, job_id: str, follower: Follower) -> int:
    """Write every row once, until the job has ended; return the number of rows."""
    count = 0
    try:
        for rows in client.iter_pages(job_id, after=follower.after):
            for row in rows:
                follower.write(row)
            follower.flush()
            count += len(rows)
    finally:
        follower.close(client.get_job(job_id))
    return count


def compared(job: JobJson) -> dict[str, float]:
    """Name the metrics of the contenders, and the elements of A and B, such as compare/lora-r1/accuracy."""
    numbers: dict[str, float] = {}
    for entry in (job.get("comparison") or {"contenders": []})["contenders"]:
        prefix = f"compare/{entry['contender'].translate(_PLAIN)}"
        for part in (entry["held_out"], entry["test"]):
            where = "" if part is entry["held_out"] else "test_"
            values = {} if part is None else part["metrics"]
            numbers |= {f"{prefix}/{where}{name}": value for name, value in values.items() if value is not None}
        if entry["adapter_parameters"] is not None:
            numbers[f"{prefix}/adapter_parameters"] = float(entry["adapter_parameters"])
    return numbers


def named(row: MetricJson) -> dict[str, float]:
    """Name a row's numbers for the tools' grouping by prefix: train/loss, eval/accuracy."""
    numbers = {}
    for name, value in row["values"].items():
        if value is not None:
            numbers[name.replace("eval_", "eval/", 1) if row["kind"] == "eval" else f"train/{name}"] = float(value)
    return numbers
