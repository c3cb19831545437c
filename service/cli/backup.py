"""Commands `adamss backup` and `adamss restore`: the embedded set-up in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import CliError, size
from service.cli.storage import move
from service.cli.terminal import put

File = Annotated[Path, typer.Argument(metavar="FILE", help="A tar file, such as adamss-monday.tar.")]


def backup(
    file: File,
    models: Annotated[bool, typer.Option(help="Include the base models; they may be large.")] = True,
) -> None:
    """Write the service's database and files into one file, while the service runs. The file holds secrets.

    Files of a store (ADAMSS_STORAGE_URL) are fetched for it. A service on PostgreSQL is backed up with pg_dump.
    """
    from service.operations.backup import BackupError
    from service.operations.backup import backup as run
    from service.shared.settings import Settings

    try:
        archive = run(Settings(), file, models=models)
    except BackupError as error:
        raise CliError(str(error)) from error
    put(f"{archive.path}: {archive.files} files, {size(archive.size_bytes)}")


def restore(file: File) -> None:
    """Restore a backup into an empty ADAMSS_HOME. Running jobs resume from their checkpoints at the next start.

    Where ADAMSS_STORAGE_URL is set, the files are put into that store too.
    """
    from service.operations.backup import BackupError
    from service.operations.backup import restore as run
    from service.shared.settings import Settings
    from service.shared.storage.permissions import keep_private

    settings = Settings()
    keep_private(settings.resolved_home)
    try:
        count = run(settings, file)
    except BackupError as error:
        raise CliError(str(error)) from error
    if settings.storage_url is not None:
        move()
    put(f"Restored {count} files to {settings.resolved_home}. Start the service: adamss up")
