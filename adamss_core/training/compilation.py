"""Compile the model with torch.compile, and fall back where that fails."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

import torch
from torch import nn

from adamss_core.training.errors import is_out_of_memory
from adamss_core.training.setup import Setup


def compile_model(setup: Setup, wrapped: nn.Module, prunings: int) -> None:
    """Compile the model and try it on the shortest training row; where that fails, undo it and report the reason."""
    reason = None if _has_compiler(setup.accelerator.device) else "there is no compiler on this machine"
    if reason is None:
        # Each pruning gives the parameters other shapes, in training and in evaluation; past the limit dynamo would
        # continue uncompiled, with a log line only.
        limits = torch._dynamo.config
        limits.recompile_limit = max(limits.recompile_limit, 2 * (prunings + 4))
        wrapped.compile(dynamic=True)
        reason = _reason_of_failure(setup, wrapped)
    if reason is None:
        return
    wrapped._compiled_call_impl = None
    setup.reporter.event("compile_off", f"The model is not compiled: {reason}.", {})


def _has_compiler(device: torch.device) -> bool:
    if device.type == "cuda":
        return find_spec("triton") is not None
    from torch._inductor import config

    return any(shutil.which(name) for name in config.cpp.cxx if name)


def _reason_of_failure(setup: Setup, wrapped: nn.Module) -> str | None:
    """Return why one forward and backward pass fails, or None; random generators and gradients stay as they were."""
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
