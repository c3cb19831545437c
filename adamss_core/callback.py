"""A callback that runs ASA in transformers' Trainer."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from adamss_core.model import AdamssModel


class AdamssAsaCallback(TrainerCallback):
    """Trainer callback that runs ASA after every optimizer step, with the settings of the AdamssConfig.

    Steps are counted as finished optimizer steps, so `final_warmup=max_steps` is reached. Masks and averages are part
    of the adapter's files, so training resumed from a Trainer's checkpoint continues in the middle of the ramp.
    """

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        model = kwargs.get("model")
        tuner = getattr(model, "base_model", model)
        if isinstance(tuner, AdamssModel):
            # The Trainer counts this step only after the callback.
            tuner.update_and_allocate(state.global_step + 1, optimizer=kwargs.get("optimizer"))
