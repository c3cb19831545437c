"""Order and answer of a child process: two JSON files in a folder of its own, which is its working directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ORDER, ANSWER = "order.json", "answer.json"


def write_order(folder: Path, order: Mapping[str, Any]) -> None:
    (folder / ORDER).write_text(json.dumps(order), encoding="utf-8")


def read_order(folder: Path) -> dict[str, Any]:
    """Return the order that the parent left; the parent is trusted, so nothing is checked."""
    order: dict[str, Any] = json.loads((folder / ORDER).read_bytes())
    return order


def remove_order(folder: Path) -> None:
    """Remove an order that holds people's texts as soon as it is answered."""
    (folder / ORDER).unlink(missing_ok=True)


def write_answer(folder: Path, answer: Mapping[str, Any]) -> None:
    (folder / ANSWER).write_text(json.dumps(answer), encoding="utf-8")


def read_answer(folder: Path, max_bytes: int) -> dict[str, Any] | None:
    """Return the answer and remove its file; None if it is missing, unreadable or too large."""
    path = folder / ANSWER
    try:
        if path.stat().st_size > max_bytes:
            return None
        answer = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    finally:
        path.unlink(missing_ok=True)
    return answer if isinstance(answer, dict) else None
