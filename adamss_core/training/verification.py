"""Artifacts are loaded from their files, as a stranger would, and compared with the model that was trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase

from adamss_core.files import load_adapter
from adamss_core.training.base_model import load_base, quiet_loading
from adamss_core.training.data import Rows
from adamss_core.training.errors import TrainingError
from adamss_core.training.setup import Setup

# Largest difference of any logit, in fp32 on the CPU. Exact exports differ by the order of additions only, which gives
# 1e-6 to 1e-5 for logits of usual size.
TOLERANCE = 1e-4
PROBES = 16  # rows of the evaluation set


@dataclass(frozen=True)
class Probe:
    """What every artifact must reproduce.

    Attributes:
        rows: texts.
        max_length: tokens.
        logits: (rows, classes) of the trained model, fp32.
    """

    rows: Rows
    max_length: int
    logits: Tensor

    @classmethod
    def of(cls, setup: Setup, model: nn.Module, max_length: int) -> Probe:
        count = len(setup.data.evaluation)
        rows = setup.data.evaluation.take(list(range(0, count, max(1, count // PROBES)))[:PROBES])
        return cls(rows, max_length, _logits(model, setup.tokenizer, rows, max_length))

    def difference(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> float:
        """The largest absolute difference of any logit; infinite where shapes differ or something is NaN."""
        logits = _logits(model, tokenizer, self.rows, self.max_length)
        if logits.shape != self.logits.shape:
            return math.inf
        gap = float((logits - self.logits).abs().max())
        return math.inf if math.isnan(gap) else gap


def verify(name: str, folder: Path, setup: Setup, probe: Probe) -> float:
    """The largest probe difference of the artifact in `folder`.

    Raises:
        TrainingError: verification_failed, where it cannot be loaded or answers differently.
    """
    try:
        model = _LOADERS[name](folder, setup).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        difference = probe.difference(model, tokenizer)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _failed(name, f"cannot be loaded again ({str(error).replace(str(folder), name)[:300]})") from error
    if not difference <= TOLERANCE:
        raise _failed(name, f"answers differently: its logits differ by {difference:.3g}, allowed is {TOLERANCE:g}")
    return difference


def _failed(name: str, problem: str) -> TrainingError:
    return TrainingError(
        "verification_failed",
        f"The artifact '{name}' {problem}.",
        hint="It is not published. The checkpoints are kept; please report this with the job's log.",
        where=name,
    )


def _load_adapter(folder: Path, setup: Setup) -> nn.Module:
    return load_adapter(load_base(setup.source, setup.tokenizer)[0], folder, is_trainable=False)


def _load_lora(folder: Path, setup: Setup) -> nn.Module:
    base, _ = load_base(setup.source, setup.tokenizer)
    model: nn.Module = PeftModel.from_pretrained(base, str(folder), torch_device="cpu")
    return model


def _load_merged(folder: Path, _: Setup) -> nn.Module:
    with quiet_loading():
        model: nn.Module = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    return model


_LOADERS: dict[str, Callable[[Path, Setup], nn.Module]] = {
    "adapter": _load_adapter,
    "lora": _load_lora,
    "merged": _load_merged,
}


@torch.inference_mode()
def _logits(model: nn.Module, tokenizer: PreTrainedTokenizerBase, rows: Rows, max_length: int) -> Tensor:
    inputs = tokenizer(
        rows.texts, rows.pairs, truncation=True, max_length=max_length, padding=True, return_tensors="pt"
    )
    logits: Tensor = model(**inputs).logits.float()
    return logits
