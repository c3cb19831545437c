"""Export to TensorBoard event files, in a folder per job: `tensorboard --logdir FOLDER` shows them live."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from tensorboardX import SummaryWriter

from service.client.types import JobJson, MetricJson
from service.operations.trackers.follow import compared, named

LAST_SEQ = "adamss_seq"  # file beside the event files, with the last sequence number written


class TensorBoardRun:
    """Follower that appends to a folder, without repeating rows of an earlier run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._last_seq = folder / LAST_SEQ
        self.where = f"tensorboard --logdir {folder.parent}"
        self.after = int(self._last_seq.read_text()) if self._last_seq.exists() else 0
        # File names have a resolution of one second; the suffix prevents overwriting a file of the same second.
        self._writer = SummaryWriter(str(folder), flush_secs=2, filename_suffix=f".{self.after}")

    def write(self, row: MetricJson) -> None:
        moment = datetime.fromisoformat(row["time"]).timestamp()
        for name, value in named(row).items():
            self._writer.add_scalar(name, value, row["step"], walltime=moment)
        self.after = row["seq"]

    def flush(self) -> None:
        """Do nothing: the writer's thread flushes every two seconds and cannot be awaited, so only `close` stores the
        last sequence number."""

    def close(self, job: JobJson) -> None:
        for name, value in compared(job).items():
            self._writer.add_scalar(name, value, job["progress"]["step"])
        self._writer.close()
        self._last_seq.write_text(str(self.after))


def begin(job: JobJson, folder: Path) -> TensorBoardRun:
    """Start or resume the job's event files."""
    return TensorBoardRun(folder / job["id"])
