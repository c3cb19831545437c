"""The log of a training process: lines of logging, warnings included, without the paths of its host."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

# transformers deprecates an attribute that PEFT still reads: nobody who reads a job's log can do anything about it.
_KNOWN = "`is_gradient_checkpointing` is deprecated"


def begin_log(line_format: str) -> None:
    """Log to the standard error stream, and turn warnings into lines of the log."""
    logging.basicConfig(level=logging.INFO, format=line_format)
    warnings.formatwarning = format_warning
    warnings.filterwarnings("ignore", message=_KNOWN, category=FutureWarning)
    logging.captureWarnings(True)


def format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Write a warning in one line, with the name of its file and without the folder, which is the host's."""
    return f"{category.__name__} of {Path(filename).name}:{lineno}: {' '.join(str(message).split())}"
