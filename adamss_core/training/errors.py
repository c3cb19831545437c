"""Errors that end a run, and their translation from other libraries' errors. Torch-free."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adamss_core.errors import AdamssError
from adamss_core.spec import SpecProblem

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
_NO_SPACE = "no space left on device"


class Stopped(Exception):
    """End of a run that was asked to stop; a checkpoint is written if any step was made."""


class TrainingError(AdamssError):
    """A run cannot continue.

    Attributes:
        code: out_of_memory, nan_loss, bad_data, missing_tokenizer, model_load_failed, verification_failed, disk_full,
            schedule_unreachable, checkpoint_mismatch, checkpoint_format, target_without_effect, time_limit, or the
            code of an `AdamssError` of the core.
        message, hint, where: as in `AdamssError`.
        deterministic: whether the same job would fail in the same way again, so that a retry is pointless.
    """

    def __init__(self, code: str, message: str, *, hint: str, deterministic: bool = True, where: str | None = None):
        super().__init__(message, hint=hint, where=where)
        self.code = code
        self.deterministic = deterministic

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.code, self.message, self.hint, self.deterministic, self.where)


def _rebuild(code: str, message: str, hint: str, deterministic: bool, where: str | None) -> TrainingError:
    return TrainingError(code, message, hint=hint, deterministic=deterministic, where=where)


class IncompleteRun(TrainingError):
    """A run has a model to publish, but an artifact failed, or the time limit ended its training.

    Attributes:
        outcome: the `RunResult`, with the artifacts that are written and verified.
    """

    outcome: Any = None


def bad_data(message: str, *, hint: str, where: str | None = None) -> TrainingError:
    """Make the error for data that cannot be trained on."""
    return TrainingError("bad_data", message, hint=hint, where=where)


def disk_full(message: str) -> TrainingError:
    """Make the error for a full disk; a retry may succeed."""
    hint = "Make room on the disk of the home folder; the run resumes from its last checkpoint."
    return TrainingError("disk_full", message, hint=hint, deterministic=False)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Translate known errors into a `TrainingError`; unknown ones pass unchanged."""
    try:
        yield
    except (TrainingError, Stopped):
        raise
    except AdamssError as error:
        raise TrainingError(error.code, error.message, hint=error.hint, where=error.where) from error
    except SpecProblem as error:
        raise TrainingError(
            error.code,
            f"The job does not fit its data: {error.message}",
            hint=f"Change {error.param} and submit the job again.",
            where=error.param,
        ) from error
    except Exception as error:
        known = _known(error)
        if known is None:
            raise
        raise known from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether host or device ran out of memory; torch's own errors are RuntimeErrors."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)


def _known(error: Exception) -> TrainingError | None:
    if is_out_of_memory(error):
        return TrainingError(
            "out_of_memory",
            f"Memory ran out: {str(error).splitlines()[0][:300] if str(error) else type(error).__name__}",
            hint="Use a smaller training.batch_size with more training.gradient_accumulation_steps, a shorter "
            "training.max_length, or a smaller base model.",
            deterministic=False,  # another program may have taken the memory; failing at the same step again decides
        )
    # Rust libraries (safetensors, tokenizers) report a full disk by text only.
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or _NO_SPACE in str(error).lower():
        return disk_full("The disk is full: a checkpoint or an artifact could not be written.")
    return None
