"""What trades time for memory or the other way round: activations computed twice, compiled models."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import Any

import torch
from peft import AdamssConfig
from torch import nn

from adamss_core.asa import mask_steps
from adamss_core.training.errors import is_out_of_memory
from adamss_core.training.request import Reporter
from adamss_core.training.setup import Setup


def save_activations(model: Any, reporter: Reporter) -> None:
    """Gradient checkpointing, where the architecture has it."""
    try:
        model.activation_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        reporter.event(
            "gradient_checkpointing_off",
            f"Activations are kept: {' '.join(str(error).split())[:200]}",
            {"model_type": model.config.model_type},
        )


def compile_model(setup: Setup, wrapped: nn.Module, adamss: AdamssConfig) -> None:
    """torch.compile, tried on the shortest training row; the model stays as it is where that fails, and an event says
    why."""
    reason = None if _has_compiler(setup.accelerator.device) else "there is no compiler on this machine"
    if reason is None:
        # Each pruning is another shape of the parameters, in training and in evaluation; past the limit dynamo would go
        # on without compiling, and say so in a log line only.
        prunings = len(mask_steps(adamss)) if adamss.use_asa else 0
        limits = torch._dynamo.config
        limits.recompile_limit = max(limits.recompile_limit, 2 * (prunings + 4))
        wrapped.compile(dynamic=True)
        reason = _failure(setup, wrapped)
    if reason is None:
        return
    wrapped._compiled_call_impl = None
    setup.reporter.event("compile_off", f"The model is not compiled: {reason}.", {})


def _has_compiler(device: torch.device) -> bool:
    if device.type == "cuda":
        return find_spec("triton") is not None
    from torch._inductor import config

    return any(shutil.which(name) for name in config.cpp.cxx if name)


def _failure(setup: Setup, wrapped: nn.Module) -> str | None:
    """Why one forward and backward pass fails; random generators and gradients stay as they were."""
    row = int(setup.train.lengths.argmin())
    inputs, targets = setup.training_collate(setup.train, [row])
    try:
        with torch.random.fork_rng():
            with setup.accelerator.autocast():
                outputs = wrapped(**inputs)
            setup.task.losses(outputs, targets).sum().backward()
    except Exception as error:  # of dynamo, inductor, or the C++ compiler
        if is_out_of_memory(error):
            raise
        lines = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__} {lines[0]}".strip()[:300]
    finally:
        wrapped.zero_grad()
    return None
