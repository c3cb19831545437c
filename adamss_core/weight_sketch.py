"""Sketches of base weights: small records that estimate the distance of two weights, whatever their dtype.

A hash cannot tell a base rounded to bf16 from another base. This count sketch can: rows and columns are given random
signs and summed into 16 x 16 buckets, which keeps squared distances in expectation (Charikar, Chen and Farach-Colton,
2002), so |sketch(W) - sketch(W')| / |sketch(W)| estimates the relative Frobenius distance of W and W'.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

BUCKETS = 16
BLOCK = 128  # rows signed at a time, so that they stay in the cache; a multiple of BUCKETS


def sketch_weight(weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Sketch [W | b] without concatenating the two: (out, in) and (out,) -> (16, 16) fp32 on the CPU."""
    n_in = weight.shape[1]
    signs = _signs(n_in + 1, weight.device)
    folded = _fold(weight.detach()) * signs[:n_in]
    padding = folded.new_zeros(BUCKETS, -n_in % BUCKETS)
    sketched = torch.cat([folded, padding], dim=1).view(BUCKETS, -1, BUCKETS).sum(1)
    if bias is not None:
        sketched[:, n_in % BUCKETS] += _fold(bias.detach()[:, None])[:, 0] * signs[n_in]
    return sketched.cpu()


def _fold(matrix: Tensor) -> Tensor:
    """Sum the signed rows of (n, m) into (16, m) fp32; plain sums, so that TF32 settings cannot change the result."""
    n, m = matrix.shape
    signs = _signs(n, matrix.device)[:, None]
    folded = torch.zeros(BUCKETS, m, device=matrix.device)
    for rows, sign in zip(matrix.split(BLOCK), signs.split(BLOCK), strict=True):
        signed = rows.float() * sign
        padding = -len(rows) % BUCKETS
        if padding:
            signed = torch.cat([signed, signed.new_zeros(padding, m)])
        folded += signed.view(-1, BUCKETS, m).sum(0)
    return folded


@lru_cache(64)
def _signs(n: int, device: torch.device) -> Tensor:
    """Return fixed pseudo-random signs, (n,), from a 32-bit integer mix: the same on every device and version."""
    x = torch.arange(1, n + 1, dtype=torch.int64, device=device)
    for multiplier in (0x9E3779B1, 0x85EBCA6B):
        x = (x * multiplier) & 0xFFFFFFFF
        x = x ^ (x >> 15)
    return ((x >> 7) & 1).to(torch.float32) * 2 - 1


def pack_sketch(sketched: Tensor, tolerance: float) -> Tensor:
    """Pack a sketch and its tolerance as (257,) int32 bits, as adapter files store them.

    Bits, because `model.half()` leaves integers alone and safetensors keeps them exactly.

    Args:
        sketched: of [W | b], from `sketch_weight`.
        tolerance: of the base that the weight came from; see `tolerance_of`.
    """
    values = torch.cat([sketched.reshape(-1), torch.tensor([tolerance])])
    return values.contiguous().view(torch.int32)


def relative_distance(first: Tensor, second: Tensor) -> tuple[float, float]:
    """Return the estimated relative Frobenius distance of two recorded weights, and what rounding explains of it."""
    one, other = (bits.cpu().contiguous().view(torch.float32) for bits in (first, second))
    scale = max(one[:-1].norm().item(), other[:-1].norm().item())
    gap = (one[:-1] - other[:-1]).norm().item() / scale if scale else 0.0
    return gap, one[-1].item() + other[-1].item()


def tolerance_of(dtype: torch.dtype, *, bits: int | None = None) -> float:
    """Return the largest distance that rounding to `dtype` (or quantising to `bits`) explains, with a margin of two."""
    if bits is not None:
        return 0.2 if bits <= 4 else 0.04
    if dtype in (torch.float16, torch.bfloat16):
        return torch.finfo(dtype).eps / 2
    return 1e-5
