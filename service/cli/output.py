"""Output of commands: tables, fields, JSON, errors and exit codes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adamss_core.visible import visible
from service.cli.terminal import console, on_terminal, put, put_cells

if TYPE_CHECKING:
    from service.client import ApiError, Client
    from service.client.types import Listing

COUNTED = 1_000  # entries up to which the service counts a list

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, such as job_4k7…")]


class Exit(IntEnum):
    OK = 0
    JOB_FAILED = 1  # the job failed or was cancelled
    USAGE = 2  # invalid arguments or spec
    NO_SERVICE = 3  # unreachable, or unable to answer now
    FORBIDDEN = 4  # not found, or not permitted
    INTERRUPTED = 130  # by Ctrl-C, as shells define it


class CliError(Exception):
    """A message for the terminal, with an exit code."""

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.code = code


def examples(*lines: str) -> str:
    """Build an epilog whose lines the help formatter does not join."""
    return "Examples:\n\n" + "\n\n".join(lines)


@contextmanager
def connect() -> Iterator[Client]:
    """Open a client of the configured service."""
    from service.client import Client

    with Client() as client:
        yield client


def report(error: Exception) -> int:
    """Print an expected error on stderr, a line for each field, and return the exit code; raise any other error."""
    from service.client import ApiError

    further: list[str] = []
    if isinstance(error, ApiError):
        code, (line, *further) = exit_code(error), error.lines()
        if error.status == 401:
            line += " (the key is read from ADAMSS_API_KEY, or from `api_key` in the folder ADAMSS_HOME)"
    elif isinstance(error, CliError):
        code, line = error.code, str(error)
    elif _is_service_error(error):
        code, line = Exit.USAGE, _service_error(error)
    elif isinstance(error, ModuleNotFoundError) and error.name is not None:
        code, line = Exit.USAGE, _missing_extra(error.name)
    elif isinstance(error, OSError):
        code, line = Exit.USAGE, f"{error.strerror}: {error.filename}" if error.filename else str(error)
    elif type(error).__name__ == "SettingsError":  # an invalid list; the cause is a JSON error
        field = re.search(r'field "(\w+)"', str(error))
        name = f"ADAMSS_{field[1].upper()}" if field else "An ADAMSS_ variable"
        code, line = Exit.USAGE, f'{name}: must be a JSON list, such as ["one", "two"]'
    elif type(error).__module__.startswith("pydantic"):
        code, line = Exit.USAGE, "; ".join(_settings_problem(problem) for problem in error.errors())  # type: ignore[attr-defined]
    else:
        raise error
    put(f"error: {line}", *further, err=True)
    return int(code)


def exit_code(error: ApiError) -> Exit:
    if error.status in (401, 403, 404):
        return Exit.FORBIDDEN
    if (error.status == 0 and error.code == "not_reachable") or error.status >= 500:
        return Exit.NO_SERVICE
    return Exit.USAGE


def _missing_extra(module: str) -> str:
    """Name the extra to install; the service's extra brings every optional module of a command."""
    return f'This command needs {module}, which is not installed. Install the service: pip install "adamss[service]"'


def _is_service_error(error: Exception) -> bool:
    """Tell an error of the service's own code from others, without importing the service."""
    errors = sys.modules.get("service.shared.errors")
    return errors is not None and isinstance(error, errors.ServiceError)


def _service_error(error: Any) -> str:
    return f"{error.param}: {error.message}" if error.param else str(error.message)


def _settings_problem(problem: dict[str, Any]) -> str:
    return f"ADAMSS_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Print a table on a terminal; elsewhere columns separated by tabs, for cut and awk."""
    if not on_terminal():
        for row in rows:
            put_cells([_text(value) for value in row])
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not rows:
        put(empty)
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(Text(visible(title)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(_text(value))) for value in row))
    console().print(table)


def print_rest(found: Listing[Any]) -> None:
    """Say how many entries a list has beyond the limit, beside its table and not in it."""
    if found.total is not None and found.total > len(found):
        total = f"{found.total:,}" + (" or more" if found.total >= COUNTED else "")
        put(f"{len(found):,} of {total} shown; --limit takes a larger number.", err=True)


def print_fields(fields: dict[str, object]) -> None:
    """Print names and values, one per line."""
    width = max(map(len, fields), default=0)
    put(*(f"{name:<{width}}  {_text(value)}" for name, value in fields.items()))


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def size(number: float) -> str:
    """Format a number of bytes for reading."""
    for unit in ("B", "KB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def duration(seconds: float | None) -> str:
    """Format seconds, such as 1:05 or 2:10:00."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def when(time: str | None, *, seconds: bool = False) -> str:
    """Format a time of the API in this machine's time zone, to the minute or the second."""
    if not time:
        return "-"
    from datetime import datetime

    return format(datetime.fromisoformat(time).astimezone(), f"%Y-%m-%d %H:%M{':%S' if seconds else ''}")


def number(value: object) -> object:
    """Shorten a fraction for a table."""
    return f"{value:.5g}" if isinstance(value, float) else value
