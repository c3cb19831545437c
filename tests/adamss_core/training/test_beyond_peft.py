"""Runs with settings that PEFT has none of: frozen biases, and pruned subspaces that are removed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adamss_core.training.run import run
from tests.adamss_core.training.support import Recorder, build_model, job, request
from tests.adamss_core.training.test_resume import last_files, stopped
from tests.marks import compat

pytestmark = pytest.mark.slow

ADAMSS = {"bias": "frozen", "asa_pruned": "removed"}
TRAINING = {"max_steps": 30, "eval_steps": 15}


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose biases are not zero."""
    folder = build_model(tmp_path_factory.mktemp("biased") / "model")
    weights = folder / "model.safetensors"
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: value + 0.1 * torch.randn(value.shape, generator=generator) if name.endswith("bias") else value
        for name, value in load_file(weights).items()
    }
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


def test_artifacts_have_what_is_left_and_no_biases(biased: Path, tmp_path: Path) -> None:
    """Each was loaded again and compared with the trained model before it was published."""
    recorder = Recorder()
    spec = job(adamss=ADAMSS, training=TRAINING, artifacts=["adapter", "lora", "merged"])
    outcome = run(request(biased, tmp_path, spec=spec), recorder)
    published: dict[str, Any] = {artifact.name: artifact for artifact in outcome.artifacts}
    assert list(published) == ["adapter", "lora", "merged"]
    assert published["lora"].manifest["lora"]["lora_bias"] is False
    kept = recorder.maps[20]["modules"]
    ranks = {name: sum(one["rank"] for one in group if one["active"]) for name, group in kept.items()}
    assert published["lora"].manifest["lora"]["rank"] == max(ranks.values()) < 4
    with zipfile.ZipFile(published["adapter"].path) as archive:
        manifest = json.loads(archive.read("adamss_manifest.json"))
        config = json.loads(archive.read("adapter_config.json"))
        assert "The biases of the adapted modules" in archive.read("README.md").decode()
    assert {name: manifest[name] for name in ADAMSS} == ADAMSS
    assert not set(ADAMSS) & set(config)
    emptied = [name for name, rank in ranks.items() if rank == 0]
    assert sorted(manifest.get("emptied_modules", [])) == sorted(emptied)
    assert published["adapter"].manifest["emptied_modules"] == manifest.get("emptied_modules", [])
    with zipfile.ZipFile(published["merged"].path) as archive:
        archive.extract("model.safetensors", tmp_path)
    merged, base = load_file(tmp_path / "model.safetensors"), load_file(biased / "model.safetensors")
    for name in (f"encoder.layer.{i}.attention.self.{part}.bias" for i in (0, 1) for part in ("query", "value")):
        assert torch.equal(merged[f"bert.{name}"], base[name])


@pytest.mark.parametrize("step", [13, compat(16), compat(23)])
def test_a_resumed_run_is_bit_equal(biased: Path, tmp_path: Path, step: int) -> None:
    spec = job(adamss=ADAMSS, training=TRAINING)
    run(request(biased, tmp_path / "whole", spec=spec), whole := Recorder())
    asked = request(biased, tmp_path / "parts", spec=spec)
    stopped(asked, step)
    run(asked, resumed := Recorder())
    assert last_files(tmp_path / "whole") == last_files(tmp_path / "parts")
    assert resumed.sizes == whole.sizes
