"""`adamss import`: jobs of other tools become specs, and what has no counterpart is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from adamss_core.spec import JobSpec
from service.cli.app import app

OPENAI: dict[str, Any] = {
    "object": "fine_tuning.job",
    "id": "ftjob-1",
    "model": "gpt-4o-mini-2024-07-18",
    "training_file": "file-1",
    "validation_file": "file-2",
    "status": "succeeded",
    "seed": 42,
    "user_provided_suffix": "support",
    "method": {
        "type": "supervised",
        "supervised": {"hyperparameters": {"n_epochs": 4, "batch_size": 8, "learning_rate_multiplier": 1.5}},
    },
    "metadata": {"team": "blue"},
    "result_files": ["file-3"],
}
FACTORY = """
### model
model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct
trust_remote_code: true
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: identity,alpaca_en_demo
template: qwen
cutoff_len: 2048
max_samples: 1000
output_dir: saves/qwen
logging_steps: 10
save_steps: 500
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
val_size: 0.1
neftune_noise_alpha: 5
"""


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["import", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_a_job_of_openai(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps(OPENAI))
    out = tmp_path / "spec.yaml"
    code, said, left_out = run(str(tmp_path / "job.json"), str(out), "--base-model", "tiny")
    assert code == 0, said
    assert "adamss jobs submit" in said
    spec = JobSpec.model_validate(yaml.safe_load(out.read_text()))
    assert (spec.name, spec.base_model, spec.task) == ("support", "tiny", "text-generation")
    training = spec.training
    assert (training.epochs, training.batch_size, training.learning_rate, training.seed) == (4, 8, 3e-3, 42)
    names = [line.partition(":")[0] for line in left_out.splitlines()]
    assert names == ["training_file", "validation_file", "metadata"]
    assert run(str(tmp_path / "job.json"), str(out))[0] != 0  # it exists


def test_a_training_file_of_llamafactory(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(FACTORY)
    code, text, left_out = run(str(tmp_path / "train.yaml"), "-")
    assert code == 0, left_out
    spec = JobSpec.model_validate(yaml.safe_load(text))
    assert (spec.base_model, spec.adamss.target_modules, spec.adamss.budget) == (
        "Qwen/Qwen2.5-0.5B-Instruct", "all-linear", "lora:r=8"
    )  # fmt: skip
    training, data = spec.training, spec.dataset
    assert (training.learning_rate, training.lr_scheduler, training.precision) == (1e-3, "cosine", "bf16")
    assert (training.max_length, training.checkpoint_steps, data.max_rows, data.eval_fraction) == (2048, 500, 1000, 0.1)
    said = dict(line.split(": ", 1) for line in left_out.splitlines())
    assert set(said) == {"learning_rate", "trust_remote_code", "dataset", "template", "neftune_noise_alpha"}
    assert said["neftune_noise_alpha"] == "has no counterpart."


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: 1", "neither"),
        ("[1, 2]", "no object"),
        ("{", "cannot be read"),
        ("model_name_or_path: a/b\nnum_train_epochs: many", "another type"),
        ("model_name_or_path: a/b\ncutoff_len: 1", "max_length"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "file.yaml").write_text(text)
    result = CliRunner().invoke(app, ["import", str(tmp_path / "file.yaml"), "-"])
    assert result.exit_code != 0
    assert word in str(result.exception) + result.stderr


def test_methods_that_are_not_trained_are_named(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps(OPENAI | {"method": {"type": "dpo"}}))
    _, _, left_out = run(str(tmp_path / "job.json"), "-")
    assert "method: dpo is not trained here" in left_out
    assert "model: is no open model" in left_out
