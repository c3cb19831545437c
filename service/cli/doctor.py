"""`adamss doctor`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from service.cli.output import Exit, Json, print_json

_MARKS = {"ok": "ok", "warning": "!!", "problem": "XX"}


def doctor(as_json: Json = False) -> None:
    """Look at versions, disk, database, workers, broker and devices; say what is wrong and what to do.

    Ends with 1 where there is a problem. Run it where the service runs, with the service's settings.
    """
    from service.operations.doctor import examine
    from service.shared.settings import Settings

    found = examine(Settings())
    if as_json:
        print_json([asdict(finding) for finding in found])
    else:
        for finding in found:
            print(f"{_MARKS[finding.state]}  {finding.check:<11} {finding.message}")
            if finding.remedy:
                print(f"{'':16}{finding.remedy}")
    if any(finding.state == "problem" for finding in found):
        raise typer.Exit(Exit.JOB_FAILED)
