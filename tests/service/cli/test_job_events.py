"""What `adamss jobs events` prints."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli import app, job_events
from service.cli.output import when

TIME = "2026-11-27T10:00:07Z"
KINDS = ("queued", "samples", "succeeded")
EVENTS = [
    {"seq": seq, "time": TIME, "type": kind, "message": f"It is {kind}.", "data": {}} for seq, kind in enumerate(KINDS)
]


class Client:
    """A client that knows the events of one job, the last of which comes while it is followed."""

    def iter_events(self, job: str, follow: bool) -> Any:
        yield from EVENTS if follow else EVENTS[:2]


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_events, "connect", lambda: nullcontext(Client()))


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(app.app, ["jobs", "events", "job_abc", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_events_are_listed_with_time_type_and_message() -> None:
    lines = printed().splitlines()
    assert lines[0].split("\t") == [when(TIME, seconds=True), "queued", "It is queued."]
    assert lines[0].split("\t")[0].endswith(":07")
    assert len(lines) == 2
    assert json.loads(printed("--json")) == EVENTS[:2]


def test_followed_events_come_line_by_line() -> None:
    assert [line.split("\t")[1] for line in printed("--follow").splitlines()] == list(KINDS)
    assert [json.loads(line) for line in printed("-f", "--json").splitlines()] == EVENTS


def test_events_are_narrowed_by_type() -> None:
    assert [entry["type"] for entry in json.loads(printed("--type", "samples", "--json"))] == ["samples"]
