"""Good values for one kind of job, and blocks of values that several kinds share."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

Block = dict[str, Any]
# Factor from a preset's learning rate that is said to be far: the best measured rates are at most three times theirs.
FAR = 5.0


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
    """Defaults of a job's `training`; `gradient_accumulation_steps` only for jobs that leave out `batch_size` too."""
    reason: str
    """Where the values come from."""


MEASURED = (
    "Measured with `make bench-rates` (MiniLM on movie reviews): AdaMSS did best at ten times LoRA's best rate, and "
    "lost 25 points of accuracy at LoRA's own. Short runs, of a hundred steps, gain from 0.02 to 0.03."
)
ENCODER_TRAINING: Block = {"learning_rate": 1e-2, "head_learning_rate": 1e-3}
ENCODER_ADAMSS: Block = {"r": 100, "num_subspaces": 10, "subspace_rank": 1, "target_modules": ["query", "value"]}
