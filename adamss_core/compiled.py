"""Compiled models under their own names: torch.compile wraps a module in one that holds it as `_orig_mod`."""

from __future__ import annotations

from torch import nn

WRAPPED = "_orig_mod"


def plain_name(name: str) -> str:
    """Return the name of a module or tensor without the levels that torch.compile adds."""
    return ".".join(part for part in name.split(".") if part != WRAPPED)


def original(module: nn.Module) -> nn.Module:
    """Return the module that a compiled one wraps; another module itself."""
    # Read without getattr, which a compiled module forwards; accelerate's regional compilation registers no child.
    wrapped = module._modules.get(WRAPPED, module.__dict__.get(WRAPPED))
    return wrapped if isinstance(wrapped, nn.Module) else module


def uncompiled(model: nn.Module) -> nn.Module:
    """Return the model with every compiled module replaced by its original, in place."""
    model = original(model)
    for name, module in list(model.named_modules()):  # an outer module comes before those inside
        if name and (inner := original(module)) is not module:
            model.set_submodule(plain_name(name), inner)
    return model
