"""Command `adamss migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import CliError, examples
from service.cli.terminal import put

if TYPE_CHECKING:
    from service.operations.migration import MigrationPlan

EXAMPLES = examples(
    "adamss migrate --dry-run                      list what is missing",
    "adamss migrate && adamss api                  an API would do it too, at its start",
)

DryRun = Annotated[bool, typer.Option("--dry-run", help="List the missing migrations, and change nothing.")]


def migrate(dry_run: DryRun = False) -> None:
    """Bring the database to this release's schema, while API and workers of the release before go on.

    Migrations of one major only add what older releases do not miss (expand): none waits longer than a second for a
    lock, and long steps go in batches. One that removes something (contract) begins the next major, and is marked in
    the list: stop every process of older releases first, as none of them starts afterwards.

    Run with the service's settings. One process migrates at a time; an interrupted run may be repeated.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from service.operations import migration
    from service.shared.errors import ServiceError, StartRefused
    from service.shared.settings import Settings

    settings = Settings()
    try:
        plan = migration.plan(settings) if dry_run else migration.migrate(settings)
    except (StartRefused, ServiceError) as error:
        raise CliError(str(error)) from error
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise CliError(
            f"The database does not answer ({cause}). Check ADAMSS_DATABASE_URL, then run it again: what was done "
            "stays done."
        ) from error
    show(plan, dry_run=dry_run)


def show(plan: MigrationPlan, *, dry_run: bool) -> None:
    """Print one line for each migration, and one for the whole."""
    for one in plan.missing:
        put(f"{one.revision:<8} {'contract' if one.removes else 'expand':<9} {one.summary}")
    if plan.missing:
        number, end = len(plan.missing), "missing" if dry_run else "run"
        subject = "1 migration" if number == 1 else f"{number} migrations"
        verb = ("is" if dry_run else "was") if number == 1 else ("are" if dry_run else "were")
        put(f"{subject} {verb} {end}, from {plan.found or 'nothing'}.")
    elif plan.state == "current":
        put(f"The database has the newest schema, {plan.found}.")
    else:
        put(f"The database has the schema {plan.found} of a later release; this one works on it. Nothing to do.")
