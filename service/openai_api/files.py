"""Files of OpenAI's API: data sets with their uploaded bytes, and the numbers of finished jobs as CSV."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from pathlib import Path
from typing import IO, Final, Literal

from sqlalchemy.orm import Session

from service.datasets import repository as dataset_rows
from service.datasets import service as datasets
from service.datasets.originals import upload_original
from service.http.context import Caller
from service.jobs import metric_reads
from service.jobs import service as jobs
from service.openai_api import repository
from service.openai_api.schemas import OpenAIDeleted, OpenAIFile, OpenAIPage
from service.shared.database.tables import Dataset, Job, JobStatus
from service.shared.errors import BadRequest, Conflict, NotFound

FINE_TUNE: Final = "fine-tune"
RESULTS: Final = "fine-tune-results"
Order = Literal["asc", "desc"]
PREFIX = "results_"  # before the id of the job whose numbers a file has
TRAIN = {"train_loss": "loss"}  # column -> ours, of a logged step
VALID = {"valid_loss": "eval_loss", "valid_mean_token_accuracy": "eval_token_accuracy"}  # of an evaluation
COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
METRICS = 10_000  # rows of metrics that are read at a time
MOST_RESULTS = 100  # files of numbers in one page: each is written once, to tell its size


def create(caller: Caller, file: IO[bytes], filename: str, purpose: str) -> OpenAIFile:
    """Store a file of examples.

    Raises:
        BadRequest: another purpose.
        InvalidRequest, TooLarge: the file cannot be used; nothing is stored.
    """
    if purpose != FINE_TUNE:
        raise BadRequest(
            f"purpose is {purpose[:40]!r}, but files are only taken to train on: send {FINE_TUNE!r}.",
            code="unsupported_purpose",
            param="purpose",
        )
    return render(caller, upload_original(caller, file, filename))


def list_files(
    caller: Caller, purpose: str | None, after: str | None, limit: int, order: Order
) -> OpenAIPage[OpenAIFile]:
    """List data sets, or with the purpose `fine-tune-results` the numbers of finished jobs."""
    if purpose == RESULTS:
        return _list_results(caller, after, min(limit, MOST_RESULTS))
    if purpose not in (None, FINE_TUNE):
        return OpenAIPage.of([])
    with caller.db.read() as session:
        last = None if after is None else _dataset(session, caller, after, "after")
        rows = repository.list_datasets(session, caller.project_id, last, limit + 1, newest_first=order == "desc")
    return OpenAIPage.of([render(caller, row) for row in rows[:limit]], len(rows) > limit)


def retrieve(caller: Caller, file_id: str) -> OpenAIFile:
    if file_id.startswith(PREFIX):
        return _result_file(caller, _finished(caller, file_id))
    return render(caller, datasets.get(caller, file_id))


def content(caller: Caller, file_id: str) -> tuple[bytes | Path, str, str]:
    """Return content, name and media type of a file; the stored rows of a data set that was not made as a file.

    Raises:
        NotFound: no such file exists in the project.
    """
    if file_id.startswith(PREFIX):
        job = _finished(caller, file_id)
        return result_csv(caller, job), _result_name(job), "text/csv"
    dataset = datasets.get(caller, file_id)
    return _stored(caller, dataset), dataset.name, "application/jsonl"


def delete(caller: Caller, file_id: str) -> OpenAIDeleted:
    """Delete a file.

    Raises:
        Conflict: an unfinished job uses it, or it belongs to its job.
    """
    if file_id.startswith(PREFIX):
        job = _finished(caller, file_id)
        raise Conflict(f"The file is removed with its job: DELETE /jobs/{job.id}.", code="belongs_to_job")
    datasets.delete(caller, file_id)
    return OpenAIDeleted(id=file_id, object="file")


def result_id(job: Job) -> str:
    return PREFIX + job.id


def result_csv(caller: Caller, job: Job) -> bytes:
    """Write the numbers of a job by step, in OpenAI's columns; the accuracy of training, not measured, stays empty."""
    steps: dict[int, dict[str, float | int | None]] = {}
    after, more = 0, True
    while more:
        with caller.db.read() as session:
            rows = metric_reads.page(session, caller.host_files, job, after, METRICS, None)
        for row in rows:
            for name, ours in (VALID if row.kind == "eval" else TRAIN).items():
                if row.values.get(ours) is not None:
                    steps.setdefault(row.step, {})[name] = row.values[ours]
        more = len(rows) == METRICS
        after = rows[-1].seq if rows else after
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({"step": step, **values} for step, values in sorted(steps.items()))
    return text.getvalue().encode()


def render(caller: Caller, dataset: Dataset) -> OpenAIFile:
    original = dataset.profile.get("original")
    return OpenAIFile(
        id=dataset.id,
        bytes=original["bytes"] if original else dataset.size_bytes,
        created_at=unix(dataset.created_at),
        filename=dataset.name,
        purpose=FINE_TUNE,
    )


def unix(moment: datetime) -> int:
    return int(moment.timestamp())


def _stored(caller: Caller, dataset: Dataset) -> Path:
    files = caller.settings.files
    name = files.dataset_original if "original" in dataset.profile else files.dataset_rows
    path = caller.host_files.local(name(dataset.id))
    if not path.is_file():
        raise NotFound("The content of the file is gone from the service's disk.", code="file_gone", param="file_id")
    return path


def _dataset(session: Session, caller: Caller, file_id: str, param: str) -> Dataset:
    dataset = dataset_rows.find(session, caller.project_id, file_id)
    if dataset is None:
        raise BadRequest(f"There is no file {file_id[:60]}. GET /v1/files lists yours.", code="no_file", param=param)
    return dataset


def _list_results(caller: Caller, after: str | None, limit: int) -> OpenAIPage[OpenAIFile]:
    last = None if after is None else _finished(caller, after)
    done = [Job.status == JobStatus.SUCCEEDED]
    with caller.db.read() as session:
        found = repository.list_jobs(session, caller.project_id, last, limit + 1, done)
    return OpenAIPage.of([_result_file(caller, job) for job in found[:limit]], len(found) > limit)


def _result_file(caller: Caller, job: Job) -> OpenAIFile:
    assert job.ended_at is not None
    size = caller.result_sizes.get(job.id, job.ended_at, lambda: len(result_csv(caller, job)))
    return OpenAIFile(
        id=result_id(job), bytes=size, created_at=unix(job.ended_at), filename=_result_name(job), purpose=RESULTS
    )


def _result_name(job: Job) -> str:
    return f"step_metrics_{job.id}.csv"


def _finished(caller: Caller, file_id: str) -> Job:
    """Return the job whose numbers a file has; raises NotFound."""
    with caller.db.read() as session:
        job = jobs.get(session, caller, file_id.removeprefix(PREFIX))
    if job.status != JobStatus.SUCCEEDED:
        raise NotFound(f"The job is {job.status}; its result file comes when it has succeeded.", code="no_file")
    return job
