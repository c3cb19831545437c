"""`get_adamss_model`: a `peft.PeftModel` around our tuner, next to stock PEFT's in the same process."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft import AdamssConfig, PeftModel
from peft.auto import MODEL_TYPE_TO_PEFT_MODEL_MAPPING
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper, PeftType
from torch import nn

from adamss_core.compiled import original, uncompiled
from adamss_core.config import DEFAULT_ADAPTER, AsaPruned, Bias, is_frozen_bias, removes_pruned
from adamss_core.decomposition_cache import CacheFolder
from adamss_core.errors import AdamssWarning, ConfigError
from adamss_core.model import AdamssModel, DecomposeFunction, decompose_with_cache
from adamss_core.spec.without_effect import idle_bias, idle_removal


class AdamssPeftMixin:
    """Mixin that makes a PeftModel count pruned subspaces correctly."""

    def get_nb_trainable_parameters(self) -> tuple[int, int]:
        """Return the numbers of trained and of all parameters.

        Pruned subspaces count among all, but not as trained; removed ones have no parameters.
        """
        trainable, total = super().get_nb_trainable_parameters()  # type: ignore[misc]
        tuner: AdamssModel = self.base_model  # type: ignore[attr-defined]
        for adapter in tuner.peft_config:
            for layer in tuner.adapted_layers(adapter).values():
                state, layout = layer.asa_state(adapter), layer.layouts[adapter]
                if state is None or bool(state.active.all()):
                    continue
                for parameters, lengths, width in (
                    (layer.adamss_A, layout.lengths_a, layer.adamss_newB[adapter].shape[0]),
                    (layer.adamss_B, layout.lengths_b, 1),
                ):
                    pruned = int(((~state.active) * torch.tensor(lengths)).sum()) * width
                    if state.compact:
                        total += pruned
                    elif parameters[adapter].requires_grad:
                        trainable -= pruned
        return trainable, total


def _with_mixin(base: type[PeftModel]) -> type[PeftModel]:
    name = f"Adamss{base.__name__}"
    mixed = type(name, (AdamssPeftMixin, base), {"__module__": __name__, "__doc__": base.__doc__})
    globals()[name] = mixed  # looked up by name when the model is pickled or copied
    return mixed


_CLASSES = {base: _with_mixin(base) for base in (PeftModel, *MODEL_TYPE_TO_PEFT_MODEL_MAPPING.values())}
_REGISTRY = threading.Lock()


@contextmanager
def _our_tuner(**settings: Any) -> Iterator[None]:
    """Replace PEFT's tuner for AdaMSS by ours while one PeftModel is constructed.

    A permanent replacement would change every `peft.get_peft_model` of the process.
    """
    with _REGISTRY:
        stock = PEFT_TYPE_TO_TUNER_MAPPING[PeftType.ADAMSS]
        PEFT_TYPE_TO_TUNER_MAPPING[PeftType.ADAMSS] = partial(AdamssModel, **settings)
        try:
            yield
        finally:
            PEFT_TYPE_TO_TUNER_MAPPING[PeftType.ADAMSS] = stock


@contextmanager
def restored_on_error(base_model: nn.Module) -> Iterator[None]:
    """Remove the adapter layers from the base model again if the block fails, and restore what was trainable."""
    trainable = [(parameter, parameter.requires_grad) for parameter in base_model.parameters()]
    before = set(base_model.modules())
    try:
        yield
    except BaseException:
        for name, module in list(base_model.named_modules()):
            if module in before:
                continue
            if isinstance(module, BaseTunerLayer):
                base_model.set_submodule(name, module.base_layer)
            elif isinstance(module, AuxiliaryTrainingWrapper):
                base_model.set_submodule(name, module.original_module)
        base_model.__dict__.pop("peft_config", None)
        for parameter, flag in trainable:
            parameter.requires_grad_(flag)
        raise


def get_adamss_model(
    base_model: nn.Module,
    config: AdamssConfig,
    adapter_name: str = DEFAULT_ADAPTER,
    *,
    bias: Bias = "trained",
    asa_pruned: AsaPruned = "frozen",
    autocast_adapter_dtype: bool = True,
    decomposition_cache: CacheFolder | None = None,
) -> PeftModel:
    """Put an AdaMSS adapter on a base model.

    Args:
        base_model: changed in place, its weights frozen. Any float dtype; bitsandbytes linears too. Compile the
            returned model, not the base: a compiled base is taken back to eager.
        config: all fields have the meaning that PEFT documents.
        adapter_name: the adapter's name.
        bias: "trained" adapts weight and bias of a module as one, as PEFT does; "frozen" the weight alone, so that
            the exported LoRA has no biases. It holds for adapters that are added later too, as does `asa_pruned`.
        asa_pruned: "frozen" keeps the values of subspaces that ASA prunes, as PEFT does; "removed" takes them out, with
            their effect, so that adapter and LoRA shrink.
        autocast_adapter_dtype: keep the adapter in fp32 on a base in half precision; False rounds it to that dtype,
            as in `peft.get_peft_model`.
        decomposition_cache: folder for finished decompositions, keyed by content of the weight: the next adapter on the
            same base starts without an SVD.

    Returns:
        A PeftModel of the class that `config.task_type` asks for; `model.base_model` is an `AdamssModel`.

    Raises:
        ConfigError: a field is out of range or contradicts another.
        TargetError: no module is targeted, or one that cannot be adapted, or is never called (BypassedTargetError).
        WeightError: a target's weight is NaN, infinite or all zero.
    """
    compute = decompose_with_cache(decomposition_cache, frozen_bias=is_frozen_bias(bias))
    model = build_peft_model(
        adaptable(base_model),
        config,
        adapter_name,
        compute,
        removes_pruned=removes_pruned(asa_pruned),
        autocast_adapter_dtype=autocast_adapter_dtype,
    )
    layers = model.base_model.adapted_layers(adapter_name).values()
    idle = idle_bias(bias, any(layer.base_bias() is not None for layer in layers))
    for message in [*idle, *idle_removal(asa_pruned, config.use_asa)]:
        warnings.warn(message, AdamssWarning, stacklevel=2)
    return model


def adaptable(base_model: nn.Module) -> nn.Module:
    """Return the base without torch.compile: its graphs and its modules' names would be those from before the adapter.

    Compiled modules inside are replaced in place, with a warning.
    """
    if any(original(module) is not module for module in base_model.modules()):
        warnings.warn(
            "The base model is compiled; the adapter goes onto the model inside. Call torch.compile on the adapted "
            "model instead.",
            AdamssWarning,
            stacklevel=3,
        )
    return uncompiled(base_model)


def build_peft_model(
    base_model: nn.Module,
    config: AdamssConfig,
    adapter_name: str,
    decompose: DecomposeFunction,
    *,
    removes_pruned: bool = False,
    autocast_adapter_dtype: bool = True,
) -> PeftModel:
    """Put an AdaMSS adapter on a base model, with a given source of decompositions (see `get_adamss_model`)."""
    if not isinstance(config, AdamssConfig):
        raise ConfigError(
            f"An AdamssConfig is needed, not a {type(config).__name__}.", hint="Use peft.AdamssConfig.", where="config"
        )
    if isinstance(base_model, PeftModel):
        raise ConfigError(
            "The base model is a PeftModel already.",
            hint="Use model.add_adapter for a second adapter, or unload the first.",
            where="base_model",
        )
    name_or_path = getattr(base_model, "name_or_path", None) or base_model.__dict__.get("name_or_path", None)
    config.base_model_name_or_path = name_or_path or config.base_model_name_or_path
    kind: Any = _CLASSES[MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(config.task_type, PeftModel)]
    with _our_tuner(decompose=decompose, removes_pruned=removes_pruned), restored_on_error(base_model):
        model: PeftModel = kind(
            base_model, config, adapter_name=adapter_name, autocast_adapter_dtype=autocast_adapter_dtype
        )
    return model
