"""The adapted linear map as one autograd function.

y = W x + b + scatter_k(B_k A_k V^T [x; 1])          (AdaMSS, NeurIPS 2025; V^T is `basis`, (r, in[+1]))

With a small R the basis is folded into A first: A V^T is (R, in[+1]), which is small beside the tokens, so the tokens
pass through a LoRA of rank R. With R near r that would cost one more matmul of the tokens' size than projecting the
tokens on the basis once, which backward needs instead of the tokens themselves (see `projects`). The cost does not
depend on the number of subspaces, and the device is never waited for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F


def assemble(parameter: Tensor, frozen: Tensor | None, live: Tensor | None) -> Tensor:
    """Return the packed tensor: trained entries from `parameter`, pruned ones from `frozen`.

    `live` is a bool mask over a `parameter` of full shape, or the positions of its rows in the packed tensor where
    pruned rows were removed from it. Without `frozen` nothing is pruned, and the parameter is the packed tensor.
    """
    if frozen is None or live is None:
        return parameter
    if live.dtype == torch.bool:
        return torch.where(live, parameter, frozen)
    return frozen.index_copy(0, live, parameter)


def restrict(gradient: Tensor, live: Tensor | None) -> Tensor:
    """Return the gradient of `assemble`'s parameter, from the gradient of the packed tensor."""
    if live is None:
        return gradient
    if live.dtype == torch.bool:
        return gradient * live
    return gradient.index_select(0, live)


def projects(total_rank: int, basis: Tensor, dtype: torch.dtype) -> bool:
    """Return whether the tokens are projected on the basis, rather than the basis folded into A.

    Of the matmuls of the tokens' size over `in`, folding makes three of width R (h, grad x, grad A), projecting
    two of width r (z, grad x). Half of r, not two thirds, because folding itself is not free. In half precision the
    basis is never rounded on its own, so there it is always folded, in fp32.
    """
    return 2 * total_rank >= basis.shape[0] and dtype == basis.dtype


class AdaptedLinear(Function):
    """Autograd function of `base_out` plus the delta; given `weight` instead of `base_out`, of the whole layer.

    Fusing the frozen base's matmul saves one pass over the output forward and one over the input gradient backward,
    which is where LoRA's overhead goes at many tokens.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (..., in), in the compute dtype
        base_out: Tensor | None,  # (..., out)
        weight: Tensor | None,  # (out, in)
        bias: Tensor | None,  # (out,)
        a: Tensor,  # (R, r) or fewer rows
        b: Tensor,  # (sum |I_k| r_k,) or fewer
        basis: Tensor,  # (r, in[+1])
        cells: Tensor,  # (sum |I_k| r_k,)
        frozen_a: Tensor | None,
        frozen_b: Tensor | None,
        live_a: Tensor | None,
        live_b: Tensor | None,
    ) -> Tensor:
        n_in = x.shape[-1]
        packed_a = assemble(a, frozen_a, live_a)
        packed_b = assemble(b, frozen_b, live_b)
        total_rank = packed_a.shape[0]
        tokens = x if x.dim() == 2 else x.reshape(-1, n_in)

        # h = left @ down^T (+ the bias column's share): (tokens, R)
        directions, column = _split(basis, n_in)
        project = projects(total_rank, basis, x.dtype)
        if project:
            down = packed_a  # (R, r)
            left = F.linear(tokens, directions, column)  # (tokens, r)
            h = F.linear(left, down)
        else:
            # Separately, as a product with the whole basis would keep the last column for backward too.
            down = _cast(packed_a.mm(directions), x.dtype)  # (R, in)
            left = x
            h = F.linear(tokens, down, None if column is None else _cast(packed_a.mv(column), x.dtype))

        # B^T, not B: with few directions backward's matmuls run three times as fast on rows of `out` elements.
        n_out = weight.shape[0] if weight is not None else base_out.shape[-1]  # type: ignore[union-attr]
        up = packed_b.new_zeros(total_rank * n_out).scatter_(0, cells, packed_b)
        up = _cast(up.view(total_rank, n_out), x.dtype)
        if weight is None:
            assert base_out is not None
            out = torch.addmm(base_out.reshape(-1, n_out), h, up)  # (tokens, out)
        else:
            # The delta first: its product writes the bias in passing, which costs the base's a pass over the output.
            out = h.mm(up) if bias is None else torch.addmm(bias, h, up)
            out.addmm_(tokens, weight.t())

        ctx.save_for_backward(left, h, down, up, weight)
        # Constants of the layer: they have no gradient and live as long as the layer does.
        ctx.constants = (directions, column, cells, live_a, live_b, project, x.shape)
        return out if x.dim() == 2 else out.view(*x.shape[:-1], n_out)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # as `once_differentiable` does, at a tenth of its time
            raise RuntimeError("AdaMSS layers have no second derivative: call backward without create_graph.")
        left, h, down, up, weight = ctx.saved_tensors
        directions, column, cells, live_a, live_b, project, shape = ctx.constants
        need_x, need_base, _, _, need_a, need_b = ctx.needs_input_grad[:6]
        n_in = shape[-1]
        flat = len(shape) == 2
        g = gradient if flat else gradient.reshape(-1, gradient.shape[-1])  # (tokens, out)

        grad_x = grad_a = grad_b = None
        gh = F.linear(g, up)  # (tokens, R)
        if need_b:
            grad_b = _cast(restrict(h.t().mm(g).take(cells), live_b), directions.dtype)
        if need_x:
            inner, outer = (gh.mm(down), directions) if project else (gh, down)
            grad_x = g.mm(weight).addmm_(inner, outer) if weight is not None else inner.mm(outer)
            grad_x = grad_x if flat else grad_x.view(shape)
        if need_a and project:
            grad_a = restrict(gh.t().mm(left), live_a)
        elif need_a:
            grad_down = gh.t().mm(left if flat else left.reshape(-1, n_in))  # (R, in)
            grad_a = F.linear(_cast(grad_down, directions.dtype), directions)  # (R, r)
            if column is not None:
                grad_a.addr_(_cast(gh.sum(0), directions.dtype), column)
            grad_a = restrict(grad_a, live_a)
        grad_base = gradient if need_base else None
        return grad_x, grad_base, None, None, grad_a, grad_b, None, None, None, None, None, None


def _split(basis: Tensor, n_in: int) -> tuple[Tensor, Tensor | None]:
    """Split the basis (r, in[+1]) into its part over x (r, in) and its part over the constant 1 (r,), or None."""
    return (basis.narrow(1, 0, n_in), basis.select(1, n_in)) if basis.shape[1] > n_in else (basis, None)


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `value.to(dtype)`, without its dispatch where the dtype is the same."""
    return value if value.dtype == dtype else value.to(dtype)
