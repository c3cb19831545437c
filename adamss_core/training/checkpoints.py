"""Checkpoint folders: whole or absent, verified by sha256, and removed when they are no longer needed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamss_core.failpoints import failpoint
from adamss_core.fileio.fsync import sync_file, sync_folder
from adamss_core.fileio.hashing import sha256_of
from adamss_core.fileio.walk import files_below
from adamss_core.spec.spec_versions import CHECKPOINT_FORMATS
from adamss_core.training.errors import TrainingError, disk_full

MANIFEST = "checkpoint.json"
FORMAT = "adamss-checkpoint"
VERSION = max(CHECKPOINT_FORMATS)
_PREFIX, _TEMPORARY = "step-", ".writing-"


@dataclass(frozen=True)
class CheckpointStore:
    """Checkpoints of one run.

    Attributes:
        folder: contains one folder per checkpoint, such as `step-00000040/`.
        keep: number of newest checkpoints to keep, beside the best one.
    """

    folder: Path
    keep: int

    def path(self, step: int) -> Path:
        """Return the folder of a step's checkpoint, whether or not it exists."""
        return self.folder / f"{_PREFIX}{step:08d}"

    def step_of(self, folder: Path) -> int:
        """Return the step of a checkpoint's folder."""
        return int(folder.name.removeprefix(_PREFIX))

    def steps(self) -> list[int]:
        """Return the steps that have a folder, ascending; the checkpoints may be damaged."""
        names = [path.name.removeprefix(_PREFIX) for path in self.folder.glob(f"{_PREFIX}*")]
        return sorted(int(name) for name in names if name.isdigit())

    def write(self, step: int, fill: Callable[[Path], None]) -> Path:
        """Let `fill` write files into a temporary folder, and rename it when all of it is on disk.

        Raises:
            TrainingError: disk_full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary, final = self.folder / f"{_TEMPORARY}{step:08d}", self.path(step)
        _remove(temporary)
        self._require_space()
        temporary.mkdir()
        try:
            fill(temporary)
            files = {path.relative_to(temporary).as_posix(): _sync_and_hash(path) for path in files_below(temporary)}
            manifest = {"format": FORMAT, "version": VERSION, "step": step, "files": files}
            (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2))
            sync_file(temporary / MANIFEST)
            failpoint("checkpoint")
            for path in (*(p for p in temporary.rglob("*") if p.is_dir()), temporary):
                sync_folder(path)
            _remove(final)  # a damaged one of the same step
            temporary.replace(final)
        except BaseException:
            _remove(temporary)
            raise
        sync_folder(self.folder)
        return final

    def _require_space(self) -> None:
        """Check the free space before writing: a full disk would also stop the database on it.

        Raises:
            TrainingError: disk_full, where less is free than the newest checkpoint takes.
        """
        steps = self.steps()
        needed = sum(path.stat().st_size for path in files_below(self.path(steps[-1]))) if steps else 0
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise disk_full(f"A checkpoint takes about {needed / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free.")

    def problem(self, step: int) -> str | None:
        """Return what is wrong with a checkpoint, or None."""
        folder = self.path(step)
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
            expected: dict[str, str] = manifest["files"]
            if (manifest["format"], manifest["version"], manifest["step"]) != (FORMAT, VERSION, step):
                return f"{MANIFEST} is of another format or step"
            for name, digest in expected.items():
                if sha256_of(folder / name) != digest:
                    return f"{name} was altered or cut off"
        except OSError as error:
            return f"{Path(error.filename or MANIFEST).name} cannot be read ({error.strerror})"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return f"{MANIFEST} is damaged ({error})"
        return None

    def is_foreign(self, step: int) -> bool:
        """Return whether a later release has written a checkpoint, in a format that this one does not know."""
        try:
            manifest = json.loads((self.path(step) / MANIFEST).read_bytes())
            return bool(manifest["format"] == FORMAT and manifest["version"] > VERSION)
        except (OSError, ValueError, KeyError, TypeError):  # damaged
            return False

    def newest(self, damaged: Callable[[int, str], None]) -> int | None:
        """Return the step of the newest complete checkpoint, or None; report and remove newer, damaged ones.

        Args:
            damaged: called with step and problem of each removed checkpoint.

        Raises:
            TrainingError: checkpoint_format, where a later release has written one; it stays as it is.
        """
        for path in self.folder.glob(f"{_TEMPORARY}*"):
            _remove(path)
        for step in reversed(self.steps()):
            if self.is_foreign(step):
                raise _foreign(step)
            if (problem := self.problem(step)) is None:
                return step
            damaged(step, problem)
            _remove(self.path(step))
        return None

    def retain(self, best: int | None) -> None:
        """Remove all but the best and the newest checkpoints."""
        steps = self.steps()
        for step in steps[: max(0, len(steps) - max(1, self.keep))]:
            if step != best:
                _remove(self.path(step))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        TrainingError: checkpoint_mismatch, where the file holds another JSON value.
    """
    value = json.loads(path.read_bytes())
    if not isinstance(value, dict):
        raise TrainingError("checkpoint_mismatch", f"{path.name} is not an object.", hint="Start the job anew.")
    return value


def checkpoint_gone(step: int, problem: str) -> TrainingError:
    return TrainingError(
        "checkpoint_gone",
        f"The checkpoint of step {step} cannot be used: {problem}.",
        hint="GET /jobs/{id}/checkpoints lists those that are kept: the newest, and the best.",
        where="checkpoint",
    )


def _foreign(step: int) -> TrainingError:
    return TrainingError(
        "checkpoint_format",
        f"The checkpoint of step {step} is in the format of a later release, and is left alone.",
        hint="The job waits for a worker of that release. Start one, or submit the job again.",
        deterministic=False,
    )


def _sync_and_hash(path: Path) -> str:
    sync_file(path)
    return sha256_of(path)


def _remove(folder: Path) -> None:
    """Remove a checkpoint, renaming it first: a kill in between leaves no half checkpoint under a valid name."""
    if not folder.exists():
        return
    trash = folder.with_name(f"{_TEMPORARY}removed-{folder.name}")
    if folder.name.startswith(_TEMPORARY):
        trash = folder
    else:
        shutil.rmtree(trash, ignore_errors=True)
        folder.replace(trash)
    shutil.rmtree(trash)
