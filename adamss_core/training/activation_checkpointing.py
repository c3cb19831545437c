"""Trade time for memory: compute activations again in the backward pass instead of keeping them."""

from __future__ import annotations

from typing import Any

from adamss_core.training.request import Reporter


def checkpoint_activations(model: Any, reporter: Reporter) -> None:
    """Switch gradient checkpointing on; report that it stays off where the architecture does not support it."""
    # transformers 5 renamed it in a minor version; 5.17 has the second name only.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False})
    except ValueError as error:
        reporter.event(
            "gradient_checkpointing_off",
            f"Activations are kept: {' '.join(str(error).split())[:200]}",
            {"model_type": model.config.model_type},
        )
