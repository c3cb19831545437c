"""Commands of `adamss artifacts`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import JobId, Json, connect, examples, print_table, size
from service.cli.terminal import put, put_json

app = typer.Typer(help="List and download a job's artifacts.", no_args_is_help=True)
NO_ARTIFACTS = "No artifacts: each is published once it is written and verified, after the training."


@app.command(name="list")
def list_artifacts(job: JobId, as_json: Json = False) -> None:
    """List a job's artifacts: adapter, lora, merged, and metrics as a Parquet file."""
    with connect() as client:
        artifacts = client.artifacts(job)
    if as_json:
        put_json(artifacts)
        return
    rows = [[artifact["name"], size(artifact["size_bytes"]), artifact["sha256"]] for artifact in artifacts]
    print_table(["NAME", "SIZE", "SHA256"], rows, NO_ARTIFACTS)


@app.command(
    epilog=examples(
        "adamss artifacts download JOB                           all, as zip files",
        "adamss artifacts download JOB lora --to out --extract   out/lora, for PeftModel.from_pretrained",
        "adamss artifacts download JOB metrics --extract         metrics/metrics.parquet, for pandas.read_parquet",
    )
)
def download(
    job: JobId,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]…", help="adapter, lora, merged, metrics. Default: all.")
    ] = None,
    to: Annotated[Path, typer.Option(file_okay=False, help="Folder to write to.")] = Path(),
    extract: Annotated[bool, typer.Option("--extract", help="Unpack each artifact into a folder of its name.")] = False,
    as_json: Json = False,
) -> None:
    """Download artifacts; an interrupted download resumes where it stopped, and the sha256 is verified."""
    with connect() as client:
        chosen = names or [artifact["name"] for artifact in client.artifacts(job)]
        paths = {name: str(client.download(job, name, to, extract=extract)) for name in chosen}
    if as_json:
        put_json(paths)
    else:
        put(*paths.values() or [NO_ARTIFACTS])
