"""Give modules that share a weight, such as tied embeddings, weights of their own before an adapter is merged."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from adamss_core.shared_weights import shared_weights, sharing_groups

FLAG = "tie_word_embeddings"
ALWAYS_TIED = {"umt5"}  # model types whose config always has the flag on, by which forward scales the outputs
_WRAPPED = {"base_layer", "original_module"}  # names of what PEFT puts a layer or a trained copy in the place of


def inseparable_weights(model: nn.Module) -> dict[str, str]:
    """Return the modules of `shared_weights` that cannot be untied.

    One module under two names stays one module. A model that reads the flag of tied embeddings while it runs would
    compute something else once the flag is off, but for umT5, where it stays on.
    """
    shared = shared_weights(model)
    if _computes_by_flag(model):
        return shared
    modules = dict(model.named_modules(remove_duplicate=False))
    doubled = [names for names in sharing_groups(model) if len({id(modules[name]) for name in names}) < len(names)]
    found = {name.removesuffix(".base_layer") for names in doubled for name in names}
    return {name: other for name, other in shared.items() if name in found}


def tied_weights(model: nn.Module) -> dict[str, str]:
    """Return the modules of `shared_weights` that merging unties."""
    inseparable = inseparable_weights(model)
    return {name: other for name, other in shared_weights(model).items() if name not in inseparable}


@torch.no_grad()
def untie(base: nn.Module) -> bool:
    """Copy shared parameters for each of their modules, if a module that shares is adapted or was trained in full.

    All get their own then, biases too: a config can say only for all of them that they are not tied, and does.

    Args:
        base: the base model inside a PeftModel, before merging.

    Returns:
        Whether anything was copied.
    """
    if not any(is_replaced(name) for names in sharing_groups(base) for name in names):
        return False
    first: dict[int, str] = {}
    for name, parameter in list(base.named_parameters(remove_duplicate=False)):
        if first.setdefault(id(parameter), name) != name:
            module, _, kind = name.rpartition(".")
            own = nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
            setattr(base.get_submodule(module), kind, own)
    for config in _configs(base):
        if hasattr(config, FLAG) and not is_always_tied(base):
            setattr(config, FLAG, False)
    return True


def is_replaced(name: str) -> bool:
    """Return whether an adapter, or a copy that is trained in full, stands in the place of a module inside a model."""
    return not _WRAPPED.isdisjoint(name.split("."))


@torch.no_grad()
def finish_untied(merged: Any) -> None:
    """Make a merged model that was untied one that its files describe.

    T5's config has one flag for tied embeddings and for scaled outputs, so the scale moves into the output embeddings:
    every version of transformers then reads the same. umT5's flag is on again, as in every config that transformers
    loads: weights that are all in the files are loaded apart.
    """
    for config in _configs(merged):
        if getattr(config, "scale_decoder_outputs", False):
            merged.get_output_embeddings().weight.mul_(config.d_model**-0.5)
            config.scale_decoder_outputs = False
        if is_always_tied(merged):
            setattr(config, FLAG, True)  # PEFT clears it
    if hasattr(merged, "get_expanded_tied_weights_keys"):
        keys = {} if is_always_tied(merged) else merged.get_expanded_tied_weights_keys(all_submodels=True)
        merged.all_tied_weights_keys = keys


def _configs(model: nn.Module) -> list[Any]:
    """Return the config of a transformers model, and that of its text part where it is another."""
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "get_text_config"):
        return []
    text = config.get_text_config()
    return [config] if text is config else [config, text]


def _computes_by_flag(model: nn.Module) -> bool:
    reads = FLAG in inspect.unwrap(type(model).forward).__code__.co_names
    return reads and not is_always_tied(model)


def is_always_tied(model: nn.Module) -> bool:
    """Return whether the flag of tied embeddings stays on in a model's config though its weights are untied."""
    return getattr(getattr(model, "config", None), "model_type", None) in ALWAYS_TIED
