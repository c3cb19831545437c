"""Shapes of the events of a job's stream, for the OpenAPI document: `data` is JSON of the declared shape."""

from __future__ import annotations

from typing import Any, Literal

from service.http.openapi import Out
from service.jobs.schemas import EventOut, JobOut, MapOut, MetricOut

COMPONENT = "#/components/schemas/{model}"


class MetricsEvent(Out):
    """A row of metrics, as in `GET /jobs/{id}/metrics`."""

    event: Literal["metrics"]
    id: int
    """The row's `seq`."""
    data: MetricOut


class EventsEvent(Out):
    """An event of the job, as in `GET /jobs/{id}/events`."""

    event: Literal["events"]
    id: int
    """The event's `seq`."""
    data: EventOut


class SubspacesEvent(Out):
    """A map of subspaces, as in `GET /jobs/{id}/subspaces`."""

    event: Literal["subspaces"]
    id: int
    """The map's `seq`."""
    data: MapOut


class StateEvent(Out):
    """The job, as in `GET /jobs/{id}`, whenever it changes."""

    event: Literal["state"]
    data: JobOut


class EndEvent(Out):
    """The last event: the job has ended."""

    event: Literal["end"]
    data: dict[str, str]
    """Empty."""


EVENTS: tuple[type[Out], ...] = (MetricsEvent, EventsEvent, SubspacesEvent, StateEvent, EndEvent)


def stream_schema() -> dict[str, Any]:
    """Return the schema of a stream, a sequence of events, for the OpenAPI document; `data` is of its components.

    FastAPI would describe a model outside JSON as a string and as the model at once, hence the schema by hand.
    """
    shapes = [event.model_json_schema(mode="serialization", ref_template=COMPONENT) for event in EVENTS]
    for shape in shapes:
        shape.pop("$defs", None)  # components of other routes
    return {"type": "array", "items": {"description": "One event; `data` is one line of JSON.", "oneOf": shapes}}
