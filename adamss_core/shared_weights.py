"""Find weights that several modules of a model share, as tied embeddings do. Torch-free.

An adapter on one of the modules, or a copy that is trained in full, acts in that one alone, but merging it would change
all. `adamss_core.untying` gives each a weight of its own first, where the model then computes the same.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

REMEDY = "Leave it out, or save a base model in which the two have weights of their own (tie_word_embeddings=False)."


def sharing_groups(model: nn.Module) -> list[list[str]]:
    """Return the groups of modules that share a weight, by name and in the model's order.

    A module that is registered under two names shares with itself: an adapter would replace it under one name only.
    """
    sharers: defaultdict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        module, _, kind = name.rpartition(".")
        if kind == "weight":
            sharers[id(parameter)].append(module)
    return [names for names in sharers.values() if len(names) > 1]


def shared_weights(model: nn.Module) -> dict[str, str]:
    """Return the name of each module that shares its weight -> the name of another module with the same weight."""
    groups = ([name.removesuffix(".base_layer") for name in names] for names in sharing_groups(model))
    return {name: names[1 if name == names[0] else 0] for names in groups for name in names}


def shares_weight(name: str, other: str) -> str:
    """Return why a module that shares its weight cannot be trained by itself, as a sentence."""
    return f"'{name}' shares its weight with '{other}': trained alone, it would change both in the merged model."
