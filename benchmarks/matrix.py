"""`make bench-matrix`: every task on every family of base models, in every precision, through to verified artifacts.

A cell is planned by the service itself and, unless that refuses it, trained for two steps on a tiny model of the
family, with all artifacts verified. Each cell must be ok, or refused before it starts, with a reason.

Usage: python -m benchmarks.matrix [--families NAME ...] [--tasks KIND ...] [--precisions NAME ...]
                                   [--models NAME=FOLDER ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fastapi.testclient import TestClient

from adamss_core.errors import AdamssError
from adamss_core.spec import JobSpec
from adamss_core.training.null_reporter import NullReporter
from adamss_core.training.request import RunRequest
from adamss_core.training.run import run
from benchmarks.report import Section, write_json
from benchmarks.tiny_families import FAMILIES, build, rows_for
from service.http.app import create_app
from service.keys.service import own_key
from service.shared.database.migrate import upgrade
from service.shared.settings import Settings

RESULTS = Path(__file__).parent / "results" / "matrix.json"
OK, REFUSED, FAILED = "ok", "refused", "FAILED"

# kind of rows -> fields of the job
KINDS: dict[str, dict[str, Any]] = {
    "classes": {"task": "text-classification"},
    "pairs": {"task": "text-classification", "dataset": {"text_pair": "text_pair"}},
    "label sets": {"task": "text-classification", "problem_type": "multi_label_classification"},
    "numbers": {"task": "text-classification", "problem_type": "regression"},
    "tags": {"task": "token-classification"},
    "images": {"task": "image-classification"},
    "chats": {"task": "text-generation"},
    "completions": {"task": "text-generation"},
}
PRECISIONS: dict[str, dict[str, str]] = {
    "fp32": {"precision": "fp32"},
    "bf16": {"precision": "bf16"},
    "4bit": {"quantization": "4bit", "precision": "fp32"},
    "8bit": {"quantization": "8bit", "precision": "fp32"},
}


@dataclass(frozen=True)
class Cell:
    """A task on a model in a precision, and what came of it."""

    kind: str
    model: str
    precision: str
    outcome: str
    reason: str = ""

    @property
    def text(self) -> str:
        return self.outcome if not self.reason else f"{self.outcome}: {self.reason.partition(' ')[0]}"


class Planner:
    """The service in this process: data sets, and dry runs on the models in its folder."""

    def __init__(self, client: TestClient, settings: Settings) -> None:
        self._client, self._settings = client, settings
        self._datasets: dict[str, str] = {}

    def dataset(self, kind: str) -> str:
        """Upload a kind's rows once; return their id."""
        if kind not in self._datasets:
            answer = self._client.post("/datasets", files={"file": rows_for(kind)})
            answer.raise_for_status()
            self._datasets[kind] = answer.json()["id"]
        return self._datasets[kind]

    def plan(self, kind: str, model: str, precision: str) -> JobSpec | str:
        """Return the planned spec, or why the service refuses the job."""
        fields = KINDS[kind]
        spec = {
            **fields,
            "name": "cell",
            "base_model": model,
            "dataset": {"train": self.dataset(kind), **fields.get("dataset", {})},
            "adamss": {"r": 8, "num_subspaces": 2},
            "training": {"max_steps": 2, "batch_size": 4, "max_length": 32, **PRECISIONS[precision]},
        }
        answer = self._client.post("/jobs?dry_run=true", json=spec)
        if answer.status_code == 422:
            error = answer.json()["error"]
            return f"{error['code']} {error['message']}"
        answer.raise_for_status()
        return JobSpec.model_validate(answer.json()["spec"])

    def request(self, spec: JobSpec, folder: Path) -> RunRequest:
        """Return the order that a worker would give to its training process."""
        return RunRequest(
            job_id="job_matrix",
            spec=spec,
            train_file=self._settings.files.dataset_rows(spec.dataset.training_sets[0].id),
            eval_file=None,
            model=str(self._settings.files.model(spec.base_model)),
            revision=None,
            folder=folder,
            cache=None,
        )


@contextmanager
def planner(families: list[str], folders: dict[str, Path]) -> Iterator[Planner]:
    """Start the service in a folder of its own, with the models in it."""
    with tempfile.TemporaryDirectory(prefix="adamss-matrix-") as home:
        settings = Settings(home=Path(home))
        upgrade(settings)
        settings.files.models.mkdir(parents=True, exist_ok=True)
        for family in families:
            build(family, settings.files.models)
        for name, folder in folders.items():
            settings.files.model(name).symlink_to(folder.resolve())
        with TestClient(create_app(settings), base_url="http://127.0.0.1:8642") as client:
            client.headers["authorization"] = f"Bearer {own_key(settings)}"
            yield Planner(client, settings)


def try_cell(service: Planner, kind: str, model: str, precision: str) -> Cell:
    """Plan a cell, and train it where it is not refused."""
    planned = service.plan(kind, model, precision)
    if isinstance(planned, str):
        return Cell(kind, model, precision, REFUSED, planned)
    try:
        with tempfile.TemporaryDirectory() as folder:
            outcome = run(service.request(planned, Path(folder)), NullReporter())
            assert [artifact.name for artifact in outcome.artifacts] == planned.artifacts
    except AdamssError as error:
        return Cell(kind, model, precision, FAILED, f"{error.code} {error}")
    except Exception as error:  # whatever it is, the cell is not as promised
        traceback.print_exc(limit=-6)
        return Cell(kind, model, precision, FAILED, f"{type(error).__name__} {error}")
    return Cell(kind, model, precision, OK)


def matrix(service: Planner, kinds: list[str], names: list[str], precisions: list[str]) -> tuple[Section, list[Cell]]:
    """Try every cell; one row for each task on a model, one column for each precision."""
    section = Section("Tasks on families of base models", ["rows", "model", *precisions])
    cells: list[Cell] = []
    for name in names:
        for kind in kinds:
            row = [try_cell(service, kind, name, precision) for precision in precisions]
            section.rows.append([kind, name, *(cell.text for cell in row)])
            print(kind, name, *(cell.text for cell in row), sep="  ", flush=True)
            cells += row
    reasons = {cell.reason for cell in cells if cell.reason}
    section.notes = sorted(reasons)
    return section, cells


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES), metavar="NAME")
    parser.add_argument("--tasks", nargs="+", default=list(KINDS), choices=list(KINDS), metavar="KIND")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS), metavar="NAME")
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME=FOLDER", help="folders of real models")
    parser.add_argument("--json", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    folders = {name: Path(folder) for name, _, folder in (model.partition("=") for model in asked.models)}
    with planner(asked.families, folders) as service:
        section, cells = matrix(service, asked.tasks, [*asked.families, *folders], asked.precisions)
    print(section.render())
    write_json(asked.json, [section])
    return int(any(cell.outcome == FAILED for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
