"""Schema of an artifact."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from service.http.openapi import Out


class ArtifactOut(Out):
    """A published file of a job."""

    object: Literal["artifact"] = "artifact"
    """Always "artifact"."""
    name: Literal["adapter", "lora", "merged", "metrics"]
    """Kind of artifact: adapter in PEFT's format, equivalent LoRA, merged model, or metrics as a Parquet file."""
    size_bytes: int
    """Size of the zip."""
    sha256: str
    """Hash of the zip; also its ETag."""
    manifest: dict[str, Any]
    """Versions, base model, spec, metrics, pruning, and the largest difference of its outputs from the trained model's;
    for `metrics`, its rows and columns."""
    created_at: datetime
    """Time of publication."""
