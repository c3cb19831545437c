"""What a run measured, as an artifact beside the model's: `metrics`, a zip with `metrics.parquet`."""

from __future__ import annotations

import json
from pathlib import Path

from adamss_core.fileio.hashing import sha256_of
from adamss_core.fileio.zipping import write_zip
from adamss_core.training.request import ArtifactFile
from service.shared.database.engine import Database
from service.shared.jobs import metrics_parquet as parquet

NAME = "metrics"


def metrics_file(db: Database, folder: Path, job_id: str) -> ArtifactFile:
    """Writes the artifact below `folder/artifacts`, complete and on disk, from the rows that the database has.

    It is called once all rows are written, and before the job ends: nothing may hold the database's lock so long.
    """
    folder = folder / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    content, staged, final = folder / f".{parquet.NAME}", folder / f".{NAME}.zip", folder / f"{NAME}.zip"
    try:
        with content.open("wb") as file, db.read() as session:
            facts = parquet.write(session, job_id, file)
        files = {parquet.NAME: {"size_bytes": content.stat().st_size, "sha256": sha256_of(content)}}
        manifest = {"format": "adamss-metrics", "job_id": job_id, **facts, "files": files}
        write_zip(staged, {parquet.NAME: content, "manifest.json": json.dumps(manifest, indent=2).encode()})
        staged.replace(final)
    finally:
        content.unlink(missing_ok=True)
        staged.unlink(missing_ok=True)
    return ArtifactFile(NAME, final, final.stat().st_size, sha256_of(final), manifest)
