"""Find adapters that training does not reach, and end the run: a trained model must be what the job asked for.

Zero gradients say nothing: B or A may begin at zero, gates too, and a softmax over one token is constant. A missing
gradient does: nothing that the adapter computes takes part in the loss.
"""

from __future__ import annotations

import re
from collections import Counter

from peft import PeftModel
from torch import Tensor, nn

from adamss_core.errors import BypassedTargetError
from adamss_core.layer import AdamssLayer
from adamss_core.model import AdamssModel
from adamss_core.training.errors import TrainingError
from adamss_core.training.request import Reporter

NAMED = 3  # modules that a message names in full
LISTED = 100  # and that an event lists
_DIGITS = re.compile(r"\d+")


class IdleTargets:
    """Watch over one adapter's modules until each has had a gradient.

    Modules of one kind differ in numbers only, such as layers and experts. After the first step, kinds without any
    gradient end the run. Single modules are watched until the first evaluation, for a router may not have chosen an
    expert yet, and are then reported. Where the model drops whole layers at random, a kind gets that time too.
    """

    def __init__(self, model: PeftModel, adapter: str, reporter: Reporter) -> None:
        self._adapter, self._reporter = adapter, reporter
        tuner = model.base_model  # of a contender that is a plain LoRA, nothing is watched: it has the same targets
        self._watched = tuner.adapted_layers(adapter) if isinstance(tuner, AdamssModel) else {}
        self._all = list(self._watched)
        self._kinds = Counter(map(_kind, self._all))
        self._patient = _drops_layers(model)

    def look(self, step: int, *, last: bool) -> None:
        """Look at the gradients of a finished step, before they are cleared: the sums over all processes.

        Args:
            last: whether the watch ends here.

        Raises:
            TrainingError: target_without_effect.
        """
        if not self._watched:
            return
        self._watched = self._without_gradient()
        idle = Counter(map(_kind, self._watched))
        if last or not self._patient:
            whole = [name for name in self._watched if idle[_kind(name)] == self._kinds[_kind(name)]]
            if whole:
                raise _without_effect(whole, [name for name in self._all if name not in self._watched])
        if last and self._watched:
            self._report(list(self._watched), step)
            self._watched = {}

    def _without_gradient(self) -> dict[str, AdamssLayer]:
        """Return the watched layers that have had no gradient."""
        return {name: layer for name, layer in self._watched.items() if not _is_reached(layer, self._adapter)}

    def _report(self, names: list[str], step: int) -> None:
        self._reporter.event(
            "targets_idle",
            f"Up to step {step} no row has reached {_shown(names)}: adapters there have not been trained. That is so "
            "where a router chooses few of many experts; otherwise leave these modules out of adamss.target_modules.",
            {"step": step, "modules": names[:LISTED], "count": len(names)},
        )


def check_loss(loss: Tensor, model: nn.Module, adapter: str) -> None:
    """Raise TrainingError target_without_effect for a loss on which no trained parameter has an effect."""
    if not loss.requires_grad:
        tuners = (module for module in model.modules() if isinstance(module, AdamssModel))
        raise _without_effect([name for tuner in tuners for name in tuner.adapted_layers(adapter)], [])


def _without_effect(names: list[str], others: list[str]) -> TrainingError:
    """Make the error for targets that got no gradient, unlike the others."""
    shared = {name.rpartition(".")[2] for name in others}
    ends = {name: name.rpartition(".")[2] for name in names}
    leave_out = ", ".join(dict.fromkeys(name if end in shared else end for name, end in ends.items()))
    return TrainingError(
        BypassedTargetError.code,
        f"Adapters on {_shown(names)} got no gradient: the model does not call these modules in training, or does not "
        "use what they return.",
        hint=f"Leave {leave_out} out of adamss.target_modules: name the other layers to adapt, by longer ends of their "
        "names or a regular expression where they are called alike.",
        where="adamss.target_modules",
    )


def _is_reached(layer: AdamssLayer, adapter: str) -> bool:
    """Return whether A or B has a gradient, or no subspace is left that could have one."""
    parameters = layer.adamss_A[adapter], layer.adamss_B[adapter]
    return any(parameter.grad is not None or parameter.numel() == 0 for parameter in parameters)


def _kind(name: str) -> str:
    return _DIGITS.sub("*", name)


def _drops_layers(model: PeftModel) -> bool:
    config = getattr(model.get_base_model(), "config", None)
    return any(name.endswith("layerdrop") and value for name, value in vars(config).items()) if config else False


def _shown(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:NAMED])
    return shown + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
