"""Who may give a job which priority."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.http.context import Caller
from service.shared.database.tables import Job, JobStatus, Role
from service.shared.errors import Conflict, Forbidden
from service.shared.jobs.states import add_event

WAITING = (JobStatus.QUEUED, JobStatus.PAUSED)


def check_priority(caller: Caller, priority: int) -> None:
    """Check that the caller's key may give a priority.

    Raises:
        Forbidden: it is above 0, and the key's role is not admin.
    """
    if priority > 0 and caller.role is not Role.ADMIN:
        raise Forbidden(
            f"priority {priority} needs a key with the role admin; this key's is {caller.role}. Give 0 or less, or "
            "have an admin raise it: PATCH /jobs/{id}.",
            code="priority_needs_admin",
            param="priority",
        )


def change_priority(session: Session, caller: Caller, job: Job, priority: int) -> None:
    """Change the priority of a waiting job, whose lock the caller holds; its spec stays as it was sent.

    Raises:
        Forbidden: as of `check_priority`.
        Conflict: the job runs or has ended.
    """
    if priority == job.priority:
        return
    check_priority(caller, priority)
    if job.status not in WAITING:
        raise Conflict(
            f"The job is {job.status}, and its priority decides only while it waits. Pause it first.",
            code=f"job_{job.status}",
            param="priority",
        )
    before, job.rank = job.priority, -priority
    data = {"before": before, "priority": priority}
    add_event(session, job, "priority", f"The priority is {priority}; it was {before}.", data)
