"""Commands of `adamss jobs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from service.cli.contender_table import contender_fact, print_comparison
from service.cli.csv_output import GuardedWriter
from service.cli.estimate import show_estimate
from service.cli.job_facts import devices_fact, phases_line, plan_facts, plan_warnings, waiting_facts
from service.cli.job_notes import written_on
from service.cli.job_spec import dataset_while, id_of, read_spec, trained_on, uploaded
from service.cli.output import (
    CliError,
    Exit,
    JobId,
    Json,
    connect,
    duration,
    examples,
    number,
    print_fields,
    print_rest,
    print_table,
    when,
)
from service.cli.terminal import console, data_output, put, put_json, put_piece

if TYPE_CHECKING:
    from service.client import Client
    from service.client.types import JobJson, JobSummaryJson, PhaseJson

T = TypeVar("T")

app = typer.Typer(help="Submit, follow and stop fine-tuning jobs.", no_args_is_help=True)


@app.command(
    epilog=examples(
        "adamss jobs submit spec.yaml",
        "adamss jobs submit spec.yaml --dataset reviews.csv --watch   upload the file first",
        "adamss jobs submit spec.yaml --dry-run                       estimate parameters, memory and time",
    )
)
def submit(
    spec: Annotated[Path, typer.Argument(help="The job spec, YAML or JSON; - reads it from standard input.")],
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            help="Training data: the id of a data set, or a file to upload. May be given several times.",
            metavar="ID|FILE",
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the job until it ends.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and estimate; create nothing. A FILE is not kept.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Submit a job; print its id, and on standard error the warnings of its plan and what is to be said of a FILE."""
    submit_spec(read_spec(spec), dataset or (), watch=watch, dry_run=dry_run, as_json=as_json)


@app.command(
    name="list", epilog=examples("adamss jobs list --status running", "adamss jobs list --name reviews --json")
)
def list_jobs(
    status: Annotated[str | None, typer.Option(help="Only jobs in this state: queued, running, failed…")] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of this name.")] = None,
    evaluates: Annotated[str | None, typer.Option(help="Only evaluations of this job's model.", metavar="JOB")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only jobs with this tag; several: with all of them.")] = None,
    group: Annotated[str | None, typer.Option(help="Only jobs of this group.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only jobs submitted with the key of this name.")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only jobs submitted with your own key.")] = False,
    dataset: Annotated[str | None, typer.Option(help="Only jobs that use this data set.", metavar="ID")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of jobs.")] = 50,
    as_json: Json = False,
) -> None:
    """List the jobs, newest first."""
    narrowed: dict[str, Any] = {"evaluates": evaluates, "tags": tag or (), "group": group, "dataset": dataset}
    with connect() as client:
        found = client.list_jobs(status, name, limit, **narrowed, owner="me" if mine else owner)
    if as_json:
        put_json(found)
        return
    rows = [
        [
            *(job["id"], job["name"], job["status"], _steps(job), _best(job), when(job["created_at"])),
            *(devices_fact(job), *_doubts(job), ", ".join(job.get("tags", []))),
        ]
        for job in found
    ]
    titles = ["ID", "NAME", "STATUS", "STEP", "BEST", "CREATED", "DEVICES", "BASELINE", "WARNINGS", "TAGS"]
    print_table(titles, rows, "No jobs. Begin with: adamss init")
    print_rest(found)


@app.command()
def show(job: JobId, as_json: Json = False) -> None:
    """Show a job: its state, metrics and, if it failed, the error."""
    with connect() as client:
        found = client.get_job(job)
        spent: list[PhaseJson] = [] if as_json else _known(client.phases, job, [])
        ends: dict[str, str | None] = {} if as_json else _known(client.retention, job, {})
    if as_json:
        put_json(found)
        return
    fields: dict[str, object] = {name: found[name] for name in ("id", "name", "status", "attempt")}
    fields |= {
        "step": _steps(found),
        "eta": duration(found["progress"]["eta_seconds"]),
        **contender_fact(found),
        "created": when(found["created_at"]),
    }
    if archived := found.get("metrics_archived_at"):
        fields["metrics"] = f"in its artifact since {when(archived)}"
    fields |= written_on(found) | waiting_facts(found) | plan_facts(found)
    fields |= {"best": _best(found)} if found["result"] else {}
    if before := (found["result"] or {}).get("before_training"):
        measured = [f"{name} {number(value)}" for name, value in before.items() if value is not None]
        fields["before training"] = ", ".join(measured)
    if judgement := found.get("judgement"):
        fields["baseline"] = f"{judgement['metric']} {_baseline(found)}, predicts {judgement['predicts']}"
        if judgement["low"] is not None:
            bounds = f"{judgement['low']:.4f} to {judgement['high']:.4f}"
            fields["interval"] = f"{bounds} ({judgement['level']:.0%}, {judgement['method']}, {judgement['rows']} rows)"
    fields |= {name: value for name, value in (found["result"] or {}).items() if not isinstance(value, (dict, list))}
    if spent:
        fields["phases"] = phases_line(spent)
    if kept := [f"{what} {when(end)}" for what, end in ends.items() if end is not None]:
        fields["kept until"] = ", ".join(kept)
    if error := found["error"]:
        fields |= {"error": f"{error['code']}: {error['message']}", "hint": error.get("hint")}
    print_fields(fields)
    print_comparison(found)
    put(*plan_warnings(found))
    _print_warnings(found)


@app.command()
def watch(job: JobId, as_json: Json = False) -> None:
    """Follow a job until it ends; Ctrl-C stops following, not the job."""
    with connect() as client:
        _watch(client, job, as_json)


@app.command()
def cancel(job: JobId, as_json: Json = False) -> None:
    """Cancel a job; it cannot be resumed."""
    with connect() as client:
        _print_state(client.cancel(job), as_json)


@app.command()
def pause(job: JobId, as_json: Json = False) -> None:
    """Pause a job: it writes a checkpoint and frees its device."""
    with connect() as client:
        _print_state(client.pause(job), as_json, f" Resume it later: adamss jobs resume {job}")


@app.command(epilog=examples("adamss jobs resume JOB --time-limit 7200", "adamss jobs resume JOB --devices 1"))
def resume(
    job: JobId,
    time_limit: Annotated[
        float | None,
        typer.Option(
            help="A new limit of the training's seconds, over all attempts; needed where the limit ended the job.",
            metavar="SECONDS",
        ),
    ] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Another number of devices to train on.")] = None,
    as_json: Json = False,
) -> None:
    """Resume a paused job from its checkpoint, or one that its time limit has ended."""
    with connect() as client:
        _print_state(client.resume(job, time_limit, devices=devices), as_json)


@app.command(epilog=examples("adamss jobs delete JOB", "adamss jobs delete JOB OTHER_JOB"))
def delete(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of ended jobs.")],
    force: Annotated[bool, typer.Option(help="Also jobs whose model is registered; it is withdrawn.")] = False,
) -> None:
    """Delete ended jobs, with their metrics, checkpoints and artifacts."""
    with connect() as client:
        for job in jobs:
            client.delete_job(job, force=force)
            put(f"Deleted {job}.")


@app.command()
def logs(
    job: JobId, follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow until the job ends.")] = False
) -> None:
    """Print the training log."""
    with connect() as client:
        for piece in client.iter_logs(job, follow):
            put_piece(piece)


@app.command(epilog=examples("adamss jobs metrics JOB --csv > metrics.csv"))
def metrics(
    job: JobId,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Json = False,
) -> None:
    """Print the metrics, one row per logged step."""
    with connect() as client:
        rows = list(client.iter_metrics(job, follow=False))
    if as_json:
        put_json(rows)
        return
    names = list(dict.fromkeys(name for row in rows for name in row["values"]))
    titles = ["step", "epoch", "time", *names]
    lines = [[row["step"], row["epoch"], row["time"], *(row["values"].get(name) for name in names)] for row in rows]
    if as_csv:
        with data_output() as out:
            writer = GuardedWriter(out, titles)
            for line in lines:
                writer.write(line)
        return
    narrow = [[step, f"{epoch:.2f}", *map(number, values)] for step, epoch, _, *values in lines]
    print_table(["step", "epoch", *names], narrow, "No metrics yet.")


@app.command(
    epilog=examples(
        "adamss jobs export JOB --to tensorboard --out runs",
        "MLFLOW_TRACKING_URI=http://127.0.0.1:5000 adamss jobs export JOB --to mlflow",
    )
)
def export(
    job: JobId,
    to: Annotated[str, typer.Option(help="tensorboard, mlflow or wandb; each is an optional extra.")],
    out: Annotated[Path, typer.Option(help="Folder for the tool's files.")] = Path("runs"),
) -> None:
    """Export a job's metrics to a tracker until the job ends. A repeated call continues where the last one stopped."""
    from service.operations.trackers import TARGETS, MissingExtra, follow, open_follower

    target = next((known for known in TARGETS if known == to), None)
    if target is None:
        raise CliError(f"--to must be one of {', '.join(TARGETS)}, but is '{to}'.")
    with connect() as client:
        try:
            follower = open_follower(target, client.get_job(job), out)
        except MissingExtra as error:
            raise CliError(str(error)) from error
        put(f"View it: {follower.where}")
        put(f"Exported {follow(client, job, follower)} rows.")


def submit_spec(fields: dict[str, Any], dataset: Sequence[str], *, watch: bool, dry_run: bool, as_json: bool) -> None:
    """Submit a spec on the data sets given, and print the job's id; or only estimate it."""
    with connect() as client:
        if dry_run:
            with ExitStack() as stack:
                ids = [stack.enter_context(dataset_while(client, given)) for given in dataset]
                show_estimate(client.dry_run(trained_on(fields, ids)), as_json)
            return
        job = client.submit(trained_on(fields, [id_of(uploaded(client, given), given) for given in dataset]))
        if not as_json:
            put(*plan_warnings(job), err=True)
        if watch:
            _watch(client, job["id"], as_json)
        elif as_json:
            put_json(job)
        else:
            put(job["id"])


def _watch(client: Client, job_id: str, as_json: bool) -> None:
    job = watch_to_end(client, job_id, as_json)
    if not as_json:
        print_comparison(job)
        _print_warnings(job)
        put(f"Done. Download it: adamss artifacts download {job_id} --extract")


def watch_to_end(client: Client, job_id: str, as_json: bool) -> JobJson:
    """Follow a job until it has succeeded, and return it.

    Raises:
        typer.Exit: the job has ended otherwise, or the user stops following it.
    """
    from service.cli.watch import watch as watch_display
    from service.cli.watch import watch_json

    try:
        job = watch_json(client, job_id) if as_json else watch_display(client, job_id, console())
    except KeyboardInterrupt:
        put(
            "",
            f"The job continues. Follow it: adamss jobs watch {job_id}   stop it: adamss jobs cancel {job_id}",
            err=True,
        )
        raise typer.Exit(Exit.INTERRUPTED) from None
    if job["status"] != "succeeded":
        raise typer.Exit(Exit.JOB_FAILED)
    return job


def _known(call: Callable[[str], T], job: str, unknown: T) -> T:
    """Call a route of a job; return `unknown` where the service is older than it."""
    from service.client.errors import ApiError

    try:
        return call(job)
    except ApiError as error:
        if error.status != 404:
            raise
        return unknown


def _print_state(job: JobJson, as_json: bool, more: str = "") -> None:
    if as_json:
        put_json(job)
    else:
        put(f"{job['id']} is {job['status']}.{more}")


def _best(job: JobSummaryJson) -> str:
    """Such as `accuracy 0.8125`: the metric that chose the published checkpoint, or that an evaluation found."""
    chosen, result, kind = job.get("best_metric"), job["result"] or {}, "test" if job.get("evaluates") else "eval"
    value = result.get(f"{kind}_{chosen['name']}") if chosen else None
    return f"{chosen['name']} {value:.4f}" if chosen and value is not None else ""


def _baseline(job: JobSummaryJson) -> str:
    """Such as `0.5714`: the baseline's value of the metric that `_best` shows."""
    judgement = job.get("judgement")
    return f"{judgement['baseline']:.4f}" if judgement and judgement["baseline"] is not None else ""


def _doubts(job: JobSummaryJson) -> list[str]:
    """Baseline and codes of the warnings, for a table."""
    return [_baseline(job), " ".join(warning["code"] for warning in job.get("warnings", []))]


def _print_warnings(job: JobJson) -> None:
    """Print the reasons to doubt the result of a job."""
    for warning in job.get("warnings", []):
        put(f"warning: {warning['code']}: {warning['message']}")


def _steps(job: JobSummaryJson) -> str:
    return f"{job['progress']['step']}/{job['progress']['total_steps']}"
