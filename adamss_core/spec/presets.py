"""Good values for each kind of job, with where they come from.

What a job's `training` block leaves out is filled in by its kind; `adamss` keeps PEFT's own defaults, and what a preset
says there is what `adamss init` writes.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from adamss_core.spec.job import JobSpec

Block = dict[str, Any]

MEASURED = (
    "Measured with `make bench-rates` (MiniLM on movie reviews): AdaMSS did best at ten times LoRA's best rate, and "
    "lost 25 points of accuracy at LoRA's own. Short runs, of a hundred steps, gain from 0.02 to 0.03."
)
ALIKE = "Not measured on a task of its own: the values that were measured for text-classification."


class Preset(BaseModel):
    """What a kind of job starts from."""

    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True)

    name: str
    """Its name, as in `adamss init --task`."""
    task: str
    """The job's `task`."""
    problem_type: str | None = None
    """The job's `problem_type`."""
    dataset: Block
    """Columns, under the names that are most common."""
    adamss: Block
    """What `adamss init` writes; a job that leaves it out has PEFT's own defaults."""
    training: Block
    """What a job has that leaves it out."""
    reason: str
    """Where the values come from."""


TEXT: Block = {"learning_rate": 1e-2, "head_learning_rate": 1e-3}
ENCODER: Block = {"r": 100, "num_subspaces": 10, "subspace_rank": 1, "target_modules": ["query", "value"]}
IMAGES: Block = {"learning_rate": 1e-2, "head_learning_rate": 5e-3, "weight_decay": 5e-4, "epochs": 10}
WRITING: Block = {
    "learning_rate": 2e-3,
    "batch_size": 8,
    "gradient_accumulation_steps": 2,
    "max_length": 1_024,
    "lr_scheduler": "cosine",
}
DECODER: Block = {"r": 100, "num_subspaces": 32, "subspace_rank": 1}
WRITING_REASON = (
    "Ten times the rate of 2e-4 that LoRA is commonly trained with, by the factor that was measured for "
    "text-classification; PEFT's benchmark on MetaMathQA has K=32 and the cosine schedule."
)

PRESETS = (
    Preset(
        name="text-classification",
        task="text-classification",
        dataset={"text": "text", "label": "label"},
        adamss=ENCODER,
        training=TEXT,
        reason=MEASURED,
    ),
    Preset(
        name="text-pairs",
        task="text-classification",
        dataset={"text": "text", "text_pair": "text_pair", "label": "label"},
        adamss=ENCODER,
        training=TEXT,
        reason=ALIKE,
    ),
    Preset(
        name="multi-label",
        task="text-classification",
        problem_type="multi_label_classification",
        dataset={"text": "text", "label": "labels", "label_separator": ";"},
        adamss=ENCODER,
        training=TEXT,
        reason=ALIKE,
    ),
    Preset(
        name="regression",
        task="text-classification",
        problem_type="regression",
        dataset={"text": "text", "label": "score"},
        adamss=ENCODER,
        training=TEXT,
        reason="Measured with `make bench-rates` (MiniLM, the raters' mean of movie reviews): Pearson 0.70 at 0.01, "
        "0.74 at 0.03, against 0.74 of LoRA at its best rate of 0.003.",
    ),
    Preset(
        name="token-classification",
        task="token-classification",
        dataset={"tokens": "tokens", "tags": "tags"},
        adamss=ENCODER,
        training=TEXT,
        reason=ALIKE,
    ),
    Preset(
        name="image-classification",
        task="image-classification",
        dataset={"image": "image", "label": "label"},
        adamss={"r": 100, "num_subspaces": 10, "subspace_rank": 3},
        training=IMAGES,
        reason="PEFT's example and the authors' script for ViT: rate 0.01, head 0.005, ten epochs, subspaces of rank 3 "
        "for ViT-Base. Not measured here.",
    ),
    Preset(
        name="text-generation",
        task="text-generation",
        dataset={},
        adamss=DECODER,
        training=WRITING,
        reason=WRITING_REASON,
    ),
    Preset(
        name="chat",
        task="text-generation",
        dataset={"messages": "messages"},
        adamss=DECODER,
        training=WRITING,
        reason=WRITING_REASON,
    ),
    Preset(
        name="prompt-completion",
        task="text-generation",
        dataset={"prompt": "prompt", "completion": "completion"},
        adamss=DECODER,
        training=WRITING,
        reason=WRITING_REASON,
    ),
    Preset(
        name="plain-text",
        task="text-generation",
        dataset={"text": "text"},
        adamss=DECODER,
        training=WRITING,
        reason=WRITING_REASON,
    ),
)


def preset_of(spec: JobSpec) -> Preset:
    """The preset whose `training` values a job takes where it has none of its own."""
    problem = spec.problem_type if spec.problem_type != "single_label_classification" else None
    return next(preset for preset in PRESETS if (preset.task, preset.problem_type) == (spec.task, problem))


def with_defaults(spec: JobSpec) -> JobSpec:
    """The spec with its kind's values in every field of `training` that was not set; doing it again changes nothing."""
    given = spec.training.model_fields_set
    missing = {name: value for name, value in preset_of(spec).training.items() if name not in given}
    return spec.model_copy(update={"training": spec.training.model_copy(update=missing)}) if missing else spec
