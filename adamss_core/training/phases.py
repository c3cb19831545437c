"""Name the phases of a run in its events, and log how long each part of its start takes: its user waits for the sum."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Literal

from adamss_core.training.request import Reporter

logger = logging.getLogger(__name__)

PhaseName = Literal[
    "loading",
    "tokenising",
    "decomposing",
    "restoring",
    "calibrating",
    "training",
    "evaluating",
    "publishing",
    "verifying",
    "comparing",
]
EVENT = "phase"
_MESSAGES: dict[PhaseName, str] = {
    "loading": "Loading rows and base model.",
    "tokenising": "Encoding the rows.",
    "decomposing": "Adding the adapter to the base model, whose weights are decomposed where no cache has them.",
    "restoring": "Loading the adapter of the last checkpoint.",
    "calibrating": "Taking the adapter's basis or rows from training rows.",
    "training": "Training begins.",
    "evaluating": "Evaluating the model that is published.",
    "publishing": "Writing the artifact '{artifact}'.",
    "comparing": "Training contenders beside the job's own model.",
    "verifying": "Loading the artifact '{artifact}' again, and comparing it with the trained model.",
}


def enter_phase(reporter: Reporter, name: PhaseName, **data: str) -> None:
    """Report that a phase begins; it lasts until the next one, or until the attempt ends."""
    reporter.event(EVENT, _MESSAGES[name].format(**data), {"phase": name, **data})


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Log the wall time of the block under a name; of a block that fails the error says enough."""
    begun = perf_counter()
    yield
    log_phase(name, perf_counter() - begun)


def log_phase(name: str, seconds: float) -> None:
    """Log the wall time of a part of the start."""
    logger.info("start: %s took %.3f s", name, seconds)
