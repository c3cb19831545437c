"""Serve jobs over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Header, Path, Query, Response

from adamss_core.spec import JobSpec
from service.http.context import CallerDep
from service.http.openapi import errors
from service.http.paging import After, Limit, Page
from service.jobs import (
    evaluating,
    evaluation_report,
    hardest,
    notes,
    phase_times,
    publishing,
    replay,
    reports,
    resuming,
    retained,
    run_comparison,
    service,
)
from service.jobs.evaluating import EvaluateIn
from service.jobs.evaluation_report import ReportOut
from service.jobs.examples import JOB_EXAMPLES
from service.jobs.hardest import HardestExampleOut
from service.jobs.notes import MOST_TAGS, NotesIn
from service.jobs.phase_times import PhaseOut
from service.jobs.publishing import PublishIn
from service.jobs.report_schemas import CheckpointOut, EventOut, LogOut, MapOut, MetricOut, ReplayOut, SubspacesOut
from service.jobs.repository import Wanted
from service.jobs.resuming import ResumeIn
from service.jobs.retained import KeptOut
from service.jobs.run_comparison import RunComparisonOut
from service.jobs.schemas import JobOut, JobSummaryOut, PlanOut
from service.shared.database.tables import JobStatus
from service.shared.jobs import metrics_parquet as parquet

router = APIRouter(prefix="/jobs", tags=["jobs"])

JobId = Annotated[str, Path(description="Id of a job, such as job_7m3k9x2pqr.", max_length=60)]
NAME = r'^[^"\\\x00]*$'  # of a metric; SQLite knows no other paths into JSON
Seq = Annotated[int, Query(ge=0, le=2**31 - 1, description="The last `seq` seen; 0 for all.")]
Rows = Annotated[int, Query(ge=1, le=10_000, description="Largest number of rows that are returned.")]
Points = Annotated[
    int | None,
    Query(
        ge=1,
        le=10_000,
        description="Thins all rows to so many for a plot; the lowest and highest values of each stretch stay.",
    ),
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text of your own, new for each job. Sending the same request again with the same key answers "
        "the same job instead of making another.",
    ),
]


@router.post(
    "",
    status_code=201,
    response_model=JobOut,
    responses={200: {"model": PlanOut, "description": "A dry run's plan."}, **errors(400, 413, 422)},
)
def submit_job(
    caller: CallerDep,
    response: Response,
    spec: Annotated[JobSpec, Body(openapi_examples=JOB_EXAMPLES)],
    idempotency_key: Key = None,
    dry_run: Annotated[bool, Query(description="Only check and estimate; nothing is created.")] = False,
) -> JobOut | PlanOut | Response:
    """Submits a fine-tuning job, or with `dry_run` says what it would do.

        curl -H "Authorization: Bearer $ADAMSS_API_KEY" -H "Content-Type: application/json" \\
             -d '{"name": "reviews", "base_model": "minilm", "dataset": {"train": "ds_..."}}' \\
             http://127.0.0.1:8642/jobs
    """
    if dry_run:
        return Response(service.dry_run(caller, spec).model_dump_json(), 200, media_type="application/json")
    submitted = service.submit(caller, spec, idempotency_key)
    response.headers["location"] = f"/jobs/{submitted.job.id}"
    if submitted.repeated:
        response.headers["idempotent-replayed"] = "true"
    return submitted.job


@router.get("", responses=errors(422))
def list_jobs(
    caller: CallerDep,
    status: Annotated[list[JobStatus] | None, Query(description="Only jobs in one of these states.")] = None,
    name: Annotated[str | None, Query(max_length=120, description="Only jobs of this name.")] = None,
    evaluates: Annotated[
        str | None, Query(max_length=60, description="Only evaluations of the model of the job with this id.")
    ] = None,
    tag: Annotated[
        list[str] | None, Query(max_length=MOST_TAGS, description="Only jobs with all of these tags.")
    ] = None,
    group: Annotated[str | None, Query(max_length=120, description="Only jobs of this group.")] = None,
    sweep: Annotated[
        str | None, Query(max_length=60, description="Only trials of this sweep, which other lists leave out.")
    ] = None,
    owner: Annotated[
        str | None, Query(max_length=120, description="Only jobs submitted with the key of this name; `me`: your own.")
    ] = None,
    dataset: Annotated[
        str | None,
        Query(pattern="^ds_[a-z0-9]{1,57}$", description="Only jobs that train, evaluate or test on this data set."),
    ] = None,
    after: After = None,
    limit: Limit = 20,
) -> Page[JobSummaryOut]:
    """Lists the project's jobs, newest first, without spec and plan: `GET /jobs/{id}` has them."""
    key_name = caller.key_name if owner == "me" else owner
    wanted = Wanted(status or (), name, evaluates, tag or (), group, key_name, sweep, dataset)
    return service.list_jobs(caller, wanted, after, limit)


@router.get("/{job_id}", responses=errors(404, 422))
def get_job(caller: CallerDep, job_id: JobId) -> JobOut:
    """A job: its state, how far it is, its plan, and how it ended."""
    return service.show(caller, job_id)


@router.get("/{job_id}/comparison", responses=errors(404, 422))
def compare_job(
    caller: CallerDep,
    job_id: JobId,
    other: Annotated[
        str | None,
        Query(
            alias="with", max_length=60, description="The other job; by default the baseline of its group or project."
        ),
    ] = None,
) -> RunComparisonOut:
    """Compares a run with another one: what differs in their specs, their metrics, and whether the rows that both were
    evaluated on show a difference."""
    return run_comparison.compare(caller, job_id, other)


@router.patch("/{job_id}", responses=errors(404, 409, 422))
def edit_job(caller: CallerDep, job_id: JobId, changes: NotesIn) -> JobOut:
    """Changes name, tags, notes and group of a job, in whatever state it is, pins it as the baseline that others are
    compared with, and changes the priority of one that waits.

        curl -X PATCH -H "Authorization: Bearer $ADAMSS_API_KEY" -H "Content-Type: application/json" \\
             -d '{"tags": ["keep"], "group": "rates", "notes": "the best so far"}' \\
             http://127.0.0.1:8642/jobs/job_7m3k9x2pqr
    """
    return notes.edit(caller, job_id, changes)


@router.post("/{job_id}/cancel", responses=errors(404, 409, 422))
def cancel_job(caller: CallerDep, job_id: JobId) -> JobOut:
    """Cancels a job. One that waits ends at once; one that runs is `cancelling` until its worker has stopped it."""
    return service.cancel(caller, job_id)


@router.post("/{job_id}/evaluate", status_code=201, response_model=JobOut, responses=errors(404, 409, 422))
def evaluate_job(
    caller: CallerDep, job_id: JobId, response: Response, payload: EvaluateIn, idempotency_key: Key = None
) -> JobOut:
    """Evaluates a finished job's model, or its base model, on any labelled data set: a new job, which a worker runs and
    which trains nothing. Its `result`, `evaluation` and `worst` hold metrics, confusion matrix and hardest rows, and
    stay; `GET /jobs?evaluates=<id>` lists the evaluations of a job.

        curl -H "Authorization: Bearer $ADAMSS_API_KEY" -H "Content-Type: application/json" \\
             -d '{"dataset": "ds_..."}' http://127.0.0.1:8642/jobs/job_.../evaluate
    """
    submitted = evaluating.evaluate(caller, job_id, payload, idempotency_key)
    response.headers["location"] = f"/jobs/{submitted.job.id}"
    if submitted.repeated:
        response.headers["idempotent-replayed"] = "true"
    return submitted.job


@router.post("/{job_id}/pause", responses=errors(404, 409, 422))
def pause_job(caller: CallerDep, job_id: JobId) -> JobOut:
    """Pauses a job. One that waits is `paused` at once; one that runs is `pausing` until its worker has written a
    checkpoint and freed the device."""
    return service.pause(caller, job_id)


@router.post("/{job_id}/resume", responses=errors(404, 409, 413, 422))
def resume_job(caller: CallerDep, job_id: JobId, payload: ResumeIn | None = None) -> JobOut:
    """Resumes a job from its checkpoint, on whichever worker is free: a paused one, or one that its time limit has
    ended, which needs a larger limit. A checkpoint fits any number of devices: `resources.devices` changes it.

        curl -H "Authorization: Bearer $ADAMSS_API_KEY" -H "Content-Type: application/json" \\
             -d '{"time_limit_seconds": 7200}' http://127.0.0.1:8642/jobs/job_.../resume
    """
    return resuming.resume(caller, job_id, payload)


@router.delete("/{job_id}", status_code=204, responses=errors(404, 409, 422))
def delete_job(
    caller: CallerDep,
    job_id: JobId,
    force: Annotated[
        bool, Query(description="Also where its model is registered; its versions are withdrawn.")
    ] = False,
) -> None:
    """Deletes a job that has ended, with its metrics, checkpoints and artifacts."""
    service.delete(caller, job_id, force=force)


@router.get("/{job_id}/metrics", response_model=Page[MetricOut], responses=errors(404, 422))
def get_metrics(
    caller: CallerDep,
    job_id: JobId,
    after: Seq = 0,
    limit: Rows = 1_000,
    max_points: Points = None,
    name: Annotated[
        str | None,
        Query(max_length=100, pattern=NAME, description="Only rows with this value, and only it, such as loss."),
    ] = None,
) -> Response:
    """What was measured, in order. To follow a job, ask again with the last `seq` seen as `after`: no row is missed or
    seen twice."""
    page = reports.metrics(caller, job_id, after, limit, max_points, name)
    return Response(page.model_dump_json(), media_type="application/json")  # FastAPI would check each row again


@router.get("/{job_id}/metrics.parquet", responses={**errors(404, 422), **parquet.CONTENT}, response_class=Response)
def get_metrics_parquet(caller: CallerDep, job_id: JobId) -> Response:
    """Everything that was measured so far as one Parquet file: a row for each step and kind, a column for each value.
    A job that has succeeded has it among its artifacts as well, as `metrics`."""
    return Response(reports.parquet_file(caller, job_id), media_type=parquet.MEDIA_TYPE)


@router.get("/{job_id}/subspaces", responses=errors(404, 422))
def get_subspaces(
    caller: CallerDep,
    job_id: JobId,
    step: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="A step with a map; default: the newest.")
    ] = None,
) -> SubspacesOut:
    """The ASA map: every subspace of every adapted module, its importance, and when it was pruned."""
    return reports.subspaces(caller, job_id, step)


@router.get("/{job_id}/subspaces/history", responses=errors(404, 422))
def get_subspaces_history(
    caller: CallerDep,
    job_id: JobId,
    after: Seq = 0,
    limit: Annotated[int, Query(ge=1, le=100, description="Largest number of maps that are returned.")] = 20,
) -> Page[MapOut]:
    """Every map of the job, in order: one from the start, and one for each mask step that is done."""
    return reports.maps(caller, job_id, after, limit)


@router.get("/{job_id}/subspaces/replay", responses=errors(404, 422))
def replay_subspaces(
    caller: CallerDep,
    job_id: JobId,
    target: Annotated[int, Query(ge=1, le=10_000_000, description="How many subspaces to keep at the end.")],
) -> ReplayOut:
    """What if: the subspaces that another target would have kept, by the scores that this run recorded. A replay,
    not a training run."""
    return replay.replay(caller, job_id, target)


@router.get("/{job_id}/worst", responses=errors(404, 422))
def get_worst(caller: CallerDep, job_id: JobId, limit: Limit = 20) -> Page[HardestExampleOut]:
    """The held-out rows that the finished model finds hardest, by their loss: wrong labels show up here first."""
    return hardest.hardest_examples(caller, job_id, limit)


@router.get("/{job_id}/evaluation", responses=errors(404, 422))
def get_evaluation(caller: CallerDep, job_id: JobId) -> Page[ReportOut]:
    """Shows how the finished model does in full: metrics beside the baseline, scores of each class, confusions,
    residuals, or answers compared with the data's. One report for the held-out rows, and one for `dataset.test`."""
    return evaluation_report.reports(caller, job_id)


@router.get("/{job_id}/events", responses=errors(404, 422))
def get_events(caller: CallerDep, job_id: JobId, after: Seq = 0, limit: Rows = 1_000) -> Page[EventOut]:
    """What happened to the job, in order."""
    return reports.events(caller, job_id, after, limit)


@router.get("/{job_id}/phases", responses=errors(404, 422))
def get_phases(caller: CallerDep, job_id: JobId) -> Page[PhaseOut]:
    """Where the job's time went, in order: waiting, loading, training, verifying and so on, with seconds."""
    return phase_times.phases(caller, job_id)


@router.get("/{job_id}/retention", responses=errors(404, 422))
def get_retention(caller: CallerDep, job_id: JobId) -> Page[KeptOut]:
    """Until when the job's artifacts, checkpoints and log are kept."""
    return retained.retained(caller, job_id)


@router.get("/{job_id}/logs", responses=errors(404, 422))
def get_logs(
    caller: CallerDep,
    job_id: JobId,
    offset: Annotated[
        int | None, Query(ge=0, le=2**62, description="Byte to begin at; default: the end of the log.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1_000_000, description="Largest number of bytes.")] = 65_536,
) -> LogOut:
    """The training log. To follow it, ask again with `next` as `offset`."""
    return reports.log(caller, job_id, offset, limit)


@router.get("/{job_id}/checkpoints", responses=errors(404, 422))
def get_checkpoints(caller: CallerDep, job_id: JobId) -> Page[CheckpointOut]:
    """The job's checkpoints, by step."""
    return reports.checkpoints(caller, job_id)


@router.post(
    "/{job_id}/checkpoints/{step}/publish",
    status_code=201,
    response_model=JobOut,
    responses=errors(404, 409, 413, 422),
)
def publish_checkpoint(
    caller: CallerDep,
    job_id: JobId,
    step: Annotated[int, Path(ge=1, le=2**31 - 1, description="Step of a checkpoint that is kept.")],
    response: Response,
    payload: PublishIn | None = None,
    idempotency_key: Key = None,
) -> JobOut:
    """Publishes a checkpoint of a job that has ended: a new job, which a worker runs, trains nothing, evaluates the
    model as it was at that step and writes its artifacts. Its plan has `publishes`.

        curl -X POST -H "Authorization: Bearer $ADAMSS_API_KEY" \\
             http://127.0.0.1:8642/jobs/job_.../checkpoints/40/publish
    """
    submitted = publishing.publish(caller, job_id, step, payload, idempotency_key)
    response.headers["location"] = f"/jobs/{submitted.job.id}"
    if submitted.repeated:
        response.headers["idempotent-replayed"] = "true"
    return submitted.job
