from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from service.cli.job_view import BARS, JobView, evaluation, render_job, sparkline
from service.cli.watch import PlainLines
from service.client.types import EventJson, JobJson


def job(**changes: Any) -> JobJson:
    answer: dict[str, Any] = {
        "id": "job_abc",
        "name": "a job",
        "status": "running",
        "progress": {"step": 30, "total_steps": 120, "epoch": 0.5, "eta_seconds": 65.0},
        "spec": {},
        "resolved": {},
        "attempt": 1,
        "error": None,
        "asa": {"total": 120, "active": 90, "target": 60},
        "best_metric": {"name": "accuracy", "direction": "max"},
        "result": None,
        "created_at": "2026-01-01T00:00:00Z",
    }
    return answer | changes  # type: ignore[return-value]


def drawn(view: JobView, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(render_job(view, width, 40))
    return console.export_text()


def test_view_shows_progress_loss_accuracy_and_subspaces() -> None:
    values = {"loss": 0.5, "eval_accuracy": 0.81, "eval_loss": 0.4, "active_subspaces": 88, "samples_per_second": 99.0}
    text = drawn(JobView(job(), values, [0.7, 0.5]))
    for part in ("25 %", "step 30/120", "ETA 1:05", "0.5000", "0.8100", "88 active → 60 of 120", "99 rows/s"):
        assert part in text


@pytest.mark.parametrize(
    ("best", "direction", "values", "shown"),
    [
        ("f1", "max", {"eval_loss": 0.4, "eval_accuracy": 0.9, "eval_f1": 0.7}, "eval f1"),
        ("micro_f1", "max", {"eval_loss": 0.4, "eval_accuracy": 0.9, "eval_micro_f1": 0.7}, "eval micro f1"),
        ("spearman", "max", {"eval_loss": 0.4, "eval_pearson": 0.9, "eval_spearman": 0.7}, "eval spearman"),
        ("loss", "min", {"eval_loss": 0.7, "eval_perplexity": 2.0138}, "eval loss"),
    ],
)
def test_the_metric_that_chooses_the_checkpoint_has_the_line(
    best: str, direction: str, values: dict[str, float], shown: str
) -> None:
    watched = job(best_metric={"name": best, "direction": direction})
    text = drawn(JobView(watched, values))
    assert re.search(rf"{shown} +0\.7000 ", text)
    assert next(iter(evaluation(watched, values))) == best
    for name, value in values.items():
        if name != f"eval_{best}":
            assert f"{name.removeprefix('eval_').replace('_', ' ')} {value:.4f}" in text


def test_an_earlier_service_that_names_no_metric_has_them_in_its_order() -> None:
    old = job()
    del old["best_metric"]
    assert evaluation(old, {"loss": 1.0, "eval_f1": 0.5, "eval_loss": 0.4}) == {"f1": 0.5, "loss": 0.4}


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_view_fits_any_width(width: int) -> None:
    text = drawn(JobView(job(), {"loss": 1.0}, [float(i) for i in range(500)]), width)
    assert max(map(len, text.splitlines())) <= width


def test_view_of_queued_and_failed_jobs() -> None:
    waiting = job(status="queued", asa=None, progress={"step": 0, "total_steps": 0, "epoch": 0, "eta_seconds": None})
    assert "no metrics yet" in drawn(JobView(waiting))
    error = {"code": "nan_loss", "message": "The loss became NaN at step 3.", "hint": "Lower the learning rate."}
    text = drawn(JobView(job(status="failed", error=error)))
    assert "The loss became NaN" in text
    assert "Lower the learning rate." in text


def test_evaluation_before_training_stands_beside_the_newest() -> None:
    watched = job(best_metric={"name": "loss", "direction": "min"})
    values = {"eval_loss": 0.7, "eval_perplexity": 2.0138}
    text = drawn(JobView(watched, values, before={"eval_loss": 5.5, "eval_perplexity": 244.7}))
    assert re.search(r"eval loss +0\.7000 +before training 5\.5000 +perplexity 2\.0138", text)


def test_plain_lines_say_which_evaluation_is_before_training() -> None:
    file = io.StringIO()
    view = JobView(job(best_metric={"name": "loss", "direction": "min"}))
    row: dict[str, Any] = {"seq": 1, "kind": "eval", "epoch": 0.0, "time": "", "values": {"eval_loss": 5.5}}
    rows = [{"step": 0, **row}, {"step": 9, **row}]
    PlainLines(Console(file=file)).show(view, rows)  # type: ignore[arg-type]
    lines = file.getvalue().splitlines()
    assert lines[:2] == ["before training  loss 5.5000", "step 9  evaluation  loss 5.5000"]


def event(kind: str, **data: Any) -> EventJson:
    return {"seq": 1, "time": "2026-01-01T00:00:00Z", "type": kind, "message": "…", "data": data}


SAMPLE = {"row": 7, "prompt": "What colour\nis it?", "expected": "It is blue.", "completion": "It is."}


def test_view_names_the_phase_and_shows_the_newest_samples() -> None:
    view = JobView(job())
    view.take([event("started"), event("phase", phase="loading")])
    assert "loads rows and base model" in drawn(view)
    view.take([event("phase", phase="training"), event("samples", step=6, samples=[SAMPLE] * 5)])
    text = drawn(view)
    assert re.search(r"now +trains", text)
    assert text.count("What colour is it? → It is.") == 3
    assert "at step 6" in text
    view.take([event("started")])  # another attempt
    assert "starts its process" in drawn(view)


def test_a_queued_job_says_why_it_waits() -> None:
    place = {"place": 2, "reason": "one job is before it", "expected_start": None}
    waiting = JobView(job(status="queued", queue=place))
    assert re.search(r"waits +one job is before it", drawn(waiting))
    file = io.StringIO()
    PlainLines(Console(file=file)).show(waiting, [])
    assert file.getvalue() == "queued: one job is before it\n"


def test_plain_lines_have_samples_once() -> None:
    file = io.StringIO()
    view, lines = JobView(job()), PlainLines(Console(file=file))
    view.take([event("samples", step=6, samples=[SAMPLE])])
    for _ in range(2):
        lines.show(view, [])
    assert file.getvalue().splitlines()[1:] == ["step 6  sample  What colour is it? → It is."]


def test_sparkline_spans_its_range() -> None:
    line = sparkline([float(-i) for i in range(100)], 10)
    assert len(line) == 10
    assert (line[0], line[-1]) == (BARS[-1], BARS[0])
    assert sparkline([1.0], 10) == ""
    assert sparkline([1.0, 1.0], 10) == BARS[0] * 2
