"""Shapes of the events of a job's stream, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from service.jobs.report_schemas import EventOut, MapOut, MetricOut
from service.jobs.schemas import JobOut

_EVENTS: dict[str, tuple[type[BaseModel], str]] = {
    "metrics": (MetricOut, "A row of metrics, as in `GET /jobs/{id}/metrics`."),
    "events": (EventOut, "An event of the job, as in `GET /jobs/{id}/events`."),
    "subspaces": (MapOut, "A map of subspaces, as in `GET /jobs/{id}/subspaces/history`."),
    "state": (JobOut, "The job, as in `GET /jobs/{id}`, whenever it changes. It has no `id`."),
}
_END = "The last event: the job has ended. It has no `id`."


def event_schema() -> dict[str, Any]:
    """Return the schema of one event: its fields as they are sent, and the shape of the JSON in `data`."""
    shapes = [
        _event(name, description, {"$ref": f"#/components/schemas/{shape.__name__}"}, numbered=name != "state")
        for name, (shape, description) in _EVENTS.items()
    ]
    return {"oneOf": [*shapes, _event("end", _END, {"type": "object", "maxProperties": 0}, numbered=False)]}


def _event(name: str, description: str, content: dict[str, Any], *, numbered: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "event": {"const": name},
        "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": content},
    }
    if numbered:
        fields["id"] = {"type": "string", "pattern": r"^\d+$", "description": "The `seq` of the row in `data`."}
    return {"type": "object", "description": description, "properties": fields, "required": list(fields)}
