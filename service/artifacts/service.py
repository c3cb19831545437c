"""Listing and download of artifacts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from service.artifacts import repository
from service.artifacts.byte_ranges import parse_ranges
from service.artifacts.schemas import ArtifactOut
from service.artifacts.stored_download import from_store
from service.http.context import Caller
from service.http.gate.rendering import error_response
from service.http.paging import Page
from service.jobs.service import get
from service.shared.database.tables import Artifact
from service.shared.errors import NotFound, RangeNotSatisfiable


def artifact_path(caller: Caller, artifact: Artifact) -> Path:
    """Return the file of an artifact, fetched from the store where this host lacks it."""
    return caller.host_files.local(caller.settings.files.resolve(artifact.path))


def list_artifacts(caller: Caller, job_id: str) -> Page[ArtifactOut]:
    """List the artifacts of a job of the caller's project."""
    with caller.db.read() as session:
        get(session, caller, job_id)
        artifacts = repository.of_job(session, job_id)
    return Page(data=[ArtifactOut.model_validate(row, from_attributes=True) for row in artifacts], has_more=False)


def download(caller: Caller, job_id: str, name: str, headers: Mapping[str, str], *, head: bool = False) -> Response:
    """Respond with an artifact's zip, whole or in ranges, or with 304 if the caller has it already.

    Raises:
        NotFound: the job has no such artifact.
    """
    with caller.db.read() as session:
        job = get(session, caller, job_id)
        artifact = repository.find(session, job_id, name)
        names = [row.name for row in repository.of_job(session, job_id)]
    if artifact is None:
        has = (
            f"It has {', '.join(names)}."
            if names
            else f"It is {job.status}; each artifact is published once it is written and verified, after the training."
        )
        raise NotFound(f"The job has no artifact '{name[:40]}'. {has}", code="artifact_not_found")
    path = caller.settings.files.resolve(artifact.path)
    stored = caller.host_files.find(path)
    if stored is None and not path.is_file():
        raise NotFound(f"The file of artifact '{name}' is missing on the service's disk.", code="artifact_gone")
    tag = f'"{artifact.sha256}"'
    if _has_already(headers.get("if-none-match"), tag):
        return Response(status_code=304, headers={"etag": tag})
    size = path.stat().st_size if stored is None else stored.size_bytes
    ranges = parse_ranges(headers.get("range")) if headers.get("if-range", tag) == tag else ()
    if any(begin >= size for begin in ranges):
        beyond = RangeNotSatisfiable(f"The range lies outside the file, which has {size:,} bytes.")
        return error_response(beyond, {"content-range": f"bytes */{size}", "etag": tag})
    filename = f"{_file_stem(job.name)}-{artifact.name}.zip"
    if stored is not None:
        return from_store(caller, stored, filename, headers, head=head)
    return Download(path, filename=filename, media_type="application/zip", headers={"etag": tag})


class Download(FileResponse):
    """File response that ignores a malformed Range header, as RFC 9110 requires."""

    max_ranges = 8

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not parse_ranges(dict(scope["headers"]).get(b"range", b"").decode("latin-1")):
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}
        await super().__call__(scope, receive, send)


def _has_already(header: str | None, tag: str) -> bool:
    if header is None:
        return False
    tags = [part.strip().removeprefix("W/") for part in header.split(",")]
    return "*" in tags or tag in tags


def _file_stem(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "job"
