"""Specs that commands submit: read from a file, with the data sets of the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.cli.datasets import forget, put_remarks
from service.cli.output import CliError

if TYPE_CHECKING:
    from service.client import Client
    from service.client.types import DatasetJson


def read_spec(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON file; the service validates its fields.

    Raises:
        CliError: the file is not one mapping.
    """
    import yaml

    name = "standard input" if str(path) == "-" else str(path)
    try:
        spec = yaml.safe_load(sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise CliError(f"{name} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(spec, dict):
        raise CliError(
            f"{name} must hold the fields of a job, such as `name:`. `adamss init` writes a spec to start from."
        )
    return spec


def uploaded(client: Client, given: str) -> DatasetJson | None:
    """Upload a file and print what is to be said of it on standard error; return None for the id of a data set."""
    path = Path(given)
    if given.startswith("ds_") and not path.exists():
        return None
    if not path.is_file():
        raise CliError(f"--dataset: {given} is neither the id of a data set nor a file.")
    dataset = client.upload_dataset(path)
    put_remarks(dataset)
    return dataset


@contextmanager
def dataset_while(client: Client, given: str) -> Iterator[str]:
    """Yield a data set's id; at the end, delete what was uploaded for it."""
    dataset = uploaded(client, given)
    try:
        yield id_of(dataset, given)
    finally:
        if dataset is not None:
            forget(client, dataset)


def id_of(dataset: DatasetJson | None, given: str) -> str:
    return given if dataset is None else dataset["id"]


def trained_on(fields: dict[str, Any], ids: list[str]) -> dict[str, Any]:
    """Return the spec with the data sets to train on, where any are given."""
    if not ids:
        return fields
    return fields | {"dataset": {**(fields.get("dataset") or {}), "train": ids if len(ids) > 1 else ids[0]}}


def set_value(text: str) -> Any:
    """Read the value of `--set FIELD=VALUE`: YAML, as in a spec; else the text itself, such as a pattern *_proj."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
