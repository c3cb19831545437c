"""Sizes of A, B and LoRA that follow from the shapes of the adapted modules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from heapq import nlargest
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.facts import LinearModule
from adamss_core.spec.packed_sizes import packed_sizes, trained_rows


class Shape(BaseModel):
    """Packed sizes of one adapted module: A is (ranks, basis), B has trained rows x rank elements, W is (rows, inputs).

    They are the largest possible; `least` is the fewest elements of A and B together, `least_ranks` A's fewest rows;
    `columns` are those of [W | b].
    """

    model_config = ConfigDict(frozen=True)

    subspaces: int
    ranks: int
    basis: int
    a: int
    b: int
    a_of_subspace: int
    b_of_subspace: int
    inputs: int
    columns: int
    rows: int
    least: int
    least_ranks: int


def shape_of(module: LinearModule, spec: AdamssSpec) -> Shape:
    """Clamp K to the rows, r to the smaller dimension of [W | b], and each rank to r and to its subspace's rows."""
    columns, rows = module.in_features + module.bias, module.out_features
    basis = min(spec.r, rows, columns)
    subspaces = min(spec.num_subspaces, rows)
    rank = min(spec.subspace_rank, basis)
    sizes = packed_sizes(rows, subspaces, rank, dynamic=spec.use_dynamic_rank)
    most_b, least_b = sizes.most_b, sizes.least_b
    if spec.row_share < 1:
        trained = trained_rows(rows, spec.row_share, subspaces)
        most_b, least_b = trained * rank, trained * (rank if most_b == least_b == rows * rank else 1)
    return Shape(
        subspaces=subspaces,
        ranks=sizes.most_ranks,
        basis=basis,
        a=sizes.most_ranks * basis,
        b=most_b,
        a_of_subspace=rank * basis,
        b_of_subspace=most_b - (subspaces - 1),  # the others have a row each
        inputs=module.in_features,
        columns=columns,
        rows=rows,
        least=sizes.least_ranks * basis + least_b,
        least_ranks=sizes.least_ranks,
    )


class LoraShape(NamedTuple):
    """Rank of every module of a LoRA, and whether they have biases; PEFT gives every module the same."""

    rank: int
    bias: bool

    def elements(self, shape: Shape) -> int:
        """Count A, B and bias of one module."""
        return self.rank * (shape.inputs + shape.rows) + self.bias * shape.rows


def removes_pruned(spec: AdamssSpec) -> bool:
    """Return whether pruned subspaces are left out of the published adapter."""
    return spec.use_asa and spec.asa_pruned == "removed"


def kept_subspaces(spec: AdamssSpec, subspaces: int) -> int:
    """Return how many of all subspaces the published adapter has: pruned ones too, where they are frozen."""
    return min(spec.asa_target_subspaces, subspaces) if removes_pruned(spec) else subspaces


def elements_left(shapes: Sequence[Shape], kept: int) -> int:
    """Return how many elements of A and B `kept` subspaces over all modules have, at most."""
    gone = sum(shape.subspaces for shape in shapes) - kept
    every = sum(shape.a + shape.b for shape in shapes)
    largest = (shape.a_of_subspace + shape.b_of_subspace for shape in shapes for _ in range(shape.subspaces))
    return min(every - gone * min(shape.basis + 1 for shape in shapes), sum(nlargest(kept, largest)))


def lora_ranks(spec: AdamssSpec, shapes: Sequence[Shape], kept: int) -> tuple[int, int]:
    """Return the least and the largest possible rank of the widest module, if `kept` subspaces are left over all."""
    if kept == sum(shape.subspaces for shape in shapes):
        return max(shape.least_ranks for shape in shapes), max(shape.ranks for shape in shapes)
    most = max(min(shape.ranks, kept * min(spec.subspace_rank, shape.basis)) for shape in shapes)
    return math.ceil(kept / len(shapes)), most
