"""Command `adamss jobs clone`: another job from the spec of one that exists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.job_spec import set_value
from service.cli.jobs import submit_spec
from service.cli.output import CliError, JobId, Json, connect, examples
from service.cli.terminal import put_json, put_piece

if TYPE_CHECKING:
    from service.client.types import JobJson

CLONE = examples(
    "adamss jobs clone JOB --set training.learning_rate=0.002 --watch",
    "adamss jobs clone JOB --dataset more.csv --name reviews-2 --dry-run",
    "adamss jobs clone JOB --spec > spec.yaml            edit it, then: adamss jobs submit spec.yaml",
)


def clone(
    job: JobId,
    name: Annotated[str | None, typer.Option(help="A name for the new job; by default that of the old one.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a field, such as training.epochs=3; FIELD= takes its default. May be given several times.",
            metavar="FIELD=VALUE",
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(help="Training data in the place of the job's; may be given several times.", metavar="ID|FILE"),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the job until it ends.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and estimate; create nothing. A FILE is not kept.")
    ] = False,
    only_spec: Annotated[bool, typer.Option("--spec", help="Print the spec as YAML; create nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Submit another job with the spec of this one, and the changes given; print its id."""
    if only_spec and (dataset or watch or dry_run):
        raise CliError("--spec creates nothing, so it goes neither with --dataset nor with --watch or --dry-run.")
    with connect() as client:
        spec = changed(spec_of(client.get_job(job)), changes or (), name)
    if not only_spec:
        submit_spec(spec, dataset or (), watch=watch, dry_run=dry_run, as_json=as_json)
    elif as_json:
        put_json(spec)
    else:
        import yaml

        put_piece(yaml.safe_dump(spec, sort_keys=False, allow_unicode=True))


def spec_of(job: JobJson) -> dict[str, Any]:
    """Return the spec that a job was submitted with.

    Raises:
        CliError: the job trains nothing, so that its spec is another job's.
    """
    if evaluated := job.get("evaluates"):
        raise CliError(
            f"{job['id']} is an evaluation. Repeat it: adamss jobs evaluate {evaluated['job']} "
            f"--dataset {evaluated['dataset']} --model {evaluated['model']}"
        )
    if inspected := job.get("inspects"):
        raise CliError(f"{job['id']} measures a spectrum. Repeat it: adamss inspect {inspected['model']}")
    return job["spec"]


def changed(spec: dict[str, Any], changes: Sequence[str], name: str | None) -> dict[str, Any]:
    """Return the spec with changed fields; the service validates them.

    Args:
        changes: texts such as training.epochs=3; the value is YAML, and an empty one takes the field's default.

    Raises:
        CliError: a text is no change, or leads into a field that has no fields.
    """
    made = {key: dict(value) if isinstance(value, dict) else value for key, value in spec.items()}
    if name is not None:
        made["name"] = name
    for change in changes:
        _change(made, change)
    return made


def _change(spec: dict[str, Any], change: str) -> None:
    field, equals, text = change.partition("=")
    block, dot, inner = field.strip().rpartition(".")
    if not equals or not inner or (dot and not block):
        raise CliError(f"--set: '{change}' must be FIELD=VALUE, such as training.epochs=3.")
    value, place = set_value(text), spec
    for part in filter(None, block.split(".")):
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, dict):
            raise CliError(f"--set: {field.strip()}: {part} has no fields of its own.")
    if text.strip():
        place[inner] = value
    else:
        place.pop(inner, None)
