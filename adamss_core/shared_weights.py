"""Find weights that several modules of a model share, as tied embeddings do. Torch-free.

An adapter on one of the modules acts in that one alone, but merging it changes the weight of all. Training one of them
in full gives it a weight of its own, which the saved model ties again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

REMEDY = "Leave it out, or save a base model in which the two have weights of their own (tie_word_embeddings=False)."


def shared_weights(model: nn.Module) -> dict[str, str]:
    """Return the name of each module that shares its weight -> the name of another module with the same weight.

    A module that is registered under two names shares with itself: an adapter would replace it under one name only.
    """
    sharers: defaultdict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        module, _, kind = name.rpartition(".")
        if kind == "weight":
            sharers[id(parameter)].append(module.removesuffix(".base_layer"))
    groups = [names for names in sharers.values() if len(names) > 1]
    return {name: names[1 if name == names[0] else 0] for names in groups for name in names}


def shares_weight(name: str, other: str) -> str:
    """Return why a module that shares its weight cannot be trained by itself, as a sentence."""
    return f"'{name}' shares its weight with '{other}': trained alone, it would change both in the merged model."
