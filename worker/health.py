"""`python -m worker.health`: exit with 0 if a worker of this machine has renewed its row within the lease."""

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
    """Return whether a worker of this machine is alive."""
    db = Database(settings.resolved_database_url)
    try:
        with db.read() as session:
            since = database_now(session) - timedelta(seconds=settings.lease_seconds)
            own = select(Worker.id).where(Worker.host == socket.gethostname(), Worker.seen_at >= since).limit(1)
            return session.execute(own).first() is not None
    except SQLAlchemyError as error:
        print(f"the database does not answer: {type(error).__name__}", file=sys.stderr)
        return False
    finally:
        db.close()


if __name__ == "__main__":
    sys.exit(0 if is_alive(get_settings()) else 1)
