"""Calls for what a job reports while it runs, and of its finished model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, cast

from service.client.job_calls import JobCalls
from service.client.sender import PAGE, patiently
from service.client.types import ENDED, EventJson, LogPieceJson, MetricJson, PhaseJson, SubspaceMapJson

ALL_EVENTS = 100_000
LOG_BYTES = 1_000_000


class ReportCalls(JobCalls):
    """Reports of a job."""

    def metrics(self, job: str, after: int = 0, limit: int = PAGE) -> list[MetricJson]:
        """Return one page of rows after `after`, the last `seq` seen."""
        page = self._get(f"/jobs/{job}/metrics", {"after": after, "limit": limit})
        return cast(list[MetricJson], page["data"])

    def iter_metrics(
        self, job: str, follow: bool = True, after: int = 0, poll_seconds: float = 1.0
    ) -> Iterator[MetricJson]:
        """Yield every row once, in order; with `follow`, until the job has ended."""
        for rows in self.iter_pages(job, follow, after, poll_seconds):
            yield from rows

    def iter_pages(
        self, job: str, follow: bool = True, after: int = 0, poll_seconds: float = 1.0
    ) -> Iterator[list[MetricJson]]:
        """Yield the rows of `iter_metrics` in pages, as they arrive."""
        while True:
            # Read the status before the rows: then the rows of an ended job are complete.
            ended = not follow or patiently(lambda: self.get_job(job))["status"] in ENDED
            while rows := patiently(lambda: self.metrics(job, after)):  # noqa: B023 - called at once
                yield rows
                after = rows[-1]["seq"]
            if ended:
                return
            time.sleep(poll_seconds)

    def subspaces(self, job: str, step: int | None = None) -> SubspaceMapJson:
        """Return the map of subspaces, current or at a step."""
        return cast(SubspaceMapJson, self._get(f"/jobs/{job}/subspaces", {"step": step}))

    def events(self, job: str, after: int = 0) -> list[EventJson]:
        """List the job's events after `after`, the last `seq` seen."""
        return list(self._pages(f"/jobs/{job}/events", {"after": after}, ALL_EVENTS))

    def iter_events(
        self, job: str, follow: bool = True, after: int = 0, poll_seconds: float = 1.0
    ) -> Iterator[EventJson]:
        """Yield every event once, in order; with `follow`, until the job has ended."""
        while True:
            ended = not follow or patiently(lambda: self.get_job(job))["status"] in ENDED  # its events are complete
            for event in patiently(lambda: self.events(job, after)):  # noqa: B023 - called at once
                yield event
                after = event["seq"]
            if ended:
                return
            time.sleep(poll_seconds)

    def phases(self, job: str) -> list[PhaseJson]:
        """List the stretches of the job's time, in order; the last one of a job that has not ended has no seconds."""
        return list(self._pages(f"/jobs/{job}/phases", {}, ALL_EVENTS))

    def retention(self, job: str) -> dict[str, str | None]:
        """Return until when artifacts, checkpoints and logs of a job are kept; None is for ever, or not ended yet."""
        return {one["what"]: one["kept_until"] for one in self._pages(f"/jobs/{job}/retention", {}, PAGE)}

    def log_piece(self, job: str, offset: int) -> LogPieceJson:
        """Return the training log from byte `offset`; `next` is the offset of the next piece."""
        return cast(LogPieceJson, self._get(f"/jobs/{job}/logs", {"offset": offset, "limit": LOG_BYTES}))

    def iter_logs(self, job: str, follow: bool = False, poll_seconds: float = 1.0) -> Iterator[str]:
        """Yield the training log in pieces; with `follow`, until the job has ended."""
        offset = 0
        while True:
            ended = not follow or patiently(lambda: self.get_job(job))["status"] in ENDED
            while (piece := patiently(lambda: self.log_piece(job, offset)))["data"]:  # noqa: B023 - called at once
                yield piece["data"]
                offset = piece["next"]
            if ended:
                return
            time.sleep(poll_seconds)

    def logs(self, job: str) -> str:
        """Return the training log so far."""
        return "".join(self.iter_logs(job))

    def checkpoints(self, job: str) -> list[dict[str, Any]]:
        return list(self._pages(f"/jobs/{job}/checkpoints", {}, PAGE))

    def worst(self, job: str, limit: int = 20) -> list[dict[str, Any]]:
        """List the held-out rows with the highest loss."""
        return list(self._pages(f"/jobs/{job}/worst", {}, limit))

    def evaluation(self, job: str) -> list[dict[str, Any]]:
        """List the reports on the finished model: of the held-out rows, and of `dataset.test`."""
        return list(self._pages(f"/jobs/{job}/evaluation", {}, PAGE))
