"""Write the metrics of a run as an artifact beside the model's: `metrics`, a zip with `metrics.parquet`."""

from __future__ import annotations

import json

from adamss_core.fileio.hashing import sha256_of
from adamss_core.fileio.zipping import write_zip
from adamss_core.training.request import ArtifactFile
from service.shared.database.engine import Database
from service.shared.jobs import metrics_parquet as parquet
from service.shared.storage.home import JobFolder

NAME = "metrics"


def metrics_file(db: Database, job_folder: JobFolder, job_id: str) -> ArtifactFile:
    """Write the artifact to the job's folder from the rows of the database, and sync it to disk.

    Called once all rows are written, before the transaction that ends the job: it would hold the lock too long.
    """
    folder = job_folder.artifacts
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
