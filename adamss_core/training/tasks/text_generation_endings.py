"""Decide at which tokens generation stops, and write them into the published model's generation config."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerBase

from adamss_core.training.tasks.text_generation_turns import end_of_turn_ids

# What a base such as bart-large-cnn sets for its own texts: at least 56 tokens, no word group twice.
RECIPE = (
    *(
        "min_length",
        "max_length",
        "min_new_tokens",
        "max_new_tokens",
        "length_penalty",
        "exponential_decay_length_penalty",
    ),
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "repetition_penalty", "encoder_repetition_penalty"),
    *("num_beams", "num_beam_groups", "diversity_penalty", "early_stopping", "num_return_sequences"),
)
MODES = ("do_sample", "num_beams")  # decide whether other settings have an effect


def endings(model: Any, tokenizer: PreTrainedTokenizerBase, *, chat: bool) -> list[int]:
    """Return the tokens at which generation stops: each of them may end what the model writes.

    Args:
        chat: add the token with which the chat template ends a turn; other texts are trained to end with eos.
    """
    own = end_of_turn_ids(tokenizer) if chat else [tokenizer.eos_token_id]
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return list(dict.fromkeys(int(token) for token in [*own, *listed] if token is not None))


def published_config(
    model: Any, tokenizer: PreTrainedTokenizerBase, *, chat: bool
) -> tuple[GenerationConfig, list[str]]:
    """Return the base model's generation config with all endings, and the names of the settings left out of it.

    A config that contradicts itself (a temperature without sampling) works, as such settings have no effect, but
    transformers refuses to save it once it is changed; they are left out.
    """
    base: GenerationConfig = model.generation_config
    config = deepcopy(base)
    left_out: list[str] = []
    if not _is_consistent(config):
        config = type(base)()
        for name in sorted(base.to_diff_dict(), key=lambda name: (name not in MODES, name)):
            before = getattr(config, name, None)
            setattr(config, name, getattr(base, name))
            if not _is_consistent(config):
                setattr(config, name, before)
                left_out.append(name)
    config.eos_token_id = endings(model, tokenizer, chat=chat)
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    config._from_model_config = False  # else some releases of transformers derive it from config.json again
    return config, left_out


def without_recipe(model: Any) -> dict[str, Any]:
    """Reset the settings of a model's generation config that shape texts for one task; return their values by name."""
    config: GenerationConfig = model.generation_config
    found = {name: value for name, value in config.to_diff_dict().items() if name in RECIPE and value is not None}
    for name in found:
        setattr(config, name, None)
    return found


def _is_consistent(config: GenerationConfig) -> bool:
    try:
        config.validate(strict=True)
    except ValueError:
        return False
    return True
