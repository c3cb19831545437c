"""How a training process ended: what it says itself in `outcome.json`, else what its exit status says, in plain words.

Imported by the worker and by the training process; knows neither torch nor the database.
"""

from __future__ import annotations

import json
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from adamss_core.fileio.atomic import write_atomically

FILE = "outcome.json"
_LOG_TAIL_BYTES = 4_096


class Failure(TypedDict):
    """The `error` of a job."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True)
class Outcome:
    """Attributes:
    attempt: whose outcome it is; that of an earlier attempt is not believed.
    ended: `stopped` by request, with a checkpoint where there was anything to keep.
    error: of a failure.
    deterministic: whether another try would fail in the same way.
    """

    attempt: int
    ended: Literal["succeeded", "stopped", "failed"]
    error: Failure | None = None
    deterministic: bool = False

    def write(self, folder: Path) -> None:
        write_atomically({folder / FILE: json.dumps(asdict(self)).encode()})

    @classmethod
    def read(cls, folder: Path, attempt: int) -> Outcome | None:
        """None where the process left nothing that can be believed."""
        try:
            fields: dict[str, Any] = json.loads((folder / FILE).read_bytes())
            outcome = cls(**fields)
        except (OSError, ValueError, TypeError):
            return None
        return outcome if outcome.attempt == attempt else None


STALLED: Failure = {
    "code": "stalled",
    "message": "The training process made no progress for too long and was ended.",
    "hint": "Look at the job's log for where it hung. Very slow steps need a larger ADAMSS_STALL_SECONDS.",
}
TIME_LIMIT: Failure = {
    "code": "time_limit",
    "message": "The run took longer than one attempt may take.",
    "hint": "Train for fewer epochs or steps, or raise ADAMSS_JOB_TIME_LIMIT_SECONDS.",
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
DISK_FULL_STATUS = 28  # the exit status of a process that cannot even write its outcome
# The same of these at the same step, twice, is the job's own doing.
REPEATABLE = frozenset(
    {"process_crashed", "process_killed", "process_exited", "internal_error", "stalled", "out_of_memory"}
)


def is_repeated(last: dict[str, Any] | None, error: Failure, step: int | None) -> bool:
    """Whether an attempt met the end that the last one met, so that another would only meet it again.

    Args:
        last: how the last attempt that was charged ended: {reason, step}.
        step: the last step of this one; None before the first.
    """
    if last is None or last["reason"] is None or error["code"] not in REPEATABLE:
        return False
    # Killed, or silent, while it was loading says little: anybody may have killed it, and a download goes on from where
    # it was.
    if error["code"] in ("process_killed", "stalled") and step is None:
        return False
    return bool(last["reason"]["code"] == error["code"] and last.get("step") == step)


def repeated(error: Failure, step: int | None) -> Failure:
    """What to say of a crash that another attempt would only repeat."""
    where = "before its first step" if step is None else f"after step {step}"
    return {
        "code": error["code"],
        "message": f"{error['message']} It happened {where} twice, so it was not tried again.",
        "hint": error["hint"],
    }


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
    """What to say of a process that ended without an outcome.

    Args:
        returncode: as `subprocess` gives it: negative for a signal.
        log: the process's output, whose last line is quoted.
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
    quoted = f" Its last words: {words}" if (words := last_line(log)) else ""
    return {
        "code": "process_exited",
        "message": f"The training process ended with status {returncode} before it was done.{quoted}",
        "hint": "Look at the end of the job's log.",
    }


def last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    filled = [line.strip() for line in lines if line.strip()]
    return "".join(c if c.isprintable() else " " for c in filled[-1])[:300] if filled else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
