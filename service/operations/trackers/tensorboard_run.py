"""TensorBoard event files, in a folder for each job: `tensorboard --logdir FOLDER` shows them as they grow."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from tensorboardX import SummaryWriter

from service.client.types import JobJson, MetricJson
from service.operations.trackers.follow import named

PLACE = "adamss_seq"  # beside the event files: how far they are


class TensorBoardRun:
    """Adds to a folder; what is in it already is not written again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._place = folder / PLACE
        self.where = f"tensorboard --logdir {folder.parent}"
        self.after = int(self._place.read_text()) if self._place.exists() else 0
        # Files are named by the second; the suffix keeps one that is begun in the same second from being overwritten.
        self._writer = SummaryWriter(str(folder), flush_secs=2, filename_suffix=f".{self.after}")

    def take(self, row: MetricJson) -> None:
        moment = datetime.fromisoformat(row["time"]).timestamp()
        for name, value in named(row).items():
            self._writer.add_scalar(name, value, row["step"], walltime=moment)
        self.after = row["seq"]

    def flush(self) -> None:
        """Its own thread writes every two seconds, and cannot be waited for: the place is only kept at the end."""

    def close(self, job: JobJson) -> None:
        self._writer.close()
        self._place.write_text(str(self.after))


def begin(job: JobJson, folder: Path) -> TensorBoardRun:
    return TensorBoardRun(folder / job["id"])
