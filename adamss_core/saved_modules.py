"""Find the modules that are trained in full beside an adapter, as PEFT finds them: by the ends of their names."""

from __future__ import annotations

from collections.abc import Sequence

from peft import AdamssConfig, LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from torch import nn

from adamss_core.compiled import plain_name
from adamss_core.errors import ConfigError
from adamss_core.model_parts import modules_outside
from adamss_core.spec.modules_in_full import apart_hint, may_only_hold, names_of, outermost, read_in_its_place
from adamss_core.untying import tied_weights

# Without a computation of their own; PEFT refuses them too.
LISTS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


def module_lists(model: nn.Module) -> list[str]:
    """Return the names of the lists and dicts of modules, which cannot be trained in full by themselves."""
    return [name for name, module in model.named_modules() if name and isinstance(module, LISTS)]


def own_parameters(model: nn.Module) -> dict[str, int]:
    """Return the name of every module -> the number of its own parameters, those of modules inside left out."""
    return {
        name: sum(parameter.numel() for parameter in module.parameters(recurse=False))
        for name, module in model.named_modules(remove_duplicate=False)
        if name
    }


def resolve_saved_modules(model: nn.Module, config: AdamssConfig | LoraConfig) -> None:
    """Replace names in `modules_to_save` that match a module and others inside of it by the outer modules' names.

    PEFT would wrap both, as for "embeddings" of a BERT, and could not load the file that it writes.

    Raises:
        ConfigError: a name matches a list of modules, or a table that is not read.
    """
    names = list(config.modules_to_save or [])
    modules = _modules(model)
    outer = outermost(names, list(modules))
    tied = tied_weights(model) if any(map(may_only_hold, outer)) else {}
    for name in outer:
        if (reader := read_in_its_place(name, tied)) is not None:
            raise ConfigError(
                f"modules_to_save={names!r} matches '{name}', which only holds the weight that '{reader}' reads.",
                hint=f"Nothing would be trained there. Name '{reader.rpartition('.')[2]}'.",
                where="modules_to_save",
            )
        if isinstance(modules[name], LISTS):
            raise ConfigError(
                f"modules_to_save={names!r} matches '{name}', which is a {type(modules[name]).__name__}.",
                hint=f"Name the modules in it, such as '{name}.0'." if len(modules[name]) else "Leave it out.",  # type: ignore[arg-type]
                where="modules_to_save",
            )
    resolved = names_of(names, list(modules), outer)
    if resolved != names:
        config.modules_to_save = resolved


def check_apart(config: AdamssConfig, targets: Sequence[str], model: nn.Module) -> None:
    """Raise ConfigError for a target inside a module that is trained in full, where PEFT would wrap the adapter."""
    modules = list(_modules(model))
    outer = outermost(list(config.modules_to_save or []), modules)
    for target in targets:
        if (saved := next((name for name in outer if f"{target}.".startswith(f"{name}.")), None)) is not None:
            raise ConfigError(
                f"modules_to_save matches '{saved}' by the end of its name, and target_modules matches '{target}'.",
                hint=apart_hint(saved, modules, targets),
                where="modules_to_save",
            )


def _modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return the base model's own modules, without those inside adapter layers and trained copies."""
    found = modules_outside(model, (BaseTunerLayer, AuxiliaryTrainingWrapper), remove_duplicate=False)
    return {plain_name(name): module for name, module in found.items()}
