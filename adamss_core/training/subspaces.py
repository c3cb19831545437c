"""Adaptive Subspace Allocation (ASA) of one adapter, as its training sees it."""

from __future__ import annotations

from typing import Any

from peft import AdamssConfig, PeftModel
from torch.optim import Optimizer

from adamss_core import asa
from adamss_core.layer import AdamssLayer


class Subspaces:
    """Counts, schedule and pruning of one adapter's subspaces.

    Attributes:
        config: the adapter's configuration; its schedule is unresolved where ASA is off.
        total: number of subspaces over all layers.
    """

    def __init__(self, model: PeftModel, adapter: str) -> None:
        self.config: AdamssConfig = model.peft_config[adapter]
        self._adapter, self._tuner = adapter, model.base_model
        self._layers: list[AdamssLayer] = list(self._tuner.adapted_layers(adapter).values())
        self.total = sum(layer.layouts[adapter].num_subspaces for layer in self._layers)

    @property
    def active(self) -> int:
        """Number of subspaces that are not pruned."""
        return asa.count_active(self._layers, self._adapter) if self.config.use_asa else self.total

    def scheduled(self, step: int) -> int | None:
        """Return how many subspaces the schedule leaves active after `step`; None without ASA."""
        return asa.scheduled_subspaces(step, self.total, self.config) if self.config.use_asa else None

    def counts(self) -> dict[str, int] | None:
        """Return total, active and target; None without ASA."""
        if not self.config.use_asa:
            return None
        target = min(self.config.asa_target_subspaces, self.total)
        return {"total": self.total, "active": self.active, "target": target}

    def ramp_ended(self, step: int) -> bool:
        """Return whether no pruning follows `step`: only such a state has the size that was asked for."""
        return not self.config.use_asa or step >= self.config.final_warmup

    def update(self, step: int, optimizer: Optimizer) -> bool:
        """Run ASA after an optimizer step, before gradients are cleared; return whether it was a mask step."""
        if not self.config.use_asa:
            return False
        self._tuner.update_and_allocate(step, optimizer=optimizer)
        return asa.is_mask_step(step, self.config)

    def summary(self) -> dict[str, Any]:
        """Return `AdamssModel.asa_summary` of the adapter."""
        summary: dict[str, Any] = self._tuner.asa_summary(self._adapter)
        return summary
