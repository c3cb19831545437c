"""Commands of `adamss jobs` on finished models: evaluate one on other data, and show where it errs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from service.cli.evaluation import print_report
from service.cli.job_facts import plan_warnings
from service.cli.job_spec import id_of, uploaded
from service.cli.jobs import watch_to_end
from service.cli.output import JobId, Json, connect, examples, number, print_table
from service.cli.terminal import put, put_json

EVALUATE = examples(
    "adamss jobs evaluate JOB --dataset unseen.csv --watch",
    "adamss jobs evaluate JOB --dataset ds_... --model base   what the base model does without training",
    "adamss jobs list --evaluates JOB",
)
EVALUATION = examples("adamss jobs evaluation JOB", "adamss jobs evaluation JOB --json > evaluation.json")
WORST = examples("adamss jobs worst JOB", "adamss jobs worst JOB --limit 100 --json > worst.json")
SAMPLES = examples("adamss jobs samples JOB", "adamss jobs samples JOB --json > samples.json")


def evaluate(
    job: JobId,
    dataset: Annotated[
        str,
        typer.Option(
            help="Rows with the columns and labels of the training data: the id of a data set, or a file to upload.",
            metavar="ID|FILE",
        ),
    ],
    model: Annotated[
        str, typer.Option(help="trained, or base for the base model alone, where it needs no new head.")
    ] = "trained",
    name: Annotated[str | None, typer.Option(help="A name for the evaluation.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end, and show the report.")] = False,
    as_json: Json = False,
) -> None:
    """Evaluate a finished job's model on other data; print the id of the job, and on standard error its warnings."""
    with connect() as client:
        made = client.evaluate(job, id_of(uploaded(client, dataset), dataset), model=model, name=name)
        put(*plan_warnings(made), err=True)
        if watch:
            watch_to_end(client, made["id"], as_json)
            if not as_json:
                _print_reports(client.evaluation(made["id"]))
        elif as_json:
            put_json(made)
        else:
            put(made["id"])


def hardest(
    job: JobId,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of rows.")] = 20,
    as_json: Json = False,
) -> None:
    """List the hardest held-out rows by the finished model's loss: wrong labels show up here first."""
    with connect() as client:
        rows = client.worst(job, limit)
    if as_json:
        put_json(rows)
        return
    lines = [
        [
            f"{row.get('dataset') or row['data']} {row['row']}",
            number(row["loss"]),
            row["expected"],
            row["predicted"],
            *row["input"].values(),
        ]
        for row in rows
    ]
    titles = ["ROW", "LOSS", "EXPECTED", "PREDICTED", *(rows[0]["input"] if rows else [])]
    print_table([title.upper() for title in titles], lines, "No examples yet: they are stored when the job succeeds.")


def evaluation(job: JobId, as_json: Json = False) -> None:
    """Show how the finished model does in full: beside its baseline, for each class, and where it errs."""
    with connect() as client:
        found = client.evaluation(job)
    if as_json:
        put_json(found)
        return
    _print_reports(found)
    if not found:
        put("No evaluation yet: it is stored when the job succeeds.")


def samples(job: JobId, as_json: Json = False) -> None:
    """Print what a text generation job writes for a few held-out prompts: before training, and by now."""
    with connect() as client:
        found = [event["data"] for event in client.events(job) if event["type"] == "samples" and "data" in event]
    if as_json:
        put_json(found)
        return
    shown = [found[0], found[-1]] if found and found[0]["step"] != found[-1]["step"] else found[-1:]
    columns = ["row", "prompt", "expected"]
    rows = [[_one_line(sample[name]) for name in columns] for sample in (shown[0]["samples"] if shown else [])]
    for evaluation in shown:
        written = {sample["row"]: _one_line(sample["completion"]) for sample in evaluation["samples"]}
        columns.append(f"step {evaluation['step']}")
        rows = [[*row, written.get(row[0])] for row in rows]
    print_table([column.upper() for column in columns], rows, "No samples yet: text generation jobs write some.")


def _print_reports(reports: list[dict[str, Any]]) -> None:
    for place, report in enumerate(reports):
        if place:
            put("")
        print_report(report)


def _one_line(value: object) -> object:
    return " ".join(value.split()) if isinstance(value, str) else value
