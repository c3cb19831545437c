"""Upload artifacts from the training process, each once, before the transaction that names them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from adamss_core.training.request import ArtifactFile
from service.shared.storage.host_files import HostFiles

if TYPE_CHECKING:
    from service.shared.storage.object_store import StoredContent


class ArtifactUploads:
    """Artifacts of one attempt in the store.

    Args:
        prefix: of their keys: project and job.
        alive: called while a zip is sent, which may take longer than a silent process lives.
    """

    def __init__(self, files: HostFiles, job_id: str, prefix: str, alive: Callable[[], object]) -> None:
        self.files, self._job_id, self._prefix, self._alive = files, job_id, prefix, alive
        self._contents: dict[str, StoredContent | None] = {}

    def upload(self, artifacts: Iterable[ArtifactFile], published: Path) -> None:
        """Write zips to the store, unless this attempt did so already.

        Args:
            published: folder of those that were moved there already.

        Raises:
            StorageUnavailable: one of them is not there; nothing is visible by this call.
        """
        for artifact in artifacts:
            if artifact.sha256 in self._contents:
                continue
            path = artifact.path if artifact.path.exists() else published / artifact.path.name
            self._contents[artifact.sha256] = self.files.put(path, self._prefix, self._alive)

    def record(self, session: Session, artifact: ArtifactFile, target: Path) -> None:
        """Name an uploaded zip in the transaction that registers it."""
        self.files.record(session, target, self._contents[artifact.sha256], self._job_id)
