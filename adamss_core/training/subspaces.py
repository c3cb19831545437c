"""Adaptive Subspace Allocation (ASA) of one adapter, as its training sees it."""

from __future__ import annotations

from typing import Any

from peft import AdamssConfig, PeftModel
from torch.optim import Optimizer

from adamss_core import asa
from adamss_core.layer import AdamssLayer
from adamss_core.model import AdamssModel


class Subspaces:
    """Counts, schedule and pruning of one adapter's subspaces.

    Attributes:
        total: number of subspaces over all layers; 0 for an adapter of another method, as a contender's.
    """

    def __init__(self, model: PeftModel, adapter: str) -> None:
        config = model.peft_config[adapter]
        self._asa: AdamssConfig | None = config if getattr(config, "use_asa", False) else None
        self._adapter, self._tuner = adapter, model.base_model
        self._layers: list[AdamssLayer] = []
        if isinstance(self._tuner, AdamssModel):
            self._layers = list(self._tuner.adapted_layers(adapter).values())
        self.total = sum(layer.layouts[adapter].num_subspaces for layer in self._layers)

    @property
    def active(self) -> int:
        """Number of subspaces that are not pruned."""
        return self.total if self._asa is None else asa.count_active(self._layers, self._adapter)

    @property
    def prunings(self) -> int:
        """Number of mask steps, at each of which parameters change their shapes."""
        return 0 if self._asa is None else len(asa.mask_steps(self._asa))

    def scheduled(self, step: int) -> int | None:
        """Return how many subspaces the schedule leaves active after `step`; None without ASA."""
        return None if self._asa is None else asa.scheduled_subspaces(step, self.total, self._asa)

    def counts(self) -> dict[str, int] | None:
        """Return total, active and target; None without ASA."""
        if self._asa is None:
            return None
        target = min(self._asa.asa_target_subspaces, self.total)
        return {"total": self.total, "active": self.active, "target": target}

    def ramp_ended(self, step: int) -> bool:
        """Return whether no pruning follows `step`: only such a state has the size that was asked for."""
        return self._asa is None or step >= self._asa.final_warmup

    def update(self, step: int, optimizer: Optimizer) -> bool:
        """Run ASA after an optimizer step, before gradients are cleared; return whether it was a mask step."""
        if self._asa is None:
            return False
        self._tuner.update_and_allocate(step, optimizer=optimizer, is_wrapped=False)
        return asa.is_mask_step(step, self._asa)

    def summary(self) -> dict[str, Any]:
        """Return `AdamssModel.asa_summary` of the adapter."""
        summary: dict[str, Any] = self._tuner.asa_summary(self._adapter)
        return summary
