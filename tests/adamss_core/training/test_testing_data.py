"""Test data: looked at once, at the end, with the published model."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.run import run
from adamss_core.training.tasks import task_of
from tests.adamss_core.training.support import Recorder, job, request, texts, write_rows

TRAIN, TEST = "ds_" + "a" * 12, "ds_" + "t" * 12
SPEC: dict[str, Any] = {
    "adamss": {"use_asa": False},
    "training": {"max_steps": 8, "eval_steps": 4},
    "dataset": {"train": TRAIN, "test": TEST},
}


@pytest.mark.slow
def test_test_rows_are_evaluated_after_a_resumed_training(model: Path, tmp_path: Path) -> None:
    rows = [*texts(30, seed=3), {"text": "fine", "label": "odd"}, {"text": "", "label": "good"}]
    test = write_rows(tmp_path / "test.jsonl", rows)
    asked = request(model, tmp_path / "run", texts(80), spec=job(**SPEC), test_file=test)
    with pytest.raises(Stopped):
        run(asked, Recorder(stop_at=5))
    recorder = Recorder()
    outcome = run(asked, recorder)
    result = outcome.result
    assert result["test_rows"] == 30
    held_out, report = outcome.evaluation
    assert (held_out["data"], report["data"], report["rows"]) == ("train", "test", 30)
    assert {f"test_{name}": value for name, value in report["metrics"].items()} == {
        name: value for name, value in result.items() if name.startswith("test_") and name != "test_rows"
    }
    assert [warning["data"] for warning in result["warnings"] if warning["code"] == "no_better_than_baseline"] == [
        part["data"] for part in outcome.evaluation if part["judgement"]["no_better"]
    ]
    facts = {name: data for name, _, data in recorder.events}
    assert (facts["rows_left_out"]["data"], facts["unknown_labels"]["data"]) == ("test", "test")
    assert not any(name.startswith("test_") for values in recorder.of("eval").values() for name in values)
    with zipfile.ZipFile(outcome.artifacts[0].path) as archive:
        card = archive.read("README.md").decode()
        assert [part["data"] for part in json.loads(archive.read("evaluation.json"))["reports"]] == ["train", "test"]
    assert "On 30 rows of test data, which neither training nor the choice of the checkpoint saw: accuracy " in card

    alone = run(request(model, tmp_path / "alone", texts(80), spec=job(**SPEC)), Recorder())
    weights = [end.artifacts[0].manifest["files"]["adapter_model.safetensors"] for end in (outcome, alone)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("rows", [[{"text": "fine", "label": "odd"}], [{"text": "", "label": "good"}]])
def test_test_data_without_a_usable_row_are_refused_before_training(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    test = write_rows(tmp_path / "test.jsonl", rows)
    asked = request(tmp_path / "model", tmp_path / "run", spec=job(**SPEC), test_file=test)
    with pytest.raises(TrainingError, match="no row to test on") as caught:
        task_of(asked.spec).load_data(asked, Recorder())
    assert caught.value.where == "dataset.test"
