"""Rows and models for the tasks beside the classification of single texts; all of it is made here."""

from __future__ import annotations

import random
import zipfile
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from adamss_core.spec import JobSpec
from adamss_core.training.request import RunRequest, RunResult
from adamss_core.training.tasks import task_of
from tests.adamss_core.training.support import BAD, GOOD, NEUTRAL, job

TRAIN = "ds_" + "a" * 12
ALL = ["adapter", "lora", "merged"]


def task_job(task: str, *, dataset: dict[str, Any] | None = None, **fields: Any) -> JobSpec:
    """Without pruning, with all artifacts."""
    return job(
        task=task,
        dataset={"train": TRAIN, "eval_fraction": 0.2, **(dataset or {})},
        adamss={"use_asa": False, "target_modules": None, **fields.pop("adamss", {})},
        **{"artifacts": ALL, **fields},
    )


def tagged(rows: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Sentences with entities: a good word, and bad words that may follow it."""
    source = random.Random(seed)
    made = []
    for _ in range(rows):
        words: list[str] = []
        tags: list[str] = []
        for _ in range(source.randint(1, 3)):
            words += source.choices(NEUTRAL, k=source.randint(1, 2))
            tags += ["O"] * (len(words) - len(tags))
            if source.random() < 0.7:
                words += [source.choice(GOOD), *source.choices(BAD, k=source.randint(0, 2))]
                tags += ["B-X", *["I-X"] * (len(words) - len(tags) - 1)]
        made.append({"tokens": words, "tags": tags})
    return made


def build_vit(folder: Path) -> Path:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, image_size=16, patch_size=8
    )
    ViTForImageClassification(config).vit.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def draw_images(folder: Path, count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Noise with a red or a blue cast, in several sizes and modes."""
    folder.mkdir(parents=True, exist_ok=True)
    source = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        blue = number % 2
        size = (int(source.integers(16, 40)), int(source.integers(16, 40)), 3)
        pixels = source.integers(0, 160, size)
        pixels[..., 2 if blue else 0] += 60
        image = Image.fromarray(pixels.astype(np.uint8))
        name = f"{'blue' if blue else 'red'}/{number}.png"
        (folder / name).parent.mkdir(exist_ok=True)
        (image.convert("RGBA") if number % 5 == 0 else image).save(folder / name)
        rows.append({"image": name, "label": name.partition("/")[0]})
    return rows


def card_answers(asked: RunRequest, outcome: RunResult, folder: Path, image: Image.Image | None = None) -> list[Any]:
    """What the code on the card of each artifact prints, run in a folder with its files and the base model."""
    image = image or Image.new("RGB", (30, 20), (200, 60, 60))
    answers = []
    for artifact in outcome.artifacts:
        place = unpacked(outcome, artifact.name, folder)
        (place / asked.spec.base_model).symlink_to(asked.model)
        image.save(place / "image.png")
        code = (place / "README.md").read_text().split("```python\n")[1].split("```")[0]
        printed = StringIO()
        with chdir(place), redirect_stdout(printed):
            exec(compile(code, artifact.name, "exec"), {})
        answers.append(eval(printed.getvalue()))
    return answers


def unpacked(outcome: RunResult, name: str, folder: Path) -> Path:
    place = folder / name
    with zipfile.ZipFile(next(a.path for a in outcome.artifacts if a.name == name)) as archive:
        archive.extractall(place)
    return place


def predicted(outcome: RunResult, spec: JobSpec, folder: Path, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers of the merged model."""
    task = task_of(spec)
    place = unpacked(outcome, "merged", folder / "predict")
    model = task.auto_model.from_pretrained(place).eval()
    limit = outcome.artifacts[0].manifest["max_length"]
    answers = task.predict(model, task.read_processor(place), inputs, limit)
    assert {part.key for part in task.record.answer_columns} <= set(answers[0])
    return answers
