"""What `adamss jobs` prints of a finished job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from service.cli import jobs
from tests.service.cli.test_job_view import job as running

JUDGEMENT = {
    "metric": "accuracy",
    "value": 0.6,
    "baseline": 0.5714,
    "predicts": 'always "good"',
    "low": 0.3866,
    "high": 0.7812,
    "level": 0.95,
    "method": "Wilson",
    "rows": 20,
    "no_better": True,
}
WARNING = {"code": "no_better_than_baseline", "message": "The model may only guess.", "data": "train", "causes": []}


class Answers:
    """A client that knows one job."""

    def __init__(self, job: Any) -> None:
        self.job = job

    def get_job(self, job: str) -> Any:
        return self.job

    def list_jobs(self, *_: object) -> Any:
        return [self.job]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Callable: a command and a finished job in, its lines out."""

    def show(command: Any, *arguments: Any, **changes: Any) -> list[str]:
        job = running(status="succeeded", result={"eval_accuracy": 0.6}, **changes)

        @contextmanager
        def connect() -> Iterator[Answers]:
            yield Answers(job)

        monkeypatch.setattr(jobs, "connect", connect)
        command(*arguments)
        return capsys.readouterr().out.splitlines()

    return show


def test_show_puts_the_baseline_beside_the_metric(printed: Any) -> None:
    lines = printed(jobs.show, "job_abc", judgement=JUDGEMENT, warnings=[WARNING])
    fields = dict(line.split(maxsplit=1) for line in lines)
    assert fields["best"] == "accuracy 0.6000"
    assert fields["baseline"] == 'accuracy 0.5714, predicts always "good"'
    assert fields["interval"] == "0.3866 to 0.7812 (95%, Wilson, 20 rows)"
    assert fields["warning:"] == "no_better_than_baseline: The model may only guess."


def test_list_has_baseline_and_warnings_as_its_last_columns(printed: Any) -> None:
    (line,) = printed(jobs.list_jobs, None, None, 50, judgement=JUDGEMENT, warnings=[WARNING])
    assert line.split("\t")[4] == "accuracy 0.6000"
    assert line.split("\t")[-2:] == ["0.5714", "no_better_than_baseline"]


def test_jobs_of_older_services_have_neither(printed: Any) -> None:
    assert not any(line.startswith(("baseline", "warning")) for line in printed(jobs.show, "job_abc"))
    (line,) = printed(jobs.list_jobs, None, None, 50)
    assert line.split("\t")[-2:] == ["", ""]
