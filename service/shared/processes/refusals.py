"""Refusals as answers of child processes, and as errors again in their parent."""

from __future__ import annotations

from typing import Any

from service.shared.errors import InvalidRequest, ServiceError, TooLarge, Unavailable


def as_answer(error: ServiceError) -> dict[str, Any]:
    """Return a child's answer that carries a refusal."""
    return {"refused": {"status": error.status, "code": error.code, "message": error.message, "param": error.param}}


def refusal_in(answer: dict[str, Any]) -> ServiceError | None:
    """Return the refusal that a child has answered; None where it has done what it was asked to."""
    if (refused := answer.get("refused")) is None:
        return None
    kinds: dict[int, type[ServiceError]] = {422: InvalidRequest, 413: TooLarge}
    kind = kinds.get(refused["status"], Unavailable)
    return kind(refused["message"], code=refused["code"], param=refused.get("param"))
