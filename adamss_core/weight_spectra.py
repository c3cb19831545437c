"""Measure the singular values of a base model's linear layers: `python -m adamss_core.weight_spectra`.

Reads its order in the current folder and leaves the fields of a `SpectrumReport` there, or {"error": {...}}. Weights
are loaded in the precision of their files, and decomposed one at a time in fp32.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

from adamss_core.errors import AdamssError
from adamss_core.fileio.exchange import read_order, write_answer
from adamss_core.inspection import load_options
from adamss_core.spec.spectrum_report import SpectrumReport, report
from adamss_core.spec.tasks import find_record
from adamss_core.spectrum import weight_spectrum


def measure_weights(
    model: str, revision: str | None, task: str, names: list[str], default_targets: list[str] | None
) -> SpectrumReport:
    """Return the spectra of a model's modules.

    Args:
        model: a local folder, or a hub id that is cached.
        task: whose architecture has modules of these names.

    Raises:
        WeightError: a weight is NaN, infinite or all zero.
    """
    begun = time.monotonic()
    auto_model = getattr(transformers, find_record(task).auto_model)
    loaded: nn.Module = auto_model.from_pretrained(
        model, dtype="auto", use_safetensors=True, **load_options(model, revision)
    )
    spectra = []
    for name in names:
        module: Any = loaded.get_submodule(name)
        weight = module.weight.t() if isinstance(module, Conv1D) else module.weight
        spectra.append(weight_spectrum(name, weight, module.bias))
    return report(spectra, default_targets, seconds=time.monotonic() - begun)


def main() -> None:
    folder = Path.cwd()
    order = read_order(folder)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    answer: dict[str, Any]
    try:
        answer = measure_weights(**order).model_dump()
    except AdamssError as error:
        answer = {"error": {"code": error.code, "message": str(error)}}
    except (OSError, ValueError) as error:  # transformers about files that are missing or damaged
        answer = {"error": {"code": "model_unusable", "message": f"The weights cannot be read: {error}"[:1_000]}}
    write_answer(folder, answer)


if __name__ == "__main__":
    main()
