"""An empty database as the migrations leave it: to run them again for each of 600 services takes half a minute."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from service.shared.database.migrate import upgrade
from service.shared.settings import Settings


@cache
def _migrated() -> bytes:
    with TemporaryDirectory() as home:
        settings = Settings(home=Path(home))
        upgrade(settings)
        return settings.files.database.read_bytes()


def make_database(settings: Settings) -> None:
    """Make the home folder's database, unless it is there."""
    if settings.database_url is not None:
        upgrade(settings)
    elif not (database := settings.files.database).exists():
        database.parent.mkdir(parents=True, exist_ok=True)
        database.write_bytes(_migrated())
