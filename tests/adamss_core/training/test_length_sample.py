"""Lengths of a sample of rows, with the job's own encoding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adamss_core.spec import JobSpec
from adamss_core.training.errors import TrainingError
from adamss_core.training.length_sample import LONGEST, sampled_lengths
from tests.service.support import build_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_model(tmp_path_factory.mktemp("model") / "tiny"))


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def job(**fields: Any) -> JobSpec:
    block = {"train": "ds_unused22", **fields.pop("dataset", {})}
    return JobSpec.model_validate({"name": "x", "base_model": "tiny", "dataset": block, **fields})


def test_every_row_of_a_small_file_is_measured_uncut(tmp_path: Path, model: str) -> None:
    rows = [{"text": "good " * length, "label": length % 2} for length in (3, 3, 200)]
    found = sampled_lengths(job(training={"max_length": 16}), written(tmp_path, rows), model, None)
    assert (found.source, found.counts, found.limit) == ("measured", [(200, 1), (3, 2)], 64)


def test_the_sample_is_seeded_and_has_the_longest_rows(tmp_path: Path, model: str) -> None:
    rows = [{"text": "good " * (2 + number % 5), "label": number % 2} for number in range(500)]
    file = written(tmp_path, [*rows, {"text": "good " * 60, "label": 0}])
    first, second = (sampled_lengths(job(), file, model, None, sample=50) for _ in range(2))
    assert first == second
    assert first.counts[0] == (60, 1)
    assert 50 < first.rows <= 50 + LONGEST


def test_pairs_and_completions_are_encoded_as_the_job_does(tmp_path: Path, model: str) -> None:
    pair = {"text": "good film", "text_pair": "bad plot film", "label": "a"}
    pairs = sampled_lengths(job(dataset={"text_pair": "text_pair"}), written(tmp_path, [pair] * 4), model, None)
    assert pairs.counts == [(5, 4)]
    rows = [{"prompt": "good film", "completion": " bad plot"}]
    found = sampled_lengths(job(task="text-generation", dataset=columns()), written(tmp_path, rows), model, None)
    assert (found.counts, found.trained) == ([(4, 1)], 0.5)


def columns() -> dict[str, str]:
    return {"prompt": "prompt", "completion": "completion"}


def test_rows_that_cannot_be_used(tmp_path: Path, model: str) -> None:
    with pytest.raises(TrainingError, match="None of the sampled rows"):
        sampled_lengths(job(), written(tmp_path, [{"text": "", "label": 1}]), model, None)
