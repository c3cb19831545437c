"""Calls that make jobs and change their state."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from service.client.comparison_types import RunComparisonJson
from service.client.sender import Sender, patiently
from service.client.types import ENDED, JobJson, JobSummaryJson, Listing


class JobCalls(Sender):
    """Jobs."""

    def submit(self, spec: Mapping[str, Any], idempotency_key: str | None = None) -> JobJson:
        """Submit a job exactly once, even if the connection fails meanwhile.

        Args:
            idempotency_key: a second submit with an equal key and spec returns the existing job. Default: a new key.
        """
        headers = {"idempotency-key": idempotency_key or uuid.uuid4().hex}
        return cast(JobJson, self._send("POST", "/jobs", json=dict(spec), headers=headers, repeat=True).json())

    def dry_run(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return the resolved spec, warnings and the estimate; create nothing."""
        response = self._send("POST", "/jobs", params={"dry_run": "true"}, json=dict(spec), repeat=True)
        return cast(dict[str, Any], response.json())

    def get_job(self, job: str) -> JobJson:
        return cast(JobJson, self._get(f"/jobs/{job}"))

    def evaluate(
        self,
        job: str,
        dataset: str,
        *,
        model: str = "trained",
        name: str | None = None,
        idempotency_key: str | None = None,
    ) -> JobJson:
        """Queue the evaluation of a finished job's model on a data set, as a job of its own; `wait` for it.

        Args:
            dataset: id; has the columns and labels of the training data.
            model: "trained", or "base" for the base model alone.
            name: of the new job; made from both names by default.
            idempotency_key: as of `submit`.
        """
        body = {"dataset": dataset, "model": model} | ({} if name is None else {"name": name})
        headers = {"idempotency-key": idempotency_key or uuid.uuid4().hex}
        return cast(
            JobJson, self._send("POST", f"/jobs/{job}/evaluate", json=body, headers=headers, repeat=True).json()
        )

    def publish_checkpoint(
        self, job: str, step: int, *, artifacts: Sequence[str] | None = None, idempotency_key: str | None = None
    ) -> JobJson:
        """Queue a job that writes the artifacts of a checkpoint of an ended job; `wait` for it.

        Args:
            artifacts: adapter, lora, merged; all by default.
            idempotency_key: as of `submit`.
        """
        body = {} if artifacts is None else {"artifacts": list(artifacts)}
        headers = {"idempotency-key": idempotency_key or uuid.uuid4().hex}
        path = f"/jobs/{job}/checkpoints/{step}/publish"
        return cast(JobJson, self._send("POST", path, json=body, headers=headers, repeat=True).json())

    def list_jobs(
        self,
        status: str | None = None,
        name: str | None = None,
        limit: int = 50,
        *,
        evaluates: str | None = None,
        tags: Sequence[str] = (),
        group: str | None = None,
        owner: str | None = None,
        sweep: str | None = None,
        dataset: str | None = None,
    ) -> Listing[JobSummaryJson]:
        """List jobs, newest first, without spec and plan.

        Args:
            evaluates: only evaluations of the model of the job with this id.
            tags: only jobs with all of these.
            group: only jobs of this group.
            sweep: only trials of this sweep, which other lists leave out.
            owner: only jobs submitted with the key of this name; "me" for your own.
            dataset: only jobs that train, evaluate or test on this data set.
        """
        wanted = {
            "status": status,
            "name": name,
            "evaluates": evaluates,
            "group": group,
            "owner": owner,
            "sweep": sweep,
            "dataset": dataset,
        }
        return self._listing("/jobs", wanted | {"tag": list(tags) or None}, limit)

    def edit_job(self, job: str, **changes: Any) -> JobJson:
        """Change what people wrote on a job, or the priority of one that waits.

        Args:
            changes: name, tags (all of them), notes, group, baseline (true pins it), priority; None removes, what is
                left out stays.
        """
        return cast(JobJson, self._send("PATCH", f"/jobs/{job}", json=changes, repeat=True).json())

    def compare(self, job: str, other: str | None = None) -> RunComparisonJson:
        """Compare a run with another one: specs, metrics, and whether the same rows show a difference.

        Args:
            other: by default the baseline that is pinned in its group, else in the project.
        """
        wanted = {} if other is None else {"with": other}
        return cast(RunComparisonJson, self._get(f"/jobs/{job}/comparison", wanted))

    def cancel(self, job: str) -> JobJson:
        return cast(JobJson, self._send("POST", f"/jobs/{job}/cancel").json())

    def pause(self, job: str) -> JobJson:
        """Pause a job: `pausing` until its worker has written a checkpoint and freed the device."""
        return cast(JobJson, self._send("POST", f"/jobs/{job}/pause").json())

    def resume(self, job: str, time_limit_seconds: float | None = None, *, devices: int | None = None) -> JobJson:
        """Resume a job from its checkpoint: a paused one, or one that its time limit has ended.

        Args:
            time_limit_seconds: a new limit, for all attempts together; a job that its limit has ended needs a larger
                one.
            devices: number of devices from now on; None keeps it.
        """
        changes: dict[str, Any] = {} if time_limit_seconds is None else {"time_limit_seconds": time_limit_seconds}
        changes |= {} if devices is None else {"resources": {"devices": devices}}
        body = changes or None
        return cast(JobJson, self._send("POST", f"/jobs/{job}/resume", json=body).json())

    def delete_job(self, job: str, *, force: bool = False) -> None:
        """Delete an ended job with its metrics, checkpoints and artifacts.

        Args:
            force: also where its model is registered; its versions are withdrawn.
        """
        self._send("DELETE", f"/jobs/{job}", params={"force": "true"} if force else None)

    def wait(
        self,
        job: str,
        timeout: float | None = None,
        on_update: Callable[[JobJson], None] | None = None,
        poll_seconds: float = 1.0,
    ) -> JobJson:
        """Wait until the job has succeeded, failed or been cancelled.

        Args:
            timeout: seconds; None waits for ever.
            on_update: called with the job after each change.

        Raises:
            TimeoutError: the job has not ended in time; the job continues.
        """
        until = None if timeout is None else time.monotonic() + timeout
        seen: JobJson | None = None
        while True:
            current = patiently(lambda: self.get_job(job))
            if current != seen and on_update is not None:
                on_update(current)
            seen = current
            if current["status"] in ENDED:
                return current
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(f"Job {job} is still {current['status']} after {timeout:g} seconds.")
            time.sleep(poll_seconds if until is None else max(0.0, min(poll_seconds, until - time.monotonic())))
