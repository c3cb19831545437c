"""`python -m worker.health`: ends with 0 where a worker of this machine was heard from lately."""

from __future__ import annotations

import socket
import sys
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from service.shared.database.clock import database_now
from service.shared.database.engine import Database
from service.shared.database.tables import Worker
from service.shared.settings import Settings, get_settings


def is_alive(settings: Settings) -> bool:
    db = Database(settings.resolved_database_url)
    try:
        with db.read() as session:
            since = database_now(session) - timedelta(seconds=settings.lease_seconds)
            mine = select(Worker.id).where(Worker.host == socket.gethostname(), Worker.seen_at >= since).limit(1)
            return session.execute(mine).first() is not None
    except SQLAlchemyError as error:
        print(f"the database does not answer: {type(error).__name__}", file=sys.stderr)
        return False
    finally:
        db.close()


if __name__ == "__main__":
    sys.exit(0 if is_alive(get_settings()) else 1)
