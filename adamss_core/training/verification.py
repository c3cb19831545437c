"""Verify artifacts: load them from their files alone, and compare their logits with the trained model's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from adamss_core.adapter_files import load_adapter
from adamss_core.training.base_model import quiet_loading
from adamss_core.training.data import Rows
from adamss_core.training.errors import TrainingError
from adamss_core.training.setup import Setup
from adamss_core.training.tasks import Task

# Largest difference of any logit, in fp32 on the CPU, relative to the largest logit where that is beyond 1. Exact
# exports differ by the order of additions only: 1e-6 to 1e-5 for logits of usual size. A regression may predict years,
# where one step of fp32 is 1.2e-4.
TOLERANCE = 1e-4
PROBES = 16  # rows of the evaluation set


@dataclass(frozen=True)
class Probe:
    """Held-out rows and the logits that every artifact must reproduce for them.

    Attributes:
        rows: of the evaluation data.
        limit: tokens.
        logits: (rows, ...) of the trained model, fp32.
    """

    task: Task
    rows: Rows
    limit: int
    logits: Tensor

    @property
    def allowed(self) -> float:
        """Largest difference that an exact artifact may show."""
        return TOLERANCE * max(1.0, float(self.logits.abs().max()))

    @classmethod
    def of(cls, setup: Setup, model: nn.Module) -> Probe:
        """Compute the trained model's logits on evenly spaced evaluation rows."""
        count = len(setup.data.evaluation)
        rows = setup.data.evaluation.take(list(range(0, count, max(1, count // PROBES)))[:PROBES])
        return cls(setup.task, rows, setup.limit, _logits(model, setup.task, setup.processor, rows, setup.limit))

    def difference(self, model: nn.Module, processor: Any) -> float:
        """Return the largest absolute difference of any logit; infinite where shapes differ or a logit is NaN."""
        logits = _logits(model, self.task, processor, self.rows, self.limit)
        if logits.shape != self.logits.shape:
            return math.inf
        gap = float((logits - self.logits).abs().max())
        return math.inf if math.isnan(gap) else gap


def verify(name: str, folder: Path, setup: Setup, probe: Probe) -> float:
    """Return the largest logit difference of the artifact in `folder`.

    Raises:
        TrainingError: verification_failed, where it cannot be loaded or its logits differ.
    """
    try:
        model = _LOADERS[name](folder, setup).eval()
        difference = probe.difference(model, setup.task.read_processor(folder))
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _failed(name, f"cannot be loaded again ({str(error).replace(str(folder), name)[:300]})") from error
    allowed = probe.allowed
    if not difference <= allowed:
        raise _failed(name, f"answers differently: its logits differ by {difference:.3g}, allowed is {allowed:.3g}")
    return difference


def _failed(name: str, problem: str) -> TrainingError:
    return TrainingError(
        "verification_failed",
        f"The artifact '{name}' {problem}.",
        hint="It is not published. The checkpoints are kept; please report this with the job's log.",
        where=name,
    )


def _load_adapter(folder: Path, setup: Setup) -> nn.Module:
    return load_adapter(setup.task.load_base(setup.source, setup.processor)[0], folder, is_trainable=False)


def _load_lora(folder: Path, setup: Setup) -> nn.Module:
    base, _ = setup.task.load_base(setup.source, setup.processor)
    model: nn.Module = PeftModel.from_pretrained(base, str(folder), torch_device="cpu")
    return model


def _load_merged(folder: Path, setup: Setup) -> nn.Module:
    with quiet_loading():
        model: nn.Module = setup.task.auto_model.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    return model


_LOADERS: dict[str, Callable[[Path, Setup], nn.Module]] = {
    "adapter": _load_adapter,
    "lora": _load_lora,
    "merged": _load_merged,
}


@torch.inference_mode()
def _logits(model: nn.Module, task: Task, processor: Any, rows: Rows, limit: int) -> Tensor:
    logits: Tensor = model(**task.probe(processor, rows, limit)).logits.float()
    return logits
