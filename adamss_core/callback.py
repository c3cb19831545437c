"""A callback that runs ASA in transformers' Trainer."""

from __future__ import annotations

import warnings
from typing import Any

from peft.tuners.adamss.model import AdamssModel as StockModel
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from adamss_core.errors import AdamssWarning
from adamss_core.model import AdamssModel


class AdamssAsaCallback(TrainerCallback):
    """Trainer callback that runs ASA after every optimizer step, with the settings of the AdamssConfig.

    Steps are counted as finished optimizer steps, so `final_warmup=max_steps` is reached. Masks and averages are part
    of the adapter's files, so training resumed from a Trainer's checkpoint continues in the middle of the ramp.

    A model of `peft.get_peft_model` is pruned too, by stock PEFT's rule, which does not save what was pruned.
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Warn about a model that has no AdaMSS adapter, where the callback does nothing."""
        model = kwargs.get("model")
        if not isinstance(_tuner(model), (AdamssModel, StockModel)):
            message = (
                f"AdamssAsaCallback does nothing: this {type(model).__name__} has no AdaMSS adapter. Make the model "
                "with adamss_core.get_adamss_model."
            )
            warnings.warn(message, AdamssWarning, stacklevel=2)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Run ASA with the gradients of the step that was just made, which the Trainer counts only afterwards."""
        tuner, step = _tuner(kwargs.get("model")), state.global_step + 1
        if isinstance(tuner, AdamssModel):
            tuner.update_and_allocate(step, optimizer=kwargs.get("optimizer"))
        elif isinstance(tuner, StockModel):
            tuner.update_and_allocate(step)


def _tuner(model: nn.Module | None) -> Any:
    return getattr(model, "base_model", model)
