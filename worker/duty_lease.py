"""Let one worker at a time do what is done for all, such as collecting files: a row of the database names it."""

from __future__ import annotations

from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.shared.database.clock import database_now
from service.shared.database.engine import Database
from service.shared.database.tables import Duty
from service.shared.ids import new_id


class DutyLost(Exception):
    """Another worker has taken over, as this one was silent for too long."""


class DutyLease:
    """The lease of one duty.

    Args:
        name: of the duty.
        seconds: from the end of a pass to the next one, of whichever worker.
        pass_seconds: until another worker takes over from one that has died; a live one renews the lease sooner.
    """

    def __init__(self, db: Database, name: str, *, seconds: float, pass_seconds: float) -> None:
        self._db, self._name, self._seconds, self._pass_seconds = db, name, seconds, pass_seconds
        self._holder = new_id("duty")
        self._renewed = 0.0

    def take(self) -> bool:
        """Begin a pass; False while another worker makes one, or has made one within `seconds`."""
        try:
            with self._db.write() as session:
                if session.get(Duty, self._name) is None:
                    session.add(Duty(name=self._name, holder="", until=database_now(session)))
        except IntegrityError:  # another worker was quicker to write the row
            pass
        with self._db.write() as session:
            moment = database_now(session)
            return self._set(session, Duty.until <= moment, moment + timedelta(seconds=self._pass_seconds))

    def renew(self) -> None:
        """Continue a pass; may be called often, as the row is written only now and then.

        Raises:
            DutyLost: the lease has expired, and another worker has it.
        """
        if monotonic() - self._renewed > self._pass_seconds / 10:
            self._hold(self._pass_seconds)

    def end(self) -> None:
        """End a pass.

        Raises:
            DutyLost: another worker has the lease.
        """
        self._hold(self._seconds)

    def _hold(self, seconds: float) -> None:
        with self._db.write() as session:
            until = database_now(session) + timedelta(seconds=seconds)
            if not self._set(session, Duty.holder == self._holder, until):
                raise DutyLost

    def _set(self, session: Session, condition: ColumnElement[bool], until: datetime) -> bool:
        statement = update(Duty).where(Duty.name == self._name, condition).values(holder=self._holder, until=until)
        self._renewed = monotonic()
        result: CursorResult[Any] = session.execute(statement.execution_options(synchronize_session=False))  # type: ignore[assignment]
        return result.rowcount == 1
