"""Python client of the service.

    with Client() as client:
        data = client.upload_dataset("reviews.csv")
        job = client.submit({"name": "reviews", "base_model": "minilm", "dataset": {"train": data["id"]}})
        print(client.wait(job["id"])["result"])
        client.download(job["id"], "lora", "out", extract=True)

Reads are repeated when the connection fails, and so is `submit`, which sends an Idempotency-Key.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar, cast
from urllib.parse import quote

import httpx

from service.client.archive import unpack
from service.client.connection import find_key, find_url
from service.client.errors import ApiError, Unreachable, api_error
from service.client.types import (
    ENDED,
    ArtifactJson,
    DatasetJson,
    EventJson,
    JobJson,
    JobSummaryJson,
    Listing,
    LogPieceJson,
    MetricJson,
    PhaseJson,
    SpectrumJson,
    SubspaceMapJson,
)

TIMEOUT = httpx.Timeout(120.0, connect=5.0)  # the first dry run of a model waits for its inspection
UPLOAD_TIMEOUT = httpx.Timeout(3_600.0, connect=5.0)  # the service reads the whole file before it responds
PAUSES = (0.2, 0.5, 1.0)  # seconds between repeated calls
RETRIED = frozenset({429, 502, 503, 504})
BUSY = frozenset({429})
PATIENCE = 60.0  # seconds of unavailability tolerated while following a job: enough for a restart
PAGE = 1_000
ALL_EVENTS = 100_000
ALL_ROWS = 10_000_000
LOG_BYTES = 1_000_000

T = TypeVar("T")


class Client:
    """Client of one service, as one project.

    Args:
        url: address of the service. Default: ADAMSS_URL, else http://ADAMSS_HOST:ADAMSS_PORT.
        api_key: default: ADAMSS_API_KEY, else the file `api_key` in ADAMSS_HOME, written by a first start.
    """

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        self.url = (url or find_url()).rstrip("/")
        key = api_key or find_key()
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def ready(self) -> bool:
        """Tell whether database, broker and a worker are available."""
        try:
            return self._send("GET", "/readyz").is_success
        except ApiError:
            return False

    # Data sets and models

    def upload_dataset(self, path: str | Path, name: str | None = None, *, new: bool = False) -> DatasetJson:
        """Upload a table, a text or a zip of images, under its own name or `name`.

        Args:
            new: make a data set also where the project has one of the same file; otherwise that one is returned, with
                `created` false.
        """
        path = Path(path)
        query = {"new": "true"} if new else None
        with path.open("rb") as file:
            files = {"file": (name or path.name, file)}
            response = self._send("POST", "/datasets", params=query, files=files, timeout=UPLOAD_TIMEOUT)
        return cast(DatasetJson, response.json() | {"created": response.status_code == httpx.codes.CREATED})

    def hub_dataset(self, hub_id: str, split: str = "train", **options: str) -> DatasetJson:
        """Let the service fetch a split from the hub; options: revision, config."""
        body = {"hub_id": hub_id, "split": split, **options}
        return cast(DatasetJson, self._send("POST", "/datasets", json=body, timeout=UPLOAD_TIMEOUT).json())

    def datasets(self, limit: int = 100) -> Listing[DatasetJson]:
        """List data sets, newest first."""
        return self._listing("/datasets", {}, limit)

    def dataset(self, dataset: str) -> DatasetJson:
        return cast(DatasetJson, self._get(f"/datasets/{dataset}"))

    def preview(self, dataset: str, spec: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the first rows of a data set; with a spec, encoded as for the job's model."""
        path = f"/datasets/{dataset}/preview"
        if spec is None:
            return cast(dict[str, Any], self._get(path))
        return cast(dict[str, Any], self._send("POST", path, json=dict(spec), repeat=True).json())

    def rows(self, dataset: str) -> Iterator[dict[str, Any]]:
        """Yield the stored rows of a data set, column -> value."""
        for row in self._pages(f"/datasets/{dataset}/rows", {}, ALL_ROWS):
            yield row["values"]

    def delete_dataset(self, dataset: str) -> None:
        self._send("DELETE", f"/datasets/{dataset}")

    def models(self) -> list[dict[str, Any]]:
        """List the base models."""
        return list(self._pages("/models", {}, PAGE))

    def spectrum(self, model: str, dataset: str | None = None) -> SpectrumJson:
        """Get the spectrum of a model's weights, or the newest that was measured on a data set; its status may be
        "measuring": ask again."""
        query = {} if dataset is None else {"dataset": dataset}
        return cast(SpectrumJson, self._send("GET", _spectrum_of(model), params=query).json())

    def measure_spectrum(
        self, model: str, dataset: dict[str, Any], *, task: str | None = None, problem_type: str | None = None
    ) -> SpectrumJson:
        """Get the spectrum of a model on a data set, or queue the job that measures it: `wait` for it, and ask again.

        Args:
            dataset: as a job's: `train`, and columns where the suggestion is not meant.
        """
        given = {"task": task, "problem_type": problem_type}
        body = {"dataset": dataset} | {name: value for name, value in given.items() if value is not None}
        answer = self._send("POST", _spectrum_of(model), json=body, repeat=True)  # measures nothing twice
        return cast(SpectrumJson, answer.json())

    def tasks(self) -> list[dict[str, Any]]:
        """List the tasks and their variants, with fields, metrics, inputs and parts of an answer."""
        return list(self._pages("/tasks", {}, PAGE))

    def presets(self) -> list[dict[str, Any]]:
        """List recommended values for each task, with their source."""
        return list(self._pages("/presets", {}, PAGE))

    # Jobs

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

    def list_jobs(
        self, status: str | None = None, name: str | None = None, limit: int = 50, *, evaluates: str | None = None
    ) -> Listing[JobSummaryJson]:
        """List jobs, newest first, without spec and plan; with `evaluates`, the evaluations of that job's model."""
        return self._listing("/jobs", {"status": status, "name": name, "evaluates": evaluates}, limit)

    def cancel(self, job: str) -> JobJson:
        return cast(JobJson, self._send("POST", f"/jobs/{job}/cancel").json())

    def pause(self, job: str) -> JobJson:
        """Pause a job: `pausing` until its worker has written a checkpoint and freed the device."""
        return cast(JobJson, self._send("POST", f"/jobs/{job}/pause").json())

    def resume(self, job: str, time_limit_seconds: float | None = None) -> JobJson:
        """Resume a job from its checkpoint: a paused one, or one that its time limit has ended.

        Args:
            time_limit_seconds: a new limit, for all attempts together; a job that its limit has ended needs a larger
                one.
        """
        body = None if time_limit_seconds is None else {"time_limit_seconds": time_limit_seconds}
        return cast(JobJson, self._send("POST", f"/jobs/{job}/resume", json=body).json())

    def delete_job(self, job: str) -> None:
        """Delete an ended job with its metrics, checkpoints and artifacts."""
        self._send("DELETE", f"/jobs/{job}")

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

    # Reports of a job

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

    # The trained model

    def worst(self, job: str, limit: int = 20) -> list[dict[str, Any]]:
        """List the held-out rows with the highest loss."""
        return list(self._pages(f"/jobs/{job}/worst", {}, limit))

    def evaluation(self, job: str) -> list[dict[str, Any]]:
        """List the reports on the finished model: of the held-out rows, and of `dataset.test`."""
        return list(self._pages(f"/jobs/{job}/evaluation", {}, PAGE))

    def predict(self, job: str, inputs: Sequence[str | Mapping[str, Any]], **options: Any) -> list[dict[str, Any]]:
        """Predict with a finished job's model.

        Args:
            inputs: at most 64; objects with the fields of the job's data set (text, text_pair, tokens, prompt,
                messages; image in base64), or strings if the task has a single field.
            options: max_new_tokens, temperature and seed of a model that generates text.
        """
        body = {"inputs": [one if isinstance(one, str) else dict(one) for one in inputs]} | options
        # Not repeated after a timeout: equal inputs would take as long again.
        response = self._send("POST", f"/jobs/{job}/predict", json=body, repeat=True, retried=BUSY).json()
        return cast(list[dict[str, Any]], response["data"])

    # Artifacts

    def artifacts(self, job: str) -> list[ArtifactJson]:
        return list(self._pages(f"/jobs/{job}/artifacts", {}, PAGE))

    def download(self, job: str, name: str, folder: str | Path, *, extract: bool = False) -> Path:
        """Download an artifact, resuming an earlier try, and check its sha256.

        Args:
            name: adapter, lora, merged or metrics.
            folder: created if needed.
            extract: whether to unpack the zip, for `from_pretrained` and `load_adapter`.

        Returns:
            `folder/name.zip`, or the folder `folder/name` with `extract`.
        """
        artifact = next((entry for entry in self.artifacts(job) if entry["name"] == name), None)
        if artifact is None:
            raise ApiError(f"Job {job} has no artifact {name}.", status=404, code="artifact_not_found", param="name")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{name}.zip"
        if not (target.is_file() and sha256_of(target) == artifact["sha256"]):
            self._fetch(f"/jobs/{job}/artifacts/{name}", artifact, target)
        return unpack(target, folder / name) if extract else target

    def _fetch(self, path: str, artifact: ArtifactJson, target: Path) -> None:
        # The name contains the content's hash, so that another job's partial file is never resumed.
        part = target.with_name(f".{target.name}.{artifact['sha256'][:16]}.part")
        for pause in (*PAUSES, None):
            try:
                self._append(path, part, artifact["size_bytes"])
                break
            except httpx.TransportError as error:
                if pause is None:
                    raise self._unreachable(error) from error
                time.sleep(pause)
        if sha256_of(part) != artifact["sha256"]:
            part.unlink()
            raise ApiError(
                f"The checksum of {target.name} is not what the service announced. Download the file again.",
                code="checksum_mismatch",
            )
        part.replace(target)

    def _append(self, path: str, part: Path, size: int) -> None:
        received = part.stat().st_size if part.exists() else 0
        if received >= size > 0:
            return
        headers = {"accept-encoding": "identity"} | ({"range": f"bytes={received}-"} if received else {})
        with self._http.stream("GET", path, headers=headers) as response:
            if response.status_code not in (200, 206):
                response.read()
                raise api_error(response)
            with part.open("ab" if response.status_code == 206 else "wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)

    # HTTP

    def _get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return self._send("GET", path, params=params, repeat=True).json()

    def _listing(self, path: str, params: Mapping[str, Any], limit: int) -> Listing[Any]:
        """Read pages up to `limit` entries; the first one has the number of all."""
        first = self._get(path, {**params, "limit": min(limit, PAGE)})
        found, left = first["data"][:limit], limit - len(first["data"])
        rest = self._pages(path, {**params, "after": first["next"]}, left) if first["has_more"] else ()
        return Listing([*found, *rest], first.get("total"))

    def _pages(self, path: str, params: Mapping[str, Any], limit: int) -> Iterator[Any]:
        left, query = limit, dict(params)
        while left > 0:
            page = self._get(path, query | {"limit": min(left, PAGE)})
            yield from page["data"][:left]
            left -= len(page["data"])
            if not page.get("has_more") or not page["data"]:
                return
            query["after"] = page["next"]

    def _send(
        self,
        method: str,
        path: str,
        *,
        repeat: bool = False,
        retried: frozenset[int] = RETRIED,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        files: Mapping[str, tuple[str, IO[bytes]]] | None = None,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> httpx.Response:
        """Send a request; repeat it only if a second one does no harm."""
        query = {name: value for name, value in (params or {}).items() if value is not None}
        for pause in (*PAUSES, None) if repeat else (None,):
            try:
                response = self._http.request(
                    method, path, params=query, headers=headers, json=json, files=files, timeout=timeout
                )
            except httpx.TransportError as error:
                if pause is None:
                    raise self._unreachable(error) from error
                time.sleep(pause)
                continue
            if response.status_code in retried and pause is not None:
                time.sleep(max(pause, retry_after(response)))
                continue
            break
        if not response.is_success:
            raise api_error(response)
        if "html" in response.headers.get("content-type", ""):
            raise ApiError(
                f"The server at {self.url} is not this service. Is ADAMSS_URL its address, and does a proxy's "
                "sign-in page stand in front of it?",
                status=response.status_code,
                code="not_the_service",
            )
        return response

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        return Unreachable(
            f"No answer from {self.url} ({error or type(error).__name__}). Is the service running? "
            "Start it with `adamss up`, or set ADAMSS_URL to its address.",
            code="not_reachable",
        )


def patiently(call: Callable[[], T]) -> T:
    """Call repeatedly through a restart of the service."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except ApiError as error:
            unavailable = error.status in RETRIED or isinstance(error, Unreachable)
            if not unavailable or time.monotonic() >= until:
                raise
            time.sleep(PAUSES[-1])


def retry_after(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return min(float(value), 30.0) if value.isdigit() else 0.0


def sha256_of(path: Path) -> str:
    # A copy of adamss_core.fileio.hashing's, on purpose: the client imports only httpx and the standard library.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _spectrum_of(model: str) -> str:
    return f"/models/{quote(model)}/spectrum"
