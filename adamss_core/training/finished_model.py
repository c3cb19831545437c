"""Take the model out of a finished training that is published: that of its best evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from peft import PeftModel

from adamss_core.adapter_files import load_adapter
from adamss_core.training.checkpoints import checkpoint_gone
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
    anew = quantised or setup.divides_base  # no process has the whole base
    if best is None and anew:
        best = progress.step
    if best is not None and (best != progress.step or anew):
        if (problem := store.problem(best)) is None:
            if not anew:
                live.to("meta")  # the base is loaded again, and need not be in memory twice
            return load(store.path(best) / ADAPTER), best
        if setup.divides_base:
            raise checkpoint_gone(best, problem)
        setup.reporter.event(
            "checkpoint_damaged",
            f"The best checkpoint, of step {best}, cannot be read ({problem}); the last state is published instead.",
            {"step": best, "problem": problem},
        )
    return live.to("cpu").eval(), progress.step


def load_own(setup: Setup, folder: Path, *, divided: bool = False) -> PeftModel:
    """Load the job's own adapter on a base in full precision.

    Args:
        divided: the base is going to be divided among the processes.
    """
    base, _ = setup.task.load_base(replace(setup.source, divided=divided), setup.processor)
    quantised = setup.training.quantization is not None
    return load_adapter(base, folder, is_trainable=False, allow_other_base=quantised)
