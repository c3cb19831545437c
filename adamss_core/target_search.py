"""Find the modules of a model that an adapter goes on, by the rule of `adamss_core.spec.target_rule`."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping

from peft import AdamssConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import resolve_quantization_backend
from torch import nn
from transformers.pytorch_utils import Conv1D

from adamss_core.errors import AdamssError, AdamssWarning, ConfigError, TargetError
from adamss_core.model_parts import modules_outside, output_layer
from adamss_core.shared_weights import REMEDY, shares_weight
from adamss_core.spec.target_names import count_ends, describe_renamed
from adamss_core.spec.target_rule import PatternError, TargetChoice, TargetRule, choose_targets
from adamss_core.spec.targets import describe_unsupported
from adamss_core.spec.without_effect import closest, idle_targets, last_names
from adamss_core.untying import inseparable_weights


def find_targets(model: nn.Module, config: AdamssConfig) -> list[tuple[str, nn.Module]]:
    """Return the modules to adapt; write the names that stand for "all-linear" into the config, as PEFT does.

    Raises:
        ConfigError, TargetError: no module is left, or one that cannot be adapted.
    """
    modules = modules_outside(model, (BaseTunerLayer,))
    linear = [name for name, module in modules.items() if _means_linear(module)]
    output = output_layer(model, config.task_type)
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    try:
        choice = choose_targets(TargetRule.of(config), list(modules), linear, output, model_type)
    except PatternError as error:
        raise ConfigError(
            f"{error.field}={error.pattern!r} is not allowed.",
            hint=f"It is not a regular expression ({error.reason}).",
            where=error.field,
        ) from error
    if not choice.targets:
        raise _nothing_chosen(model, config, choice)
    shared = {} if config.inference_mode else inseparable_weights(model)
    for name in choice.targets:
        _check_adaptable(name, modules[name], shared)
    if not config.inference_mode:
        notices = [describe_renamed(choice.renamed, model_type)] if choice.renamed else []
        for message in [*notices, *idle_targets(choice, linear)]:
            warnings.warn(message, AdamssWarning, stacklevel=2)
    if not isinstance(choice.rule.targets, str):
        config.target_modules = set(choice.rule.targets)
    return [(name, modules[name]) for name in choice.targets]


def _means_linear(module: nn.Module) -> bool:
    """Return whether "all-linear" means a module: PEFT tells adapter layers on linear ones by their class's name."""
    is_adapted = isinstance(module, BaseTunerLayer) and "Linear" in type(module).__name__
    return is_adapted or isinstance(module, (nn.Linear, Conv1D))


def _check_adaptable(name: str, module: nn.Module, shared: Mapping[str, str]) -> None:
    base = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
    if not _is_supported(base):
        message, hint = describe_unsupported(name, type(base).__name__)
        raise TargetError(message, hint=hint, where=name)
    if name in shared:
        raise TargetError(shares_weight(name, shared[name]), hint=REMEDY, where=name)


def _is_supported(module: nn.Module) -> bool:
    if isinstance(module, (nn.Linear, Conv1D)):
        return True
    backend = resolve_quantization_backend(module)
    return backend is not None and backend.backend_name.startswith("bnb")


def _nothing_chosen(model: nn.Module, config: AdamssConfig, choice: TargetChoice) -> AdamssError:
    """Make the error for targets of which none is left, by what left them out."""
    named = [name for name in choice.modules if choice.rule.names(name)]
    if any(not choice.rule.leaves_out(name) for name in named):
        return ConfigError(
            f"layers_to_transform={config.layers_to_transform!r} with layers_pattern={config.layers_pattern!r} leaves "
            "none of the target modules.",
            hint="Use indices of layers that the model has, and a layers_pattern such as 'layer' or 'layers'.",
            where="layers_to_transform",
        )
    if named:
        return ConfigError(
            f"target_modules matches only modules that modules_to_save={config.modules_to_save!r} trains in full.",
            hint="Name a linear layer outside of the modules that are trained in full.",
            where="target_modules",
        )
    return _nothing_matched(model, config.target_modules)


def _nothing_matched(model: nn.Module, targets: Collection[str] | str | None) -> TargetError:
    patterns = [targets] if isinstance(targets, str) else sorted(targets or [])
    linear = [name for name, module in model.named_modules() if name and _is_supported(module)]
    return TargetError(
        f"target_modules={patterns} matches no module of this model.",
        hint=closest(patterns, last_names(linear)) + count_ends(linear),
        where=", ".join(patterns),
    )
