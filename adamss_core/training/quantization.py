"""Quantise base models to 4 or 8 bits."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from adamss_core.training.errors import TrainingError


def quantization_config(bits: str | None, unquantised: list[str]) -> Any:
    """Return transformers' configuration of a base in "4bit" or "8bit"; None in full precision.

    Args:
        unquantised: names of modules to keep in full precision; an empty list leaves the choice to transformers.

    Raises:
        TrainingError: quantization_unavailable.
    """
    if bits is None:
        return None
    if find_spec("bitsandbytes") is None:
        raise TrainingError(
            "quantization_unavailable",
            f"The job asks for a base in {bits}, but the worker has no bitsandbytes.",
            hint="Install it there (pip install 'adamss[quantized]'), or leave training.quantization out.",
            where="training.quantization",
        )
    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=unquantised or None)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        llm_int8_skip_modules=unquantised or None,  # applies to 4 bits too, despite its name
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if _has_bf16() else torch.float32,
    )


def keep_weight_layout(model: nn.Module) -> None:
    """Keep a quantised model's weights in the layout in which they were loaded, and silence bitsandbytes.

    On some CPUs bitsandbytes rearranges 4-bit weights in place at the first evaluation; after that they can neither be
    trained on nor read. Its 8-bit matmul logs at every call that it casts its input.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    module: Any
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _has_bf16() -> bool:
    """Return whether the GPU computes in bf16; on a CPU matmuls are in fp32, and only the weights are small."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
