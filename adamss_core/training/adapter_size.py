"""Count what a run trains, as it is before the first subspace is pruned."""

from __future__ import annotations

from peft import PeftModel

from adamss_core.adapter_files import active_adapter
from adamss_core.removal import first_layout
from adamss_core.spec import JobSpec, LinearModule
from adamss_core.spec.budget import budget_elements
from adamss_core.training.errors import TrainingError
from adamss_core.training.request import AdapterSize


def adapter_size(model: PeftModel) -> AdapterSize:
    """Count subspaces and elements; those that a resumed adapter has pruned or removed are counted too."""
    name, tuner = active_adapter(model), model.base_model
    layers = tuner.adapted_layers(name).values()
    elements = 0
    for layer in layers:
        layout, basis = first_layout(layer, name), layer.adamss_newB[name].shape[0]
        elements += sum(layout.lengths_a) * basis + sum(layout.lengths_b)
    in_full = model.get_nb_trainable_parameters()[0] - tuner.asa_summary(name)["trainable_parameters"]
    return AdapterSize(sum(layer.layouts[name].num_subspaces for layer in layers), elements, in_full)


def check_budget(model: PeftModel, spec: JobSpec, size: AdapterSize) -> None:
    """Refuse an adapter beyond `adamss.budget`: the planner chooses one within it, a run by itself does not.

    Raises:
        TrainingError: over_budget.
    """
    if spec.adamss.budget is None:
        return
    layers = model.base_model.adapted_layers(active_adapter(model))
    modules = [
        LinearModule(name=name, kind="", in_features=layer.in_features, out_features=layer.out_features, bias=False)
        for name, layer in layers.items()
    ]
    own = sum(parameter.numel() for name, parameter in model.named_parameters() if ".adamss_" not in name)
    allowed = budget_elements(spec.adamss.budget, modules, own)
    if size.adapter_parameters > allowed:
        raise TrainingError(
            "over_budget",
            f"The adapter has {size.adapter_parameters:,} elements of A and B, but adamss.budget allows {allowed:,}.",
            hint="Let adamss_core.spec.budget.fit_budget choose r, K, rank and rows, as the service does.",
            where="adamss.budget",
        )
