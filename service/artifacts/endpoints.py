"""Artifacts over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from service.artifacts import service
from service.artifacts.schemas import ArtifactOut
from service.http.context import CallerDep
from service.http.openapi import errors
from service.http.paging import Page
from service.jobs.endpoints import JobId

router = APIRouter(prefix="/jobs/{job_id}/artifacts", tags=["artifacts"])

Name = Annotated[str, Path(description="adapter, lora, merged or metrics.", max_length=60)]


@router.get("", responses=errors(404, 422))
def list_artifacts(caller: CallerDep, job_id: JobId) -> Page[ArtifactOut]:
    """List a job's artifacts with sizes, hashes and manifests."""
    return service.list_artifacts(caller, job_id)


@router.head(
    "/{name}",
    response_class=Response,
    responses={
        200: {"description": "Size (`Content-Length`) and hash (`ETag`) of the zip."},
        206: {"description": "Size of the requested range."},
        304: {"description": "The caller has this version already (If-None-Match)."},
        **errors(404, 416, 422),
    },
)
def artifact_headers(caller: CallerDep, job_id: JobId, name: Name, request: Request) -> Response:
    """Return the headers of a download without its content."""
    return service.download(caller, job_id, name, request.headers, head=True)


@router.get(
    "/{name}",
    response_class=Response,
    responses={
        200: {"description": "The zip.", "content": {"application/zip": {}}},
        206: {"description": "The requested range.", "content": {"application/zip": {}}},
        307: {"description": "An address at the store of files, valid for ten minutes (ADAMSS_STORAGE_REDIRECT)."},
        304: {"description": "The caller has this version already (If-None-Match)."},
        **errors(404, 416, 422),
    },
)
def download_artifact(caller: CallerDep, job_id: JobId, name: Name, request: Request) -> Response:
    """Download an artifact as one zip. `ETag` is its sha256; `Range` and `If-Range` resume a broken download.

    curl -LOJ -C - -H "Authorization: Bearer $ADAMSS_API_KEY" http://127.0.0.1:8642/jobs/job_.../artifacts/lora
    """
    return service.download(caller, job_id, name, request.headers)
