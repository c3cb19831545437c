"""Layout of a run's own folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """Folder of one run.

    Attributes:
        path: the folder itself.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder with one folder for each checkpoint."""
        return self.path / "checkpoints"

    @property
    def artifacts(self) -> Path:
        """Folder of the zips that a finished run leaves, before they are published."""
        return self.path / "artifacts"

    @property
    def comparison(self) -> Path:
        """Folder with one folder for each contender."""
        return self.path / "comparison"
