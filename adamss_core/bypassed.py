"""Known linear modules that are not called: the module around them reads their weight, so an adapter has no effect.

Some are never called, others not where a fused kernel takes over, in training or in evaluation: then what is evaluated
is not what was trained.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import nn

from adamss_core.errors import AdamssWarning, BypassedTargetError
from adamss_core.spec.targets import describe_bypassed

# Package and class of the module around -> its linear modules.
KNOWN: dict[str, tuple[str, ...]] = {
    "torch.MultiheadAttention": ("out_proj",),
    "torch.TransformerEncoderLayer": ("linear1", "linear2"),  # in evaluation, see `_children`
    "transformers.MambaMixer": ("x_proj", "dt_proj", "out_proj"),  # all but dt_proj: in training, where kernels exist
    "transformers.FalconMambaMixer": ("x_proj", "dt_proj", "out_proj"),
    "transformers.JambaMambaMixer": ("dt_proj",),
    "transformers.Mamba2Mixer": ("out_proj",),
    "transformers.BambaMixer": ("out_proj",),
    "transformers.FalconH1Mixer": ("out_proj",),
    "transformers.GraniteMoeHybridMambaLayer": ("out_proj",),
    "transformers.NemotronHMamba2Mixer": ("out_proj",),
    "transformers.Zamba2MambaMixer": ("out_proj",),
    "transformers.WavLMAttention": ("q_proj", "k_proj", "v_proj", "out_proj"),
    "transformers.MobileBertLMPredictionHead": ("dense", "decoder"),
    "mamba_ssm.Mamba": ("in_proj", "x_proj", "dt_proj", "out_proj"),
    "mamba_ssm.Mamba2": ("out_proj",),
}


def bypassed_modules(model: nn.Module) -> dict[str, str]:
    """Return the name of each known module that is not called -> the class that reads its weight."""
    return {
        f"{name}.{child}" if name else child: type(module).__name__
        for name, module in model.named_modules()
        for child in _children(module)
        if child in module._modules
    }


def _children(module: nn.Module) -> tuple[str, ...]:
    kind = type(module)
    for known in kind.__mro__:
        children = KNOWN.get(f"{known.__module__.partition('.')[0]}.{known.__name__}")
        if children is not None and kind.forward is known.forward:  # type: ignore[attr-defined]
            is_fused = not isinstance(module, nn.TransformerEncoderLayer) or module.self_attn.batch_first
            return children if is_fused else ()
    return ()


def check_called(model: nn.Module, targets: Sequence[str], *, trained: bool) -> None:
    """Check that an adapter on each target would have an effect.

    Raises:
        BypassedTargetError: one would not. An adapter that is only used is loaded all the same, with a warning.
    """
    readers = bypassed_modules(model)
    found = {name: readers[name] for name in targets if name in readers}
    if not found:
        return
    message, hint = describe_bypassed(found)
    if not trained:
        warnings.warn(message, AdamssWarning, stacklevel=2)
        return
    raise BypassedTargetError(message, hint=hint, where="target_modules")
