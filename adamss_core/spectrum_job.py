"""Measure the spectrum of a base model on training rows, as a job of its own: nothing is trained, no file is left."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from peft import PeftModel

from adamss_core.calibration import Basis, Calibration
from adamss_core.inspection import default_targets
from adamss_core.layer import AdamssLayer
from adamss_core.spec.spectrum_report import ROWS, SpectrumReport, report
from adamss_core.spectrum import EnergyMeasurement, weight_spectrum
from adamss_core.training.basis import draw_rows, evaluating, pass_rows, warm_head, within_memory
from adamss_core.training.errors import Stopped, TrainingError, translated_errors
from adamss_core.training.preparation import prepare
from adamss_core.training.request import Reporter, RunRequest, RunResult
from adamss_core.training.setup import Setup, make_accelerator

LEAST_ROWS = 4


def measure_spectrum(request: RunRequest, reporter: Reporter) -> RunResult:
    """Measure singular values, and the energy of inputs and gradients that the leading directions of each basis catch.

    Bases come from one half of the drawn rows, energies from the other. Gradients are those of the base model with a
    head that one pass has warmed up, as `basis: gradient` takes them.

    Args:
        request: its spec adapts every module to look at, with `r` as wide as what is measured.

    Raises:
        TrainingError: model or rows cannot be used.
        Stopped: the reporter asked for it.
    """
    with translated_errors():
        begun = time.monotonic()
        reporter.resumed(0)
        accelerator = make_accelerator(request.spec)
        setup, model = prepare(request, reporter, accelerator, None)
        found = _Measurement.of(setup, model, reporter).report(begun)
        result: dict[str, Any] = found.model_dump(exclude={"modules"})
        result |= {"modules": len(found.modules), "device": accelerator.device.type}
        return RunResult(result=result, artifacts=[], spectrum=found.model_dump())


@dataclass
class _Measurement:
    """The passes of one measurement, which count as its steps."""

    setup: Setup
    model: PeftModel
    layers: dict[str, AdamssLayer]
    rows: list[int]
    reporter: Reporter
    done: int = 0

    @classmethod
    def of(cls, setup: Setup, model: PeftModel, reporter: Reporter) -> _Measurement:
        rows = draw_rows(setup, ROWS)
        if len(rows) < LEAST_ROWS:
            raise TrainingError(
                "too_few_rows",
                f"Only {len(rows)} rows can be used, which is too few to measure energies on.",
                hint=f"Use a data set with at least {LEAST_ROWS} rows that fit the task.",
                where="dataset.train",
            )
        return cls(setup, model, model.base_model.adapted_layers(setup.name), rows, reporter)

    def report(self, begun: float) -> SpectrumReport:
        self.model.to(self.setup.accelerator.device)
        weights = []
        for name, layer in self.layers.items():
            self._step()
            weights.append(weight_spectrum(name, layer.base_weight(), layer.base_bias()))
        first, second = self.rows[::2], self.rows[1::2]  # rows of all lengths in both
        with evaluating(self.model):
            bases = within_memory(self.setup, first, self._bases)
            energies = within_memory(self.setup, second, lambda batches: self._energies(batches, bases))
        modules = [energies.spectrum(module) for module in weights]
        entries = [{"name": name, "bypassed_by": None} for name in self.layers]
        return report(
            modules,
            default_targets(self.model.get_base_model().config.model_type, entries),
            seconds=time.monotonic() - begun,
            basis_rows=len(first),
            measured_rows=len(second),
        )

    def _bases(self, batches: list[list[int]]) -> dict[Basis, dict[str, Any]]:
        seed, name = self.setup.training.seed, self.setup.name
        with warm_head(self.setup, self.model, batches):
            inputs = Calibration(self.model, "inputs", name, seed=seed)
            with inputs, Calibration(self.model, "gradient", name, seed=seed) as gradient:
                self._pass(batches)
            return {"inputs": inputs.bases(), "gradient": gradient.bases()}

    def _energies(self, batches: list[list[int]], bases: dict[Basis, dict[str, Any]]) -> EnergyMeasurement:
        seed = self.setup.training.seed + 1
        with warm_head(self.setup, self.model, batches):
            with EnergyMeasurement(self.model, self.layers, self.setup.name, bases, seed=seed) as energies:
                self._pass(batches)
            return energies

    def _pass(self, batches: list[list[int]]) -> None:
        for batch in batches:
            self._step(len(batch))
            pass_rows(self.setup, self.model, batch)

    def _step(self, count: int = 1) -> None:
        if self.reporter.stop_requested():
            raise Stopped("stopped while the spectrum was measured")
        self.done += count
        total = len(self.layers) + len(self.rows)
        self.reporter.progress(step=min(self.done, total), total_steps=total, epoch=0.0, eta_seconds=None, asa=None)
