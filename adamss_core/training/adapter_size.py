"""Count what a run trains, as it is before the first subspace is pruned."""

from __future__ import annotations

from peft import PeftModel

from adamss_core.adapter_files import active_adapter
from adamss_core.removal import first_layout
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
