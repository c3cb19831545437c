"""Types of a preset's answers."""

from __future__ import annotations

from typing import Any, TypedDict


class PresetJson(TypedDict):
    """Good values under a name: of a kind of job, or of the project's own."""

    name: str
    task: str
    problem_type: str | None
    dataset: dict[str, Any]
    adamss: dict[str, Any]
    training: dict[str, Any]
    reason: str
    own: bool
    job: str | None
    created_at: str | None
