"""Keep what is known of a contender on disk, so that a resumed run does not train it again."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamss_core.fileio.atomic import write_atomically
from adamss_core.training.checkpoints import CheckpointStore

MOST_STARTS = 2  # of a contender, where each ended with its process


@dataclass(frozen=True)
class ContenderStore:
    """Files of one contender.

    Attributes:
        folder: of this contender alone.
        identity: values that must match before an earlier attempt's files are used.
    """

    folder: Path
    identity: dict[str, Any]

    @property
    def checkpoints(self) -> CheckpointStore:
        """Return its checkpoints, of which the newest and the best are kept."""
        return CheckpointStore(self.folder / "steps", 1)

    def finished(self) -> dict[str, Any] | None:
        """Return the row of the table, where an earlier attempt has trained it."""
        return self._read("entry.json")

    def finish(self, entry: dict[str, Any]) -> None:
        """Keep the row of the table, and remove the checkpoints."""
        self._write("entry.json", entry)
        shutil.rmtree(self.folder / "steps", ignore_errors=True)

    def start(self) -> bool:
        """Count a start; return False where the process has died in each of the earlier ones."""
        starts: int = (self._read("starts.json") or {"count": 0})["count"]
        if starts >= MOST_STARTS:
            return False
        self._write("starts.json", {"count": starts + 1})
        return True

    def stop(self) -> None:
        """Forget the starts: the process was asked to stop, and did not die."""
        self._write("starts.json", {"count": 0})

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            kept = json.loads((self.folder / name).read_bytes())
            value: dict[str, Any] = kept["value"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return value if kept.get("identity") == self.identity else None

    def _write(self, name: str, value: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"identity": self.identity, "value": value}, allow_nan=False)
        write_atomically({self.folder / name: content.encode()})
