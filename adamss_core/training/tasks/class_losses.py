"""Losses to train on where a job weights classes or smooths labels; evaluations keep the plain loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from adamss_core.spec import TrainingSpec
from adamss_core.spec.tasks.classes import named_weights
from adamss_core.training.batches import IGNORED
from adamss_core.training.errors import bad_data
from adamss_core.training.request import Reporter

ElementLosses = Callable[[Tensor, Tensor], Tensor]  # logits and targets in, the loss of each element out
REPORTED = 100  # classes in an event


def is_plain(training: TrainingSpec) -> bool:
    """Return whether the job trains on the loss that evaluations have."""
    return training.class_weights is None and not training.label_smoothing


def exclusive_losses(
    training: TrainingSpec, counts: Tensor, classes: Sequence[str], device: torch.device, reporter: Reporter
) -> ElementLosses:
    """Return cross-entropy with smoothed labels, times the weight of the expected class.

    Args:
        counts: (classes,) how often each class is trained on.

    Returns:
        Logits (n, classes, ...) and ids (n, ...) in, losses (n, ...) out; 0 where the id is IGNORED.
    """
    weights = class_weights(training, counts, classes)
    _report(reporter, training, classes, weights)
    weights = weights.to(device)

    def losses(logits: Tensor, targets: Tensor) -> Tensor:
        plain = F.cross_entropy(
            logits, targets, ignore_index=IGNORED, label_smoothing=training.label_smoothing, reduction="none"
        )
        return plain * weights[targets.clamp(min=0)]

    return losses


def label_set_losses(
    training: TrainingSpec, shares: Tensor, classes: Sequence[str], device: torch.device, reporter: Reporter
) -> ElementLosses:
    """Return binary cross-entropy with smoothed labels, times the weight of the class.

    "balanced" weights rows with a class and rows without it, so that both count the same in each class.

    Args:
        shares: (classes,) of the training rows that have the class.

    Returns:
        Logits and 0/1 (n, classes) each in, losses (n, classes) out.
    """
    if training.class_weights == "balanced":
        having, lacking = _halves(shares), _halves(1 - shares)
    else:
        having = lacking = class_weights(training, shares, classes)
    _report(reporter, training, classes, having)
    having, lacking, smoothing = having.to(device), lacking.to(device), training.label_smoothing

    def losses(logits: Tensor, targets: Tensor) -> Tensor:
        smoothed = targets * (1 - smoothing) + smoothing / 2
        plain = F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
        return plain * torch.where(targets > 0.5, having, lacking)

    return losses


def class_weights(training: TrainingSpec, counts: Tensor, classes: Sequence[str]) -> Tensor:
    """Return the weight of each class, (classes,) fp32; 1 for one that the job does not name.

    "balanced" gives each class that is trained on the same sum of weights, with a mean weight of 1 over all rows.

    Raises:
        TrainingError: bad_data, for a name that no class has.
    """
    wanted = training.class_weights
    if wanted is None:
        return torch.ones(len(classes))
    if wanted == "balanced":
        present = counts > 0
        shares = counts.double().sum() / (present.sum() * counts.double().clamp(min=1e-9))
        return torch.where(present, shares, 1.0).float()
    given = named_weights(wanted)
    if unknown := sorted(set(given) - set(classes)):
        raise bad_data(
            f"No training row has the class '{unknown[0]}', which is given a weight.",
            hint=f"Name classes of the training data: {', '.join(classes[:20])}.",
            where="training.class_weights",
        )
    return torch.tensor([given.get(name, 1.0) for name in classes])


def _halves(shares: Tensor) -> Tensor:
    """Return the weights that make rows of this share count as one half of all; 1 where there are none."""
    return torch.where(shares > 0, 0.5 / shares.clamp(min=1e-9), 1.0).float()


def _report(reporter: Reporter, training: TrainingSpec, classes: Sequence[str], weights: Tensor) -> None:
    if training.class_weights is None:
        return
    named = dict(list(zip(classes, weights.tolist(), strict=True))[:REPORTED])
    shown = ", ".join(f"'{name}' {weight:.3g}" for name, weight in list(named.items())[:5])
    more = f" and {len(classes) - 5} more" if len(classes) > 5 else ""
    reporter.event("class_weights", f"Training losses are weighted by class: {shown}{more}.", {"weights": named})
