"""Divide the frozen base of a model among the ranks with FSDP2: each holds a part of each block's weights.

A block's matrices are gathered while it computes, forward and backward, and freed after it. Adapters, whatever else is
trained, biases and norms, and all outside of the blocks stay whole on each rank. A forward pass therefore takes all
ranks, each with a batch of its own: those that have none left compute one that does not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from accelerate import Accelerator
from peft import PeftModel
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from adamss_core.training.ranks.ranks import Ranks

COMPUTE = {"bf16": torch.bfloat16, "fp16": torch.float16}


def shard_base(model: PeftModel, ranks: Ranks, accelerator: Accelerator) -> None:
    """Divide the blocks of a model on the CPU, one after the other, and move it to the rank's device.

    Every rank must call this with the same model. From then on `ranks.in_step` is true.
    """
    mesh = init_device_mesh(accelerator.device.type, (ranks.size,))
    # Gathered in the dtype in which autocast computes: its own copies would be whole, and live until backward.
    dtype = COMPUTE.get(accelerator.mixed_precision, torch.float32)
    policy = MixedPrecisionPolicy(param_dtype=dtype, cast_forward_inputs=False)
    base = model.get_base_model()
    for block in blocks_of(base):
        whole = {parameter for name, parameter in block.named_parameters() if _stays_whole(name, parameter)}
        fully_shard(block, mesh=mesh, mp_policy=policy, ignored_params=whole, reshard_after_forward=True)
    # The root divides nothing; with it the blocks are one model, and gather ahead of each other.
    fully_shard(base, mesh=mesh, mp_policy=policy, ignored_params=set(base.parameters()))
    for value in chain(model.parameters(), model.buffers()):
        if value.device == accelerator.device and not isinstance(value, DTensor):
            value.data = value.data.clone()  # else the files stay mapped, with all pages that were read
    model.to(accelerator.device)
    base._is_fsdp_managed_module = True  # transformers' mark: all ranks generate as many tokens as the longest text has
    ranks.in_step = True


def blocks_of(base: nn.Module) -> list[nn.Module]:
    """Return the outermost lists of alike modules, such as a transformer's layers, module by module."""
    return list(_blocks_in(base))


def _blocks_in(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList) and len({type(block) for block in child}) == 1:
            yield from child
        else:
            yield from _blocks_in(child)


def parts_of(model: nn.Module) -> tuple[int, int]:
    """Return the elements of this rank's parts of divided weights, and of the whole weights."""
    own = whole = 0
    for value in chain(model.parameters(), model.buffers()):
        if isinstance(value, DTensor):
            own, whole = own + value.to_local().numel(), whole + value.numel()
    return own, whole


def _stays_whole(name: str, parameter: nn.Parameter) -> bool:
    """Return whether a parameter is trained, an adapter's, or as small as a bias or a norm's weight."""
    return parameter.requires_grad or "adamss_" in name or parameter.dim() < 2
