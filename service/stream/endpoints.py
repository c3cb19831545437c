"""The stream of a job over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.responses import StreamingResponse

from service.http.context import CallerDep
from service.http.openapi import errors
from service.jobs.endpoints import JobId
from service.stream import service
from service.stream.schemas import event_schema

router = APIRouter(prefix="/jobs", tags=["jobs"])

Seq = Annotated[
    int | None, Query(ge=0, le=2**31 - 1, description="The last `seq` received; default: stream from the start.")
]
LastEventId = Annotated[
    str | None,
    Header(
        max_length=20, pattern=r"^\d*$", description="Same meaning as `after`; browsers send it when they reconnect."
    ),
]
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events, each of this shape, until the job has ended.",
        "content": {"text/event-stream": {"schema": event_schema()}},
    }
}


@router.get("/{job_id}/stream", responses={**errors(404, 422), **CONTENT}, response_class=StreamingResponse)
def stream_job(
    caller: CallerDep, job_id: JobId, after: Seq = None, last_event_id: LastEventId = None
) -> StreamingResponse:
    """Stream a job live as server-sent events: `metrics`, `events` and `subspaces` in the format of their routes, with
    `seq` as `id`; `state` with the job whenever it changes; `end` as the last event.

    To resume after a disconnect, send the last `id` as `Last-Event-ID` or `after`: no row is lost or sent twice.

        curl -N -H "Authorization: Bearer $ADAMSS_API_KEY" http://127.0.0.1:8642/jobs/job_.../stream
    """
    last_seen = int(last_event_id) if last_event_id else after
    return StreamingResponse(
        service.watch(caller, job_id, last_seen), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )
