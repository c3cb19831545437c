"""Names of trained models as OpenAI writes them: `ft:base:project:suffix:job`, and `:ckpt-step-N` for a checkpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.openai_api.repository import BLOCK
from service.shared.database.tables import Job

FINE_TUNED = "ft"
_CHECKPOINT = re.compile(r"ckpt-step-([1-9][0-9]{0,9})")
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class ModelName:
    """A name, taken apart.

    Attributes:
        job_id: the job that trains the model.
        step: of the checkpoint that is meant; None for the published model.
        whole: the name of the published model.
    """

    job_id: str
    step: int | None
    whole: str


def name_of(job: Job, project: str, step: int | None = None) -> str:
    """Return the name of a job's model, or of its checkpoint at a step."""
    block = job.resolved.get(BLOCK, {})
    sent = str(block.get("model") or job.resolved.get("spec", {}).get("base_model") or "base")
    base = sent.split(":")[1] if sent.startswith(f"{FINE_TUNED}:") else sent  # a model that was trained further
    name = ":".join([FINE_TUNED, base, plain(project), plain(block.get("suffix") or ""), job.id])
    return name if step is None else f"{name}:ckpt-step-{step}"


def parse(name: str) -> ModelName | None:
    """Take a name apart; None for another one."""
    parts = name.split(":")
    if len(parts) not in (5, 6) or parts[0] != FINE_TUNED:
        return None
    whole = ":".join(parts[:5])
    if len(parts) == 5:
        return ModelName(parts[4], None, whole)
    step = _CHECKPOINT.fullmatch(parts[5])
    return None if step is None else ModelName(parts[4], int(step[1]), whole)


def plain(text: str) -> str:
    """Replace what no part of a name may hold."""
    return _ODD.sub("-", text).strip("-")
