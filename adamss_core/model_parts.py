"""Find the parts of a transformers model that depend on its classes and on its tokens."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from adamss_core.spec.modules_in_full import DEFAULT_HEADS


def modules_outside(
    model: nn.Module, wrappers: tuple[type, ...], *, remove_duplicate: bool = True
) -> dict[str, nn.Module]:
    """Return the named modules in the model's order, wrappers included and what lies inside of them left out."""
    inside: tuple[str, ...] = ()
    modules: dict[str, nn.Module] = {}
    for name, module in model.named_modules(remove_duplicate=remove_duplicate):
        if not name or name.startswith(inside):
            continue
        modules[name] = module
        if isinstance(module, wrappers):
            inside = (*inside, f"{name}.")
    return modules


def build_on_meta(config: Any, auto_model: Any, labels: int) -> PreTrainedModel:
    """Build the model's architecture without weights, for a number of labels."""
    config = deepcopy(config)  # a number of labels replaces their names
    config.num_labels = labels
    with torch.device("meta"):
        model: PreTrainedModel = auto_model.from_config(config, trust_remote_code=False)
    return model


def head_classes(config: Any, auto_model: Any) -> list[str]:
    """Return the classes of a model that was saved with a head for the task of `auto_model`; empty without one."""
    if type(config) not in auto_model._model_mapping:
        return []
    known = auto_model._model_mapping[type(config)]
    names = {model.__name__ for model in (known if isinstance(known, tuple) else (known,))}
    if names.isdisjoint(config.architectures or []):
        return []
    return [str(name) for _, name in sorted(config.id2label.items())]


def label_axes(config: Any, auto_model: Any) -> dict[str, int]:
    """Return the parameters whose shape depends on the number of labels -> the axis of the labels."""
    two, three = (dict(build_on_meta(config, auto_model, labels).named_parameters()) for labels in (2, 3))
    shapes = {name: (parameter.shape, three[name].shape) for name, parameter in two.items()}
    return {
        name: next(axis for axis, (of_two, of_three) in enumerate(zip(*pair, strict=True)) if of_two != of_three)
        for name, pair in shapes.items()
        if pair[0] != pair[1]
    }


def output_layer(model: nn.Module, task_type: str | None) -> str | None:
    """Return the name of the module that PEFT leaves out of "all-linear": what gives the model's outputs."""
    if not isinstance(model, PreTrainedModel):
        return None
    output = model.get_output_embeddings()
    if output is None and task_type == "SEQ_CLS":
        output = next((head for name in DEFAULT_HEADS if (head := getattr(model, name, None)) is not None), None)
    return next((name for name, module in model.named_modules() if module is output), None)


def count_embedding_rows(model: PreTrainedModel) -> int | None:
    """Return the number of token ids that the model embeds; None where it embeds no tokens, or not by a table."""
    try:
        embeddings = model.get_input_embeddings()
    except NotImplementedError:
        return None
    return embeddings.num_embeddings if isinstance(embeddings, nn.Embedding) else None


def count_token_ids(tokenizer: Any) -> int:
    """Return the number of ids that a tokenizer may give, from 0 to the largest; some in between may be unused."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1
