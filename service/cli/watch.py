"""Follow a job: as a live display on a terminal, as plain lines elsewhere, or as JSON lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from adamss_core.visible import visible
from service.cli.job_view import MOST_SAMPLES, JobView, activity, asa_counts, evaluation, render_job, sample_line
from service.cli.output import duration
from service.cli.terminal import put_json
from service.client.errors import ApiError
from service.client.sender import patiently
from service.client.types import ENDED, JobJson, MetricJson, SamplesJson

if TYPE_CHECKING:
    from service.client import Client

POLL_SECONDS = 0.7
PLAIN_SECONDS = 5.0  # between two lines of progress


def watch(client: Client, job_id: str, console: Console, poll_seconds: float = POLL_SECONDS) -> JobJson:
    """Display the job until it ends; return the ended job."""
    if not console.is_terminal:
        return follow(client, job_id, PlainLines(console).show, poll_seconds)
    with Live(console=console, refresh_per_second=4, vertical_overflow="visible") as live:

        def show(view: JobView, _: list[MetricJson]) -> None:
            live.update(render_job(view, console.width, console.height))

        return follow(client, job_id, show, poll_seconds)


def watch_json(client: Client, job_id: str) -> JobJson:
    """Print every row of metrics, and finally the job, as a line of JSON."""

    def show(_: JobView, rows: list[MetricJson]) -> None:
        for row in rows:
            put_json({"object": "metric", **row}, indent=None)

    job = follow(client, job_id, show)
    put_json({"object": "job", **job}, indent=None)
    return job


def follow(
    client: Client,
    job_id: str,
    show: Callable[[JobView, list[MetricJson]], None],
    poll_seconds: float = POLL_SECONDS,
) -> JobJson:
    """Poll the job until it ends; call `show` with its state and the new rows each time."""
    view = JobView(patiently(lambda: client.get_job(job_id)))
    after, drawn = 0, -1
    while True:
        # The job is fetched first: if it has ended, its rows are complete.
        view.job = patiently(lambda: client.get_job(job_id))
        rows: list[MetricJson] = []
        while page := patiently(lambda: client.metrics(job_id, after)):  # noqa: B023 - called at once
            rows += page
            after = page[-1]["seq"]
        for row in rows:
            values = numbers(row)
            view.values |= values
            if row["step"] == 0:
                view.before = values
            if "loss" in values:
                view.losses.append(values["loss"])
        ended = view.job["status"] in ENDED
        if view.job["asa"] and (ended or view.job["progress"]["step"] != drawn):
            drawn = view.job["progress"]["step"]
            with suppress(ApiError):  # the map does not exist before the first mask step
                view.subspaces = client.subspaces(job_id)
        last = view.event["seq"] if view.event else 0
        view.take(patiently(lambda: client.events(job_id, last)))  # noqa: B023 - called at once
        show(view, rows)
        if ended:
            return view.job
        time.sleep(poll_seconds)


def numbers(row: MetricJson) -> dict[str, float]:
    """Return a row's values without non-finite ones, such as a NaN loss."""
    return {name: value for name, value in row["values"].items() if value is not None}


class PlainLines:
    """Printer of a line per event, and of a progress line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_message = ""
        self._samples: SamplesJson | None = None
        self._line_at = float("-inf")

    def show(self, view: JobView, rows: list[MetricJson]) -> None:
        job = view.job
        said = view.event["message"] if view.event else ""
        if job["status"] == "queued":
            said = activity(view) or said
        if said and said != self._last_message:
            self._last_message = said
            self._print(f"{job['status']}: {said}")
        if view.samples is not None and view.samples is not self._samples:
            self._samples = view.samples
            for sample in view.samples["samples"][:MOST_SAMPLES]:
                self._print(f"step {view.samples['step']}  sample  {sample_line(sample)}")
        for row in rows:
            if found := evaluation(job, numbers(row)):
                line = "  ".join(f"{name} {value:.4f}" for name, value in found.items())
                when = f"step {row['step']}  evaluation" if row["step"] else "before training"
                self._print(f"{when}  {line}")
        if rows and time.monotonic() - self._line_at >= PLAIN_SECONDS:
            self._line_at = time.monotonic()
            self._print(self._progress(view))
        if job["status"] == "failed" and job["error"] and job["error"].get("hint"):
            self._print(f"hint: {job['error']['hint']}")  # the message was the last event

    @staticmethod
    def _progress(view: JobView) -> str:
        progress = view.job["progress"]
        parts = [f"step {progress['step']}/{progress['total_steps']}", f"epoch {progress['epoch']:.2f}"]
        if "loss" in view.values:
            parts.append(f"loss {view.values['loss']:.4f}")
        if counts := asa_counts(view):
            parts.append(f"subspaces {counts}")
        if progress["eta_seconds"] is not None:
            parts.append(f"eta {duration(progress['eta_seconds'])}")
        return "  ".join(parts)

    def _print(self, line: str) -> None:
        self._console.print(Text(visible(line)), soft_wrap=True)
