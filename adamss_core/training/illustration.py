"""Guard what only illustrates a run: samples, a baseline, the hardest rows, the text of a card."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from adamss_core.errors import AdamssError
from adamss_core.training.errors import Stopped, is_out_of_memory
from adamss_core.training.request import Reporter

T = TypeVar("T")
logger = logging.getLogger(__name__)


def illustrate(reporter: Reporter, lost: str, make: Callable[[], T], otherwise: T, *, processes: int = 1) -> T:
    """Return what `make` returns; where it fails, report that as a warning and return `otherwise`.

    What only illustrates must not cost the trained model.

    Args:
        lost: what users then lack, as a sentence without its end, such as "No samples are written at step 5".
        processes: that call this together. An error passes where they are several: a process that gave up alone would
            leave the others waiting for its share.

    Raises:
        Stopped: the reporter asked for it.
    """
    try:
        return make()
    except Stopped:
        raise
    except Exception as error:
        if processes > 1:
            raise
        logger.warning("%s", lost, exc_info=True)
        reporter.event("warning", f"{lost}: {_reason(error)}.", {"error": type(error).__name__})
    return otherwise


def _reason(error: Exception) -> str:
    if is_out_of_memory(error):
        return "memory ran out"
    if isinstance(error, AdamssError):
        return error.message.rstrip(".")
    lines = str(error).strip().splitlines()
    text = "".join(sign for sign in lines[0][:300] if sign.isprintable()) if lines else ""  # PostgreSQL takes no NUL
    return f"{type(error).__name__}: {text.rstrip('.')}" if text else type(error).__name__
