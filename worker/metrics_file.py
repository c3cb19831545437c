"""Write the metrics of a run as an artifact beside the model's: `metrics`, a zip with `metrics.parquet`."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

from adamss_core.training.request import ArtifactFile
from service.shared.database.engine import Database
from service.shared.jobs import metrics_parquet as parquet

NAME = "metrics"
EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip's earliest time: equal content gives equal files


def metrics_file(db: Database, folder: Path, job_id: str) -> ArtifactFile:
    """Write the artifact below `folder/artifacts` from the rows of the database, and sync it to disk.

    Called once all rows are written, before the transaction that ends the job: it would hold the lock too long.
    """
    folder = folder / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    content, staged, final = folder / f".{parquet.NAME}", folder / f".{NAME}.zip", folder / f"{NAME}.zip"
    try:
        with content.open("wb") as file, db.read() as session:
            facts = parquet.write(session, job_id, file)
        files = {parquet.NAME: {"size_bytes": content.stat().st_size, "sha256": _hash(content)}}
        manifest = {"format": "adamss-metrics", "job_id": job_id, **facts, "files": files}
        _write_zip(staged, content, manifest)
        staged.replace(final)
    finally:
        content.unlink(missing_ok=True)
        staged.unlink(missing_ok=True)
    return ArtifactFile(NAME, final, final.stat().st_size, _hash(final), manifest)


def _write_zip(path: Path, content: Path, manifest: dict[str, Any]) -> None:
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # Parquet is compressed
            with content.open("rb") as source, archive.open(_entry(parquet.NAME), "w", force_zip64=True) as target:
                while chunk := source.read(1 << 20):
                    target.write(chunk)
            archive.writestr(_entry("manifest.json"), json.dumps(manifest, indent=2))
        file.flush()
        os.fsync(file.fileno())


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = 0o644 << 16
    return entry


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
