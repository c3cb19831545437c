"""Show until when the files of a job are kept."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from service.http.context import Caller
from service.http.openapi import Out
from service.http.paging import Page
from service.jobs.service import get
from service.shared.expiries import KINDS, kept_until
from service.shared.registrations import registered_as


class KeptOut(Out):
    """How long some files of a job are kept."""

    what: Literal["artifacts", "checkpoints", "logs"]
    """The files."""
    kept_until: datetime | None
    """When they may be removed; null where they are kept for ever, the job has not ended, or its model is
    registered."""


def retained(caller: Caller, job_id: str) -> Page[KeptOut]:
    """List until when a job's files are kept, by its own `retention` or the operator's default."""
    with caller.db.read() as session:
        job = get(session, caller, job_id)
        registered = bool(registered_as(session, job_id))
    own = job.spec.get("retention")
    until = {kind: kept_until(caller.settings, kind, job.ended_at, own) for kind in KINDS}
    if registered:
        until["artifacts"] = None
    data = [KeptOut(what=kind, kept_until=end) for kind, end in until.items()]
    return Page(data=data, has_more=False)
