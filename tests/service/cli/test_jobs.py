"""What `adamss jobs` prints of a finished job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.cli import job_notes, jobs, output, results
from service.cli.output import when
from service.client.types import Listing
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


SCORES = {"expected": 6, "predicted": 10, "right": 6, "precision": 0.6, "recall": 1.0, "f1": 0.75}
REPORT = {
    "data": "train",
    "rows": 10,
    "metrics": {"loss": 0.5, "accuracy": 0.6},
    "baseline": {"predicts": 'always "a"', "accuracy": 0.6, "loss": None},
    "judgement": JUDGEMENT,
    "warnings": [WARNING],
    "classes": [{"name": "a", **SCORES}],
    "classes_are": "classes",
    "confusion": {"names": ["a", "b"], "counts": [[6, 0], [4, 0]]},
    "confused": [{"expected": "b", "predicted": "a", "rows": 4}],
    "residuals": None,
    "generation": None,
    "answers": None,
}
RESIDUALS = {
    "mean": 0.5,
    "mean_absolute": 1.0,
    "root_mean_square": 1.5,
    "lowest": -1.0,
    "highest": 3.0,
    "quantiles": [{"share": 0.5, "value": 0.25}],
    "histogram": {"edges": [-1.0, 1.0, 3.0], "rows": [3, 2]},
}
GENERATION = {"rows": 1, "exact_match": 0.0, "rouge_l": 0.5, "ended": 1.0}
ANSWER = {"row": 3, "expected": "a b", "answer": "a", "exact": False, "rouge_l": 0.5, "ended": True}


class Answers:
    """A client that knows one job."""

    def __init__(self, job: Any, reports: list[Any]) -> None:
        self.job, self.reports = job, reports

    def evaluation(self, job: str) -> Any:
        return self.reports

    total = 1

    def get_job(self, job: str) -> Any:
        return self.job

    def phases(self, job: str) -> Any:
        return [{"phase": "waiting", "seconds": 0.5}, {"phase": "training", "seconds": 2.0}]

    def retention(self, job: str) -> Any:
        return {"artifacts": "2026-12-01T10:00:00Z", "logs": None}

    def resume(self, job: str, time_limit_seconds: float | None, *, devices: int | None) -> Any:
        return self.job | {"status": f"queued for {time_limit_seconds} s on {devices}"}

    def list_jobs(self, *_: object, **narrowed: object) -> Any:
        return Listing([self.job], self.total)

    def edit_job(self, job: str, **changes: object) -> Any:
        return self.job | changes


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Callable: a command and a finished job in, its lines out."""

    def show(command: Any, *arguments: Any, reports: Any = (), **changes: Any) -> list[str]:
        job = running(**{"status": "succeeded", "result": {"eval_accuracy": 0.6}, **changes})

        @contextmanager
        def connect() -> Iterator[Answers]:
            yield Answers(job, list(reports))

        for module in (job_notes, jobs, results):
            monkeypatch.setattr(module, "connect", connect)
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


def test_show_has_the_seconds_of_each_phase(printed: Any) -> None:
    assert "waiting 0.5 s, training 2.0 s" in " ".join(printed(jobs.show, "job_abc"))


def test_show_says_until_when_files_are_kept(printed: Any) -> None:
    [line] = [line for line in printed(jobs.show, "job_abc") if line.startswith("kept until")]
    assert "artifacts 2026-12-01" in line
    assert "logs" not in line


def test_resume_sends_a_new_limit(printed: Any) -> None:
    assert printed(jobs.resume, "job_abc", 7200.0, None)[0].endswith("is queued for 7200.0 s on None.")
    assert printed(jobs.resume, "job_abc", None, 2)[0].endswith("is queued for None s on 2.")
    assert printed(jobs.resume, "job_abc")[0].endswith("is queued for None s on None.")


def test_edit_adds_and_takes_away_tags(printed: Any) -> None:
    lines = printed(job_notes.edit, "job_abc", None, ["new"], ["old"], None, "rates", tags=["kept", "old"])
    assert [line.split(maxsplit=1) for line in lines[2:]] == [["group", "rates"], ["tags", "kept, new"]]
    with pytest.raises(output.CliError, match="give --name"):
        printed(job_notes.edit, "job_abc")


def test_edit_removes_with_an_empty_text(printed: Any) -> None:
    lines = printed(job_notes.edit, "job_abc", None, None, None, "", "", notes="a", group="b", tags=["c"])
    assert [line.split(maxsplit=1) for line in lines[2:]] == [["tags", "c"]]


def test_show_has_what_people_wrote(printed: Any) -> None:
    lines = printed(jobs.show, "job_abc", notes="rate too high", group="rates", tags=["keep"])
    said = dict(line.split(maxsplit=1) for line in lines)
    assert (said["group"], said["tags"], said["notes"]) == ("rates", "keep", "rate too high")


def test_show_has_a_time_limit_of_the_jobs_own(printed: Any) -> None:
    resolved = {"time_limit_seconds": 60.0}
    lines = printed(jobs.show, "job_abc", spec={"time_limit_seconds": 90}, resolved=resolved)
    assert "time limit" in "".join(line for line in lines if line.endswith("1:00 of training"))
    assert not any("time limit" in line for line in printed(jobs.show, "job_abc", spec={}, resolved=resolved))


def test_show_has_the_trained_parameters_or_their_bounds(printed: Any) -> None:
    exact = {"trainable_parameters": 4_088, "least_trainable_parameters": 4_088, "range_reason": None}
    bounds = exact | {"trainable_parameters": 6_274, "range_reason": "The weights decide."}
    for estimate, line in (
        (exact, "parameters at start  4,088"),
        (bounds, "parameters at start  4,088 to 6,274: The weights decide."),
    ):
        assert line in printed(jobs.show, "job_abc", resolved={"estimate": estimate})
    assert not any("parameters at start" in line for line in printed(jobs.show, "job_abc"))


def test_show_says_where_old_metrics_are(printed: Any) -> None:
    lines = printed(jobs.show, "job_abc", metrics_archived_at="2026-11-27T08:00:00Z")
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("metrics")] == [
        f"in its artifact since {when('2026-11-27T08:00:00Z')}"
    ]
    assert not any(line.startswith("metrics") for line in printed(jobs.show, "job_abc"))


def test_show_says_that_biases_are_frozen(printed: Any) -> None:
    for bias, says in (("frozen", [["biases", "frozen"]]), ("trained", [])):
        lines = printed(jobs.show, "job_abc", spec={"adamss": {"bias": bias}})
        assert [line.split() for line in lines if line.startswith("biases")] == says


def test_show_says_that_pruned_subspaces_are_removed(printed: Any) -> None:
    asa = {"total": 16, "active": 5, "target": 5}
    for pruned, says in (("removed", ", pruned ones are removed"), ("frozen", "")):
        lines = printed(jobs.show, "job_abc", asa=asa, spec={"adamss": {"asa_pruned": pruned}})
        assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("subspaces")] == [
            f"5 active of 16, target 5{says}"
        ]


def test_show_has_a_basis_that_is_not_the_weights(printed: Any) -> None:
    def shown(basis: str, row_share: float = 1.0, **changes: Any) -> list[str]:
        spec = {"adamss": {"basis": basis, "row_share": row_share}}
        lines = printed(jobs.show, "job_abc", resolved={"spec": spec}, **changes)
        return [line for line in lines if line.startswith("basis")]

    found = {"calibration": {"basis": "inputs", "rows": 256, "seconds": 2.84, "share": 0.02}}
    caught = {"calibration": found["calibration"] | {"caught": {"least": 0.5, "median": 0.914}}}
    assert shown("inputs")[0].split(maxsplit=1)[1] == "inputs"
    assert shown("inputs", result=found)[0].split(maxsplit=1)[1] == "inputs, by 256 training rows in 2.8 s"
    assert shown("inputs", result=caught)[0].endswith(", catches 91% of their energy in the median module")
    assert shown("weights", 0.5)[0].split(maxsplit=1)[1] == "weights, 50% of the rows"
    assert shown("weights") == []


def test_list_has_baseline_warnings_and_tags_as_its_last_columns(printed: Any) -> None:
    (line,) = printed(jobs.list_jobs, None, None, 50, judgement=JUDGEMENT, warnings=[WARNING])
    assert line.split("\t")[4] == "accuracy 0.6000"
    assert line.split("\t")[-3:] == ["0.5714", "no_better_than_baseline", ""]


TWO_GPUS = [{"name": "cuda:0", "kind": "h100"}, {"name": "cuda:1", "kind": "h100"}]


@pytest.mark.parametrize(
    ("devices", "runs_on", "shown"),
    [
        (1, [], ""),
        (4, [], "4 wanted"),
        (2, TWO_GPUS, "cuda:0, cuda:1 (h100)"),
        (1, [{"name": "cpu:1", "kind": "cpu"}], "cpu:1"),
    ],
)
def test_list_and_show_name_the_devices(printed: Any, devices: int, runs_on: list[Any], shown: str) -> None:
    (line,) = printed(jobs.list_jobs, None, None, 50, devices=devices, runs_on=runs_on)
    assert line.split("\t")[6] == shown
    lines = printed(jobs.show, "job_abc", devices=devices, runs_on=runs_on)
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("devices")] == ([shown] if shown else [])


@pytest.mark.parametrize(("total", "said"), [(1, ""), (312, "1 of 312 shown"), (1_000, "1 of 1,000 or more shown")])
def test_list_says_how_many_there_are(printed: Any, monkeypatch: pytest.MonkeyPatch, total: int, said: str) -> None:
    monkeypatch.setattr(Answers, "total", total)
    messages: list[str] = []
    monkeypatch.setattr(output, "put", lambda line, err: messages.append(line))
    printed(jobs.list_jobs, None, None, 50)
    assert [line.partition(";")[0] for line in messages] == ([said] if said else [])


def test_evaluation_prints_the_parts_of_each_report(printed: Any) -> None:
    number = REPORT | {"data": "test", "classes": None, "confusion": None, "confused": None, "residuals": RESIDUALS}
    text = REPORT | {"classes": None, "confusion": None, "confused": [], "generation": GENERATION, "answers": [ANSWER]}
    lines = printed(results.evaluation, "job_abc", reports=[REPORT, number, text])
    assert lines[0] == "On 10 held-out rows of dataset.train:"
    for line in (
        "accuracy\t0.6000\t0.6000",
        "95% interval of accuracy (Wilson): 0.3866 to 0.7812",
        "a\t6\t10\t6\t0.6000\t1.0000\t0.7500",
        "b\t4\t0",
        "warning: no_better_than_baseline: The model may only guess.",
        "On 10 rows of dataset.test:",
        "root mean square  1.5000",
        "1.0000\t3.0000\t2",
        "Of 1 written answers:",
        "3\t0.5000\ta b\ta",
    ):
        assert line in lines, line
    assert printed(results.evaluation, "job_abc") == ["No evaluation yet: it is stored when the job succeeds."]


def test_evaluate_says_that_rows_were_trained_on(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    said = "2 of 2 test rows have the 'text' of a training row, so the test scores may be too good."

    class Evaluating(Answers):
        def evaluate(self, job: str, dataset: str, **fields: Any) -> Any:
            return self.job | {"resolved": {"warnings": [said]}}

    @contextmanager
    def connect() -> Iterator[Answers]:
        yield Evaluating(running(), [])

    monkeypatch.setattr(results, "connect", connect)
    monkeypatch.setattr(results, "uploaded", lambda *_: None)
    monkeypatch.setattr(results, "id_of", lambda *_: "ds_abc")
    results.evaluate("job_abc", "ds_abc")
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [f"warning: {said}"]
    assert printed.out.splitlines() == [running()["id"]]


def test_jobs_of_older_services_have_neither(printed: Any) -> None:
    assert not any(line.startswith(("baseline", "warning")) for line in printed(jobs.show, "job_abc"))
    (line,) = printed(jobs.list_jobs, None, None, 50)
    assert line.split("\t")[-2:] == ["", ""]


RESOLVED = {
    "spec": {
        "task": "text-classification",
        "problem_type": None,
        "dataset": {"train": "ds_a", "text": ["title", "body"], "label": "stars", "text_pair": None, "max_rows": 9},
    },
    "classes": {"neg": 20, "pos": 20},
    "warnings": ["From the data they are likely text and label."],
}


def test_show_has_task_columns_and_warnings_of_the_plan(printed: Any) -> None:
    lines = printed(jobs.show, "job_abc", resolved=RESOLVED)
    fields = {" ".join(line.split()) for line in lines}
    assert {
        "task text-classification",
        "columns text: title + body, label: stars",
        "classes 2: neg 20, pos 20",
    } <= fields
    assert lines[-1] == "warning: From the data they are likely text and label."


def test_submit_says_beside_the_id_what_the_upload_and_the_plan_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    class Service:
        """A client that takes any file and any job."""

        def upload_dataset(self, path: Path) -> Any:
            return {"id": "ds_abc", "created": True, "notices": [{"message": "The file is read as windows-1252."}]}

        def submit(self, spec: Any) -> Any:
            return running(spec=spec, resolved=RESOLVED)

    @contextmanager
    def connect() -> Iterator[Service]:
        yield Service()

    monkeypatch.setattr(jobs, "connect", connect)
    (spec := tmp_path / "spec.yaml").write_text("name: x")
    (rows := tmp_path / "rows.csv").write_text("text,label")
    jobs.submit(spec, [str(rows)])
    out, err = capsys.readouterr()
    assert out == "job_abc\n"
    assert err.splitlines() == [
        "notice    The file is read as windows-1252.",
        "warning: From the data they are likely text and label.",
    ]
    jobs.submit(spec, [str(rows)], as_json=True)
    assert capsys.readouterr().out.startswith("{")
