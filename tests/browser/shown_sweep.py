"""A sweep as the API shows it, for views of the page: no test needs to train its trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.sweeps.schemas import ImportanceOut, SweepOut

if TYPE_CHECKING:
    from tests.browser.conftest import Tab

ID = "sweep_0123456789abcdefghjk"
SPACE = {
    "training.learning_rate": {"min": 1e-3, "max": 2e-2, "log": True},
    "adamss.r": {"values": [50, 100]},
    "training.lr_scheduler": {"values": ["linear", "cosine"]},
    "training.warmup_ratio": {"min": 0.0, "max": 0.2, "when": {"training.lr_scheduler": ["linear"]}},
}
REFUSAL = {"code": "too_long", "message": "Rank 100 is more than the module has rows.", "param": "adamss.r"}


def trial(number: int, state: str, value: float | None) -> dict[str, Any]:
    params: dict[str, Any] = {"training.learning_rate": 0.001 * number, "adamss.r": 50 if number % 2 else 100}
    params["training.lr_scheduler"] = "cosine" if number % 3 == 0 else "linear"
    if params["training.lr_scheduler"] == "linear":
        params["training.warmup_ratio"] = 0.02 * number
    return {
        "number": number,
        "params": params,
        "state": state,
        "value": value,
        "error": None if value is None else 0.004,
        "evaluations": [] if value is None else [value],
        "stopped_after": 1 if state == "stopped" else None,
        "step": 16,
        "refusal": REFUSAL if state == "refused" else None,
        "jobs": [] if state == "refused" else [f"job_{number:019}{seed}" for seed in range(2)],
        "ended_at": f"2026-01-01T10:{number:02}:00Z" if state in ("complete", "stopped") else None,
    }


def sweep_shown(**changes: Any) -> dict[str, Any]:
    """A sweep that runs, with trials in each state."""
    trials = [
        trial(1, "complete", 0.81),
        trial(2, "stopped", 0.7),
        trial(3, "complete", 0.865),
        trial(4, "complete", 0.84),
        trial(5, "refused", None),
        trial(6, "stopped", 0.62),
        trial(7, "running", 0.75),
        trial(8, "waiting", None),
    ]
    fields: dict[str, Any] = {
        "id": ID,
        "name": "rates of the reviews",
        "status": "running",
        "objective": "accuracy",
        "direction": "max",
        "counts": {"complete": 3, "stopped": 2, "refused": 1, "running": 1, "waiting": 1},
        "best": trials[2],
        "no_best": None,
        "created_at": "2026-01-01T10:00:00Z",
        "ended_at": None,
        "request": {"spec": {"task": "text-classification"}, "space": SPACE, "seeds": [0, 1], "stop": {"first": 1}},
        "trials": trials,
        "device_seconds": 754.0,
    }
    return SweepOut.model_validate(fields | changes).model_dump(mode="json")


def show_sweep(tab: Tab, sweep: dict[str, Any]) -> None:
    """Let the tab find this sweep, and no other one."""
    shares = {"training.learning_rate": 0.71, "adamss.r": 0.2, "training.lr_scheduler": 0.09}
    importance = ImportanceOut(importance=shares, trials=6).model_dump(mode="json")
    listed = {"object": "list", "data": [sweep], "has_more": False, "next": None}
    tab.page.route("**/sweeps?limit=*", lambda route: route.fulfill(json=listed))
    tab.page.route(f"**/sweeps/{ID}", lambda route: route.fulfill(json=sweep))
    tab.page.route(f"**/sweeps/{ID}/importance", lambda route: route.fulfill(json=importance))
