"""Command `adamss doctor`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from service.cli.output import Exit, Json, print_json

_MARKS = {"ok": "ok", "warning": "!!", "problem": "XX"}


def doctor(as_json: Json = False) -> None:
    """Check versions, disk, database, workers, broker and devices; report problems with remedies.

    Exits with 1 if a check reports a problem. Run on the service's machine, with the service's settings.
    """
    from service.operations.doctor import examine
    from service.shared.settings import Settings

    findings = examine(Settings())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{_MARKS[finding.state]}  {finding.check:<11} {finding.message}")
            if finding.remedy:
                print(f"{'':16}{finding.remedy}")
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(Exit.JOB_FAILED)
