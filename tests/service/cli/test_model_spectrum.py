"""`adamss inspect`: a row for each module, and what is measured told from what is a hint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from adamss_core.spec.spectrum_report import CaughtEnergy, ModuleSpectrum, report
from service.cli import model_spectrum
from service.cli.output import CliError

CAUGHT = CaughtEnergy(weights=[0.1, 0.2, 0.23], inputs=[0.5, 0.9, 0.95], gradient=[0.6, 0.95, 0.99])
PLAIN = ModuleSpectrum(
    name="encoder.layer.0.query",
    out_features=12,
    in_features=12,
    singular_values=[3.25, 1.0],
    stable_rank=4.56,
    widths=[1, 2, 4, 8, 12],
    energy=[0.2, 0.4, 0.6, 0.9, 1.0],
)
ON_ROWS = PLAIN.model_copy(update={"ranks": [1, 2, 4], "inputs": CAUGHT, "gradient": CAUGHT, "gradient_share": 1.0})


class Answers:
    """Stands for the client: measuring at first, then ready."""

    def __init__(self, module: ModuleSpectrum, job: str | None = None, status: str = "ready") -> None:
        rows = None if module is PLAIN else 8
        found = report([module], ["query"], seconds=1.0, basis_rows=rows, measured_rows=rows).model_dump()
        ready = {"status": status, "report": found, "job": None}
        self.answers = [{"status": "measuring", "report": None, "job": job}, ready]
        self.asked: list[Any] = []

    def spectrum(self, model: str) -> Any:
        self.asked.append(model)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def measure_spectrum(self, model: str, dataset: dict[str, Any], *, task: str | None) -> Any:
        self.asked.append((dataset, task))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def run(monkeypatch: pytest.MonkeyPatch, answers: Answers, *arguments: Any) -> None:
    @contextmanager
    def connect() -> Iterator[Answers]:
        yield answers

    monkeypatch.setattr(model_spectrum, "connect", connect)
    monkeypatch.setattr(model_spectrum, "watch_to_end", lambda *_, **__: None)
    monkeypatch.setattr("time.sleep", lambda _: None)
    model_spectrum.inspect(*arguments)


def test_each_module_has_a_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, answers := Answers(PLAIN), "tiny")
    out, err = capsys.readouterr()
    assert out.splitlines() == ["encoder.layer.0.query\t12x12\t3.25\t4.6\t▂▄▅██"]
    assert answers.asked == ["tiny", "tiny"]
    assert "Measuring singular values" in err
    assert "Measured: basis inputs, r 4" in err
    assert "A hint: The median stable rank" in err


def test_rows_add_what_the_bases_catch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answers = Answers(ON_ROWS, job="job_a")
    run(monkeypatch, answers, "tiny", "ds_abc", "text-classification", ["text=review"])
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split("\t")[5:] == ["100.0%", "23/95/99", "23/95/99"]
    assert "predicted little" in err
    assert answers.asked == [({"train": "ds_abc", "text": "review"}, "text-classification")] * 2


def test_json_is_the_whole_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, Answers(PLAIN), "tiny", None, None, None, True)
    assert json.loads(capsys.readouterr().out)["report"]["modules"][0]["stable_rank"] == 4.56


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((None, "text-classification"), "--dataset"),
        ((None, None, ["text=a"]), "--dataset"),
        (("ds_a", None, ["text"]), "FIELD=NAME"),
    ],
)
def test_odd_arguments_are_refused(arguments: tuple[Any, ...], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CliError, match=says):
        run(monkeypatch, Answers(PLAIN), "tiny", *arguments)


def test_a_job_that_measured_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CliError, match="jobs show job_a"):
        run(monkeypatch, Answers(ON_ROWS, job="job_a", status="measuring"), "tiny", "ds_abc")
