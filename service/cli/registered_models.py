"""Commands of `adamss models` on trained models that are served under a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import JobId, Json, connect, examples, print_table, when
from service.cli.terminal import put, put_json

if TYPE_CHECKING:
    from service.client.model_types import RegisteredModelJson, VersionJson

PUBLISH = examples("adamss models publish JOB sentiment", "adamss models publish JOB sentiment --label staging")
LABEL = examples("adamss models label sentiment 3 live", "adamss models label sentiment none staging")
WEBHOOK = examples("adamss models webhook sentiment https://example.org/models", "adamss models webhook sentiment none")
NONE = "none"
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a registered model, such as sentiment.")]
Labels = Annotated[
    list[str] | None, typer.Option("--label", help="Stage label that names the version; may be given several times.")
]


def publish(job: JobId, name: Name, label: Labels = None, as_json: Json = False) -> None:
    """Publish a succeeded job's model as the next version of a name, as live by default."""
    with connect() as client:
        _show(client.publish_model(job, name, label or ("live",)), as_json)


def registered(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this one with all its versions.")] = None,
    as_json: Json = False,
) -> None:
    """List registered models, or the versions of one."""
    with connect() as client:
        if name is not None:
            _show(client.registered_model(name), as_json)
            return
        found = client.registered_models()
    if as_json:
        put_json(found)
        return
    rows = [
        [one["name"], one["task"], len(one["versions"]), ", ".join(f"{k}={v}" for k, v in one["labels"].items())]
        for one in found
    ]
    print_table(["NAME", "TASK", "VERSIONS", "LABELS"], rows, "None yet. Publish one: adamss models publish JOB NAME.")


def label(
    name: Name,
    version: Annotated[str, typer.Argument(help="Number of the version, or none to remove the label.")],
    label: Annotated[str, typer.Argument(help="The label, such as staging or live.")],
    as_json: Json = False,
) -> None:
    """Let a stage label name a version, or remove the label."""
    if not version.isdecimal() and version != NONE:
        raise typer.BadParameter(f"'{version}' is no number of a version, nor none.")
    with connect() as client:
        _show(client.label_model(name, label, None if version == NONE else int(version)), as_json)


def rollback(
    name: Name, label: Annotated[str, typer.Option(help="The label to put back.")] = "live", as_json: Json = False
) -> None:
    """Let a label name the version that it named before."""
    with connect() as client:
        _show(client.rollback_model(name, label), as_json)


def webhook(
    name: Name, url: Annotated[str, typer.Argument(help="URL that receives each change; none ends that.")]
) -> None:
    """Set the webhook that receives a registered model's changes."""
    with connect() as client:
        client.set_model_webhook(name, None if url == NONE else url)
    put(f"Changes of {name} are sent to {url}." if url != NONE else f"Changes of {name} are not sent.")


def withdraw(
    name: Name,
    version: Annotated[int | None, typer.Argument(min=1, help="Only this version; else the whole name.")] = None,
    force: Annotated[bool, typer.Option(help="Also a version that a label names.")] = False,
) -> None:
    """Withdraw a version, or a name with all its versions; their jobs stay."""
    with connect() as client:
        client.withdraw_model(name, version, force=force)
    put(f"Withdrew {name}." if version is None else f"Withdrew {name}@{version}.")


def _show(model: RegisteredModelJson, as_json: bool) -> None:
    if as_json:
        put_json(model)
        return
    rows = [_row(version) for version in model["versions"]]
    print_table(["VERSION", "LABELS", "JOB", "METRIC", "ARTIFACTS", "DATA", "PUBLISHED"], rows, "No version is left.")


def _row(version: VersionJson) -> list[object]:
    metric = version["metric"]
    value = "" if metric is None or metric["value"] is None else f"{metric['name']} {metric['value']:.4g}"
    parts = (", ".join(version["labels"]), version["job"], value, ", ".join(version["artifacts"]))
    return [version["version"], *parts, ", ".join(version["datasets"]), when(version["created_at"])]
