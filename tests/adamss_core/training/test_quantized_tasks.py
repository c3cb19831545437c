"""Every task on a quantised base, on the CPU: the head and what else is trained in full is never quantised."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from adamss_core.spec import JobSpec
from adamss_core.training.run import run
from tests.adamss_core.training.chats import build_llama, chats, generation_job
from tests.adamss_core.training.support import Recorder, request, texts
from tests.adamss_core.training.tasks.support import build_vit, draw_images, tagged, task_job
from tests.marks import compat

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:MatMul8bitLt")]

TEXT = "text-classification"


def case(kind: str, bits: str, bert: Path, folder: Path) -> tuple[Path, list[dict[str, Any]], JobSpec]:
    """A base, rows and a job of two steps."""
    training = {"max_steps": 2, "quantization": bits}
    if kind == "text-generation":
        spec = generation_job(training=training | {"sample_prompts": 0}, artifacts=["adapter", "lora", "merged"])
        return build_llama(folder / "llama"), chats(40), spec
    if kind == "image-classification":
        return build_vit(folder / "vit"), draw_images(folder / "train", 24), task_job(kind, training=training)
    if kind == "token-classification":
        return bert, tagged(40), task_job(kind, training=training)
    if kind == "single_label_classification":
        return bert, texts(40), task_job(TEXT, training=training)
    labels: tuple[Any, Any] = (["a"], ["a", "b"]) if kind.startswith("multi") else (0.5, 2.5)
    return bert, texts(40, labels=labels), task_job(TEXT, training=training, problem_type=kind)


@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        ("image-classification", "4bit"),
        ("token-classification", "8bit"),
        compat("image-classification", "8bit"),
        compat("token-classification", "4bit"),
        *(
            compat(kind, bits)
            for kind in (
                "single_label_classification",
                "multi_label_classification",
                "regression",
                "text-generation",
            )
            for bits in ("4bit", "8bit")
        ),
    ],
)
def test_a_task_on_a_quantised_base_is_published(kind: str, bits: str, model: Path, tmp_path: Path) -> None:
    folder, rows, spec = case(kind, bits, model, tmp_path)
    recorder = Recorder()
    outcome = run(request(folder, tmp_path, rows, spec=spec), recorder)
    assert [a.manifest["verification"]["largest_difference"] < 1e-4 for a in outcome.artifacts] == [True] * 3
    assert len(recorder.steps) == 2
    assert "micro_batch_halved" not in recorder.event_types()
    adapter = next(artifact.path for artifact in outcome.artifacts if artifact.name == "adapter")
    with zipfile.ZipFile(adapter) as archive:
        saved = load(archive.read("adapter_model.safetensors"))
    head = [tensor for name, tensor in saved.items() if "adamss_" not in name]
    assert {tensor.dtype for tensor in head} == ({torch.float32} if spec.task != "text-generation" else set())
