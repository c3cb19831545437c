"""What people change of a job: `adamss jobs edit`, and how it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.output import CliError, JobId, Json, connect, examples, print_fields
from service.cli.terminal import put_json

if TYPE_CHECKING:
    from service.client.types import JobJson

EDIT = examples(
    "adamss jobs edit JOB --tag keep --group rates",
    "adamss jobs edit JOB --priority -10                 let others go first",
    "adamss jobs edit JOB --untag keep --notes 'rate too high' --name reviews-2",
)


def edit(
    job: JobId,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Add a tag; may be given several times.")] = None,
    untag: Annotated[list[str] | None, typer.Option(help="Take a tag away; may be given several times.")] = None,
    notes: Annotated[str | None, typer.Option(help="A text in the place of the notes; '' removes them.")] = None,
    group: Annotated[str | None, typer.Option(help="Put the job into a group; '' takes it out.")] = None,
    baseline: Annotated[
        bool | None, typer.Option(help="Compare others of its group (without one: of the project) with this job.")
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(min=-100, max=100, help="New priority of a waiting job; above 0 needs an admin's key."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Change a job's name, tags, notes and group, in whatever state it is, or the priority of one that waits."""
    given = {"name": name, "baseline": baseline, "priority": priority}
    changes: dict[str, Any] = {title: value for title, value in given.items() if value is not None}
    changes |= {title: text or None for title, text in (("notes", notes), ("group", group)) if text is not None}
    if not (changes or tag or untag):
        raise CliError("Nothing to change: give --name, --tag, --untag, --notes, --group, --baseline or --priority.")
    with connect() as client:
        if tag or untag:
            kept = [one for one in client.get_job(job).get("tags", []) if one not in (untag or [])]
            changes["tags"] = [*kept, *(tag or [])]
        found = client.edit_job(job, **changes)
    if as_json:
        put_json(found)
    else:
        print_fields({"id": found["id"], "name": found["name"], **written_on(found)})


def written_on(job: JobJson) -> dict[str, object]:
    """Return owner, priority, devices, group, pin, tags and notes of a job, as far as they are worth a line."""
    written = {"owner": job.get("owner"), "priority": job.get("priority"), "group": job.get("group")}
    if not job.get("preemptible", True):
        written["preemptible"] = "no: jobs of a higher priority wait for its end"
    devices, kind = job.get("devices", 1), job.get("device_kind")
    if devices > 1 or kind:
        written["devices"] = f"{devices} of kind {kind}" if kind else str(devices)
    if job.get("baseline"):
        written["pinned"] = "as the baseline of its group" if job.get("group") else "as the baseline of the project"
    written |= {"tags": ", ".join(job.get("tags", [])), "notes": job.get("notes")}
    return {title: text for title, text in written.items() if text}
