"""Count what a run trains, as it is before the first subspace is pruned."""

from __future__ import annotations

from heapq import nlargest

from peft import PeftModel

from adamss_core.adapter_files import active_adapter
from adamss_core.layout import SubspaceLayout
from adamss_core.removal import first_layout
from adamss_core.spec import JobSpec, LinearModule
from adamss_core.spec.budget import budget_elements
from adamss_core.training.errors import TrainingError
from adamss_core.training.request import AdapterSize


def adapter_size(model: PeftModel) -> AdapterSize:
    """Count subspaces and elements; those that a resumed adapter has pruned or removed are counted too."""
    name, tuner = active_adapter(model), model.base_model
    layers = tuner.adapted_layers(name).values()
    subspaces: list[int] = []
    for layer in layers:
        subspaces += elements_of(first_layout(layer, name), layer.adamss_newB[name].shape[0])
    config, summary = model.peft_config[name], tuner.asa_summary(name)
    left = sum(nlargest(config.asa_target_subspaces, subspaces)) if config.use_asa else sum(subspaces)
    in_full = model.get_nb_trainable_parameters()[0] - summary["trainable_parameters"]
    return AdapterSize(len(subspaces), sum(subspaces), in_full, left)


def elements_of(layout: SubspaceLayout, basis: int) -> list[int]:
    """Count A_k and B_k of each subspace."""
    return [rank * basis + b for rank, b in zip(layout.lengths_a, layout.lengths_b, strict=True)]


def published_elements(model: PeftModel) -> int:
    """Count A and B of an adapter as it is: without subspaces that were removed."""
    name = active_adapter(model)
    layers = model.base_model.adapted_layers(name).values()
    return sum(sum(elements_of(layer.layouts[name], layer.adamss_newB[name].shape[0])) for layer in layers)


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
    published = size.elements(spec.adamss).published
    if published > allowed:
        raise TrainingError(
            "over_budget",
            f"The adapter has {published:,} elements of A and B, but adamss.budget allows {allowed:,}.",
            hint="Let adamss_core.spec.budget.fit_budget choose r, K, rank and rows, as the service does.",
            where="adamss.budget",
        )
