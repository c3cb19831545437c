"""Write text with a model: samples during training, answers afterwards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase
from transformers.generation.stopping_criteria import MaxTimeCriteria, StoppingCriteriaList

from adamss_core.training.batches import Ids
from adamss_core.training.tasks.text_generation_packing import filled


@dataclass(frozen=True)
class Written:
    """One continuation.

    Attributes:
        text: without special tokens.
        tokens: how many the model wrote.
        ended: whether the model ended the text by itself.
    """

    text: str
    tokens: int
    ended: bool


def write(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Ids],
    *,
    endings: list[int],
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    seconds: float | None = None,
    positions: int | None = None,
) -> list[Written]:
    """Continue each prompt, (tokens,), on its own; take the most likely token each time where the temperature is 0.

    Args:
        endings: tokens that end a text.
        positions: of the model, which prompt and text share but for an encoder-decoder.
        seconds: for all together; an unfinished text is returned as it is by then.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    written = []
    with torch.random.fork_rng(enabled=temperature > 0), torch.no_grad():
        if temperature > 0:
            torch.manual_seed(seed)
        for prompt in prompts:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            taken = 1 if model.config.is_encoder_decoder else len(prompt)
            most = max_new_tokens if positions is None else min(max_new_tokens, positions - taken)
            written.append(_write(model, tokenizer, prompt, most, temperature, endings, left))
    return written


def _write(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Ids,
    max_new_tokens: int,
    temperature: float,
    endings: list[int],
    seconds: float | None,
) -> Written:
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {"do_sample": False}
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, eos_token_id=endings, pad_token_id=tokenizer.pad_token_id, **sampling
    )
    ids = filled([prompt], len(prompt), 0).to(model.device)
    limits = StoppingCriteriaList([] if seconds is None else [MaxTimeCriteria(max_time=seconds)])
    output = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config, stopping_criteria=limits
    )
    # An encoder-decoder's output begins with the token that starts the decoder, not with the prompt.
    given = 1 if model.config.is_encoder_decoder else len(prompt)
    new = output[0, given:].tolist()
    ended = bool(new) and new[-1] in endings
    return Written(str(tokenizer.decode(new, skip_special_tokens=True)), len(new), ended)


def last(ids: Ids, count: int, tokenizer: PreTrainedTokenizerBase) -> Ids:
    """Return the last `count` tokens of a prompt; at least one.

    A model needs a token to continue: an empty prompt becomes the one that begins a text, or, where the tokenizer has
    none, the one that ends or pads it.
    """
    if len(ids):
        return np.asarray(ids[-max(1, count) :], np.int32)
    marks = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return np.array([next(mark for mark in marks if mark is not None)], np.int32)
