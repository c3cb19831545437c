"""Describe in plain words how an attempt failed: the `error` of a job.

Imported by the worker and by the training process; knows no torch.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TypedDict

from pydantic import ValidationError

from adamss_core.errors import AdamssError
from adamss_core.training.errors import TrainingError
from service.shared.database.engine import is_disk_full
from service.shared.errors import ServiceError

_LOG_TAIL_BYTES = 4_096


class Failure(TypedDict):
    """The `error` of a job."""

    code: str
    message: str
    hint: str


def failure(code: str, message: str, hint: str) -> Failure:
    """Build a failure from its three fields."""
    return {"code": code, "message": message, "hint": hint}


STALLED: Failure = {
    "code": "stalled",
    "message": "The training process made no progress for too long and was ended.",
    "hint": "Look at the job's log for where it hung. Very slow steps need a larger ADAMSS_STALL_SECONDS.",
}
TIME_LIMIT: Failure = {
    "code": "time_limit",
    "message": "The attempt took more than twice the operator's time limit, with loading, evaluations and publishing.",
    "hint": "Train for fewer epochs or steps, evaluate on fewer rows, or raise ADAMSS_JOB_TIME_LIMIT_SECONDS.",
}
FAKE_DEVICES: Failure = {
    "code": "fake_devices",
    "message": "The devices of this worker are fake (ADAMSS_DEVICES=fake:…): nothing trains on them.",
    "hint": "Start a worker without ADAMSS_DEVICES, or with cpu:N, and submit the job again.",
}
SEVERAL_SLICES: Failure = {
    "code": "several_slices",
    "message": "The job asks for several devices and got slices of MIG, of which CUDA shows a process one alone.",
    "hint": "Name a kind of whole GPUs (resources.kind, see GET /workers), or ask for one device.",
}
RANK_LOST: Failure = {
    "code": "rank_lost",
    "message": "One of the job's processes died, which ended all of them: they make each step together.",
    "hint": "The job's log has a line of each rank. Where memory ran out, lower training.batch_size.",
}
DATABASE_LOST: Failure = {
    "code": "database_lost",
    "message": "The training process could not reach the database for longer than its lease.",
    "hint": "Look at the database and the network between it and the worker.",
}

DISK_FULL: Failure = {
    "code": "disk_full",
    "message": "The disk of the home folder is full.",
    "hint": "Make room: delete old jobs and data sets, or enlarge it. The last checkpoint is kept.",
}
STORAGE_UNAVAILABLE = "storage_unavailable"  # never charged: nothing of the job caused it
STORAGE_HINT = "The job resumes from its checkpoint when the store can be used. Look at it: adamss doctor"
DISK_FULL_STATUS = 28  # the exit status of a process that cannot even write its outcome

_BY_SIGNAL: dict[int, Failure] = {
    signal.SIGKILL: {
        "code": "process_killed",
        "message": "The training process was killed from outside, most likely because the machine ran out of memory.",
        "hint": "Use a smaller training.batch_size or training.max_length or a smaller base model, or give the worker "
        "more memory.",
    },
    signal.SIGSEGV: {
        "code": "process_crashed",
        "message": "The training process crashed inside a native library (segmentation fault).",
        "hint": "Look at the end of the job's log. If it happens again, check the versions of torch and the driver.",
    },
    signal.SIGBUS: {
        "code": "process_crashed",
        "message": "The training process lost memory that was mapped from a file (bus error).",
        "hint": "This happens when the disk or /dev/shm is full, or a model file changed while it was read.",
    },
    signal.SIGABRT: {
        "code": "process_crashed",
        "message": "A native library ended the training process (abort).",
        "hint": "Look at the end of the job's log for what it complained about.",
    },
    signal.SIGILL: {
        "code": "process_crashed",
        "message": "The training process met an instruction that this processor does not have.",
        "hint": "Install a build of torch that fits this machine.",
    },
    signal.SIGFPE: {
        "code": "process_crashed",
        "message": "The training process crashed inside a native library (arithmetic error).",
        "hint": "Look at the end of the job's log.",
    },
}


def from_exit(returncode: int, log: Path) -> Failure:
    """Describe the end of a process that left no outcome.

    Args:
        returncode: as `subprocess` gives it: negative for a signal.
        log: output of the process; its last line is quoted.
    """
    if returncode == DISK_FULL_STATUS:
        return DISK_FULL
    if -returncode in _BY_SIGNAL:
        return _BY_SIGNAL[-returncode]
    if returncode < 0:
        return {
            "code": "process_killed",
            "message": f"The training process was ended by a signal ({_signal_name(-returncode)}).",
            "hint": "Somebody or something on the worker's machine ended it.",
        }
    quoted = f" Its last words: {line}" if (line := last_line(log)) else ""
    return {
        "code": "process_exited",
        "message": f"The training process ended with status {returncode} before it was done.{quoted}",
        "hint": "Look at the end of the job's log.",
    }


def last_line(log: Path) -> str:
    """Return the last line of a log that is not blank, printable and cut to 300 characters."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    filled = [line.strip() for line in lines if line.strip()]
    return "".join(c if c.isprintable() else " " for c in filled[-1])[:300] if filled else ""


def from_error(error: Exception) -> tuple[Failure, bool]:
    """Describe an error of the run, and return whether a retry would end the same way."""
    if isinstance(error, TrainingError):
        return failure(error.code, error.message, error.hint), error.deterministic
    if isinstance(error, ServiceError):  # of the store of files
        return failure(error.code, error.message, STORAGE_HINT), False
    if isinstance(error, AdamssError):
        return failure(error.code, error.message, error.hint), True
    if isinstance(error, MemoryError):
        hint = "Use a smaller training.batch_size or training.max_length, or give the worker more memory."
        return failure("out_of_memory", "The worker's memory ran out.", hint), False
    if is_disk_full(error):
        return DISK_FULL, False
    text = " ".join(str(error).split())[:500]
    unexpected = failure(
        "internal_error",
        f"The run broke off with an unexpected {type(error).__name__}{': ' + text if text else ''}.",
        "The job's log has the details. If the spec and the data look right, this is a fault of the service.",
    )
    # The machine's own errors pass; a ValueError will be the same next time. torch reports a lost GPU as RuntimeError.
    return unexpected, not isinstance(error, OSError | RuntimeError)


def from_unreadable_spec(error: ValidationError) -> Failure:
    """Describe a spec of the job's row that this version does not understand."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return failure(
        "invalid_spec",
        f"The job's spec cannot be read by this worker: {where}: {first['msg']}",
        "Worker and API may be of different versions. Submit the job again.",
    )


def from_failed_start(error: OSError) -> Failure:
    """Describe why the training process could not be started."""
    if is_disk_full(error):
        return {**DISK_FULL, "message": f"There is too little room on the disk: {error.strerror}."}
    return failure(
        "start_failed",
        f"The training process could not be started: {error.strerror or type(error).__name__}.",
        "Look at the disk space and the rights of the home folder on the worker's machine.",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
