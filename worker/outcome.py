"""Tell how a training process ended, in a file that it leaves behind."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from adamss_core.fileio.atomic import write_atomically
from service.shared.storage.home import JobFolder
from worker.failures import Failure

# A failure of this kind at the same step, twice, is the job's own fault.
REPEATABLE = frozenset(
    {"process_crashed", "process_killed", "process_exited", "internal_error", "stalled", "out_of_memory", "rank_lost"}
)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        attempt: the writer's; the outcome of an earlier attempt is ignored.
        ended: `stopped` by request, with a checkpoint if there was anything to keep.
        error: of a failure.
        deterministic: whether a retry would fail in the same way.
    """

    attempt: int
    ended: Literal["succeeded", "stopped", "failed"]
    error: Failure | None = None
    deterministic: bool = False

    def write(self, folder: JobFolder) -> None:
        """Write the file atomically."""
        write_atomically({folder.outcome: json.dumps(asdict(self)).encode()})

    @classmethod
    def read(cls, folder: JobFolder, attempt: int) -> Outcome | None:
        """Return the attempt's outcome; None if the process left none that is readable and its own."""
        try:
            fields: dict[str, Any] = json.loads(folder.outcome.read_bytes())
            outcome = cls(**fields)
        except (OSError, ValueError, TypeError):
            return None
        return outcome if outcome.attempt == attempt else None


def is_repeated(last: dict[str, Any] | None, error: Failure, step: int | None) -> bool:
    """Return whether this attempt failed exactly like the previous charged one, so that a retry is pointless.

    Args:
        last: {reason, step} of the last attempt that was charged.
        step: last completed step of this attempt; None before the first.
    """
    if last is None or last["reason"] is None or error["code"] not in REPEATABLE:
        return False
    # Killed or silent while loading says little: anybody may have killed it, and a download resumes from its last byte.
    if error["code"] in ("process_killed", "rank_lost", "stalled") and step is None:
        return False
    return bool(last["reason"]["code"] == error["code"] and last.get("step") == step)


def repeated(error: Failure, step: int | None) -> Failure:
    """Describe a failure that a retry would only repeat."""
    where = "before its first step" if step is None else f"after step {step}"
    return {
        "code": error["code"],
        "message": f"{error['message']} It happened {where} twice, so it was not tried again.",
        "hint": error["hint"],
    }
