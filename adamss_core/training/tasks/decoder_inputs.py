"""Batches for encoder-decoders: padded prompts, and the decoder's inputs, which are the labels one place later."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.bart.modeling_bart import shift_tokens_right

from adamss_core.training.batches import IGNORED, Encoded, Inputs
from adamss_core.training.tasks.text_generation_packing import filled, on_device

Shift = Callable[[Tensor], Tensor]  # labels with IGNORED in, (rows, tokens); inputs of the decoder out


def decoder_shift(model: PreTrainedModel) -> Shift:
    """Return the model's own shift, which T5, BART and mBART each have, without the model's weights.

    M2M100 and Blenderbot shift inside of `forward`, by a copy of BART's function.
    """
    if not hasattr(model, "prepare_decoder_input_ids_from_labels"):
        config = model.config
        return partial(
            shift_tokens_right, pad_token_id=config.pad_token_id, decoder_start_token_id=config.decoder_start_token_id
        )
    kind = type(model)
    shell: Any = kind.__new__(kind)  # a model without modules: the shift reads the config alone
    nn.Module.__init__(shell)
    shell.config = model.config
    shift: Shift = shell.prepare_decoder_input_ids_from_labels
    return shift


class PromptsAndCompletions:
    """Put one example into each row, both texts padded on the right."""

    def __init__(self, pad: int, shift: Shift, device: torch.device) -> None:
        self._pad, self._shift, self._device = pad, shift, device

    def __call__(self, data: Encoded, rows: list[int]) -> tuple[Inputs, Tensor]:
        """Return inputs, (rows, longest prompt) and (rows, longest completion), and targets of the latter shape.

        The decoder needs no mask: it looks back only, and padding follows what it is trained on.
        """
        prompts = [data.features[row]["input_ids"] for row in rows]
        width = max(map(len, prompts))
        labels = filled([data.targets[row] for row in rows], max(len(data.targets[row]) for row in rows), IGNORED)
        inputs: Inputs = {
            "input_ids": filled(prompts, width, self._pad),
            "attention_mask": filled([np.ones_like(ids) for ids in prompts], width, 0),
            "decoder_input_ids": self._shift(labels),
        }
        return on_device(inputs, self._device), labels.to(self._device)
