"""Take the head of a model that is a classifier already, class by class, or start it afresh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel

from adamss_core.inspection import head_modules
from adamss_core.model_parts import head_classes, label_axes
from adamss_core.spec.class_names import RENAME_LABELS, head_starts_afresh, match_classes
from adamss_core.training.base_model import Source, is_inside
from adamss_core.training.request import Reporter

USUAL_SPREAD = 0.02  # of fresh weights, where the config names none


def take_over_head(
    model: PreTrainedModel, fresh: list[str], auto_model: Any, source: Source, reporter: Reporter
) -> bool:
    """Put the outputs of the base's own head in the order of the job's classes; start them afresh for other classes.

    transformers loads a head of the right size by position, whatever its outputs stand for.

    Args:
        fresh: modules that start at random.
        auto_model: transformers' class for the task.

    Returns:
        Whether the head is a trained one.
    """
    mine, is_fresh = source.classes, any(is_inside(name, head_modules(model)) for name in fresh)
    if not mine:
        return not is_fresh
    config = AutoConfig.from_pretrained(source.path, **source.options)
    if is_fresh and not head_classes(config, auto_model):
        return False
    theirs = [str(name) for _, name in sorted(config.id2label.items())]
    order = None if is_fresh else match_classes(theirs, mine)
    axes = label_axes(config, auto_model)
    parameters = {name: model.get_parameter(name) for name in axes}
    if order is None:
        if not is_fresh:
            _start_afresh(parameters, model.config)
        report_fresh_head(reporter, f"The base model '{source.name}'", theirs, mine, RENAME_LABELS)
        return False
    for name, tensor in reordered(parameters, axes, order).items():
        parameters[name].data = tensor
    reporter.event(
        "head_taken_over",
        f"The base model '{source.name}' is a classifier of the same classes: its head is taken over, by their names.",
        {"classes": theirs[:100], "order": order[:100]},
    )
    return True


def reordered(tensors: Mapping[str, Tensor], axes: dict[str, int], order: list[int]) -> dict[str, Tensor]:
    """Return the tensors with the labels on their axes in another order."""
    index = torch.tensor(order)
    return {name: tensor.detach().index_select(axes[name], index) for name, tensor in tensors.items()}


def report_fresh_head(reporter: Reporter, owner: str, theirs: list[str], mine: tuple[str, ...], remedy: str) -> None:
    """Report that a head for other classes is not taken over."""
    message = head_starts_afresh(owner, theirs, mine, remedy)
    reporter.event("head_started_afresh", message, {"classes": theirs[:100]})


def _start_afresh(parameters: dict[str, Any], config: Any) -> None:
    """Draw weights as transformers does for a head that the files lack; biases are zero."""
    spread = getattr(config.get_text_config(), "initializer_range", USUAL_SPREAD)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.normal_(0.0, spread) if parameter.dim() > 1 else parameter.zero_()
