"""How long what a job leaves is kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adamss_core.spec.spec_model import SpecModel

Days = Annotated[float, Field(gt=0, le=36_500, strict=True)] | Literal["forever"]


class RetentionSpec(SpecModel):
    """Days after the job's end, or "forever"; null takes the operator's default, which is to remove nothing."""

    artifacts_days: Days | None = None
    """Days that adapter, LoRA and merged model are kept; the file of metrics stays."""
    checkpoints_days: Days | None = None
    """Days that the checkpoints are kept, without which a job that its time limit ended cannot be resumed."""
    logs_days: Days | None = None
    """Days that the training log is kept."""
