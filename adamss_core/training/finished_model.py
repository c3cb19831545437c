"""Take the model out of a finished training that is published: that of its best evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from peft import PeftModel

from adamss_core.adapter_files import load_adapter
from adamss_core.training.loop import Trainer
from adamss_core.training.setup import Setup
from adamss_core.training.snapshot import ADAPTER

Load = Callable[[Path], PeftModel]


def finished_model(trainer: Trainer, load: Load) -> tuple[PeftModel, int]:
    """Return the best checkpoint's model, in fp32 on the CPU, and its step.

    Args:
        load: from the folder of a checkpoint's adapter to the model, on a base in full precision.
    """
    setup, progress, store = trainer.adapter.setup, trainer.adapter.progress, trainer.store
    best = progress.best_step
    live: PeftModel = setup.accelerator.unwrap_model(trainer.wrapped, keep_fp32_wrapper=False)
    live._compiled_call_impl = None  # a few predictions on the CPU are not worth compiling for it
    setup.accelerator.free_memory()
    quantised = setup.training.quantization is not None  # published for the same base in full precision
    if best is None and quantised:
        best = progress.step
    if best is not None and (best != progress.step or quantised):
        if (problem := store.problem(best)) is None:
            if not quantised:
                live.to("meta")  # the base is loaded again, and need not be in memory twice
            return load(store.path(best) / ADAPTER), best
        setup.reporter.event(
            "checkpoint_damaged",
            f"The best checkpoint, of step {best}, cannot be read ({problem}); the last state is published instead.",
            {"step": best, "problem": problem},
        )
    return live.to("cpu").eval(), progress.step


def load_own(setup: Setup, folder: Path) -> PeftModel:
    """Load the job's own adapter on a base in full precision."""
    base, _ = setup.task.load_base(setup.source, setup.processor)
    quantised = setup.training.quantization is not None
    return load_adapter(base, folder, is_trainable=False, allow_other_base=quantised)
