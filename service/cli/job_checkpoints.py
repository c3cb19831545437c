"""Use checkpoints: `adamss jobs checkpoints` and `adamss jobs publish`."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.jobs import watch_to_end
from service.cli.output import JobId, Json, connect, examples, number, print_table, when
from service.cli.terminal import put, put_json

CHECKPOINTS = examples("adamss jobs checkpoints JOB", "adamss predict JOB 'A text.' --checkpoint 40")
PUBLISH = examples("adamss jobs publish JOB 40 --watch", "adamss jobs publish JOB 40 --artifact lora")


def checkpoints(job: JobId, as_json: Json = False) -> None:
    """List the checkpoints that a job keeps: the newest, and the best."""
    with connect() as client:
        found = client.checkpoints(job)
    if as_json:
        put_json(found)
        return
    rows = [
        (one["step"], "best" if one["best"] else "", when(one["created_at"]), _values(one["values"])) for one in found
    ]
    print_table(("STEP", "", "WRITTEN", "EVALUATION"), rows, "The job keeps no checkpoints.")


def _values(values: dict[str, object]) -> str:
    return ", ".join(f"{name.removeprefix('eval_')} {number(value)}" for name, value in values.items())


def publish(
    job: JobId,
    step: Annotated[int, typer.Argument(min=1, help="Step of a checkpoint; `adamss jobs checkpoints JOB` lists them.")],
    artifact: Annotated[
        list[str] | None, typer.Option(help="adapter, lora or merged; may be given several times. Default: all.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")] = False,
    as_json: Json = False,
) -> None:
    """Publish a checkpoint of an ended job: a new job evaluates it and writes its artifacts; print its id."""
    with connect() as client:
        made = client.publish_checkpoint(job, step, artifacts=artifact)
        if watch:
            watch_to_end(client, made["id"], as_json)
        elif as_json:
            put_json(made)
        else:
            put(made["id"])
