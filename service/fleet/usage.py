"""Show the use of devices by project, owner and month."""

from __future__ import annotations

import re

from service.fleet import repository
from service.fleet.schemas import DeviceUsageOut, ShareOut, UsageRowOut
from service.http.context import Caller
from service.projects.service import share_of
from service.shared.database.clock import database_now
from service.shared.database.tables import Role
from service.shared.errors import InvalidRequest
from service.shared.jobs.device_use import HOUR, month_of

MONTH = re.compile(r"20\d\d-(0[1-9]|1[0-2])")


def usage(caller: Caller, month: str | None) -> DeviceUsageOut:
    """List the use of a month by the caller's project, or by all for an admin.

    Raises:
        InvalidRequest: the month is none.
    """
    if month is not None and not MONTH.fullmatch(month):
        raise InvalidRequest("month must be a month, such as 2026-11.", code="invalid_month", param="month")
    rate = caller.settings.device_hour_rate
    everything = caller.role is Role.ADMIN
    with caller.db.read() as session:
        shown = month or month_of(database_now(session))
        rows = repository.device_use(session, shown, None if everything else caller.project_id)
        share = share_of(session, caller.settings, caller.project_id)
    data = []
    for project, owner, seconds, attempts in rows:
        hours = seconds / HOUR
        cost = None if rate is None else round(hours * rate, 2)
        data.append(
            UsageRowOut(
                project=project, owner=owner or None, device_hours=round(hours, 4), attempts=attempts, cost=cost
            )
        )
    currency = None if rate is None else caller.settings.currency
    return DeviceUsageOut(month=shown, data=data, currency=currency, project=ShareOut(**share))
