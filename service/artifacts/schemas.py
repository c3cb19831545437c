"""Artifacts as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class ArtifactOut(BaseModel):
    """A file that a job left."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    object: Literal["artifact"] = "artifact"
    """Always "artifact"."""
    name: Literal["adapter", "lora", "merged", "metrics"]
    """What it is: the adapter in PEFT's format, the equivalent LoRA, the merged model, or the metrics as a Parquet
    file."""
    size_bytes: int
    """Size of the zip."""
    sha256: str
    """Hash of the zip; also its ETag."""
    manifest: dict[str, Any]
    """Versions, base model, spec, metrics, pruning, and how far its outputs are from the trained model's; of metrics
    the rows and columns."""
    created_at: datetime
    """When it was published."""
