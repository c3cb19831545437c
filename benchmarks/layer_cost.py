"""Cost of one adapted linear layer: time, dispatched operations, bytes saved for backward, graph breaks."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

from benchmarks.report import Limit, Section
from benchmarks.timing import Step, interleaved, overhead, typical
from benchmarks.variants import VARIANTS, Shape, adapted_layers, layer_step

SUBSPACES = (5, 10, 32)


def layer_time(
    hiddens: Sequence[int], tokens: Sequence[int], subspaces: Sequence[int], ranks: Sequence[int], budget: float
) -> Section:
    """Time forward and backward of one layer.

    Args:
        budget: seconds for each point.
    """
    section = Section(
        "(a) forward + backward of one linear layer; overhead = variant - frozen base",
        ["hidden", "tokens", "K", "rank", "base ms", "LoRA +ms", "PEFT +ms", "ours +ms", "ours/LoRA", "ours/PEFT"],
    )
    for hidden, number, rank in product(hiddens, subspaces, ranks):
        layers = adapted_layers(Shape(hidden, number, rank))
        for count in tokens:
            steps = {name: layer_step(layers[name], count, hidden) for name in VARIANTS}
            times = interleaved(steps, budget=budget, at_least=6)
            lora, peft, ours = (overhead(times, name) for name in ("lora", "peft", "ours"))
            base = typical(times["base"])
            costs = [seconds * 1e3 for seconds in (base, lora, peft, ours)]
            section.rows.append([hidden, count, number, rank, *costs, ours / lora, ours / peft])
    to_lora = [row[8] for row in section.rows]
    many = [row for row in section.rows if row[2] == 32]
    section.limits += [
        Limit("ours/LoRA, median over the points", statistics.median(to_lora), 1.1),
        Limit("ours/LoRA, largest of the points", max(to_lora), 1.3),
    ]
    if many:
        section.limits.append(
            Limit("ours/PEFT at K=32, median over the points", statistics.median(r[9] for r in many), 0.5)
        )
        worst = max(many, key=lambda row: row[9])
        # Where R comes near r, the products themselves are most of PEFT's time, and LoRA's of that rank no less.
        section.notes.append(
            f"At K=32 ours/PEFT is at most {worst[9]:.2f}, at {worst[0]} wide, {worst[1]} tokens and rank {worst[3]}, "
            f"where LoRA/PEFT is {worst[5] / worst[6]:.2f}."
        )
    return section


def count_operations(step: Step) -> int:
    """Count the profiler's `aten::` events of one run, views and nested calls included."""
    for _ in range(2):
        step.prepare()
        step.run()
    step.prepare()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step.run()
    return sum(event.count for event in profiler.key_averages() if event.key.startswith("aten::"))


def operations(hidden: int, tokens: int, subspaces: Sequence[int], ranks: Sequence[int]) -> Section:
    """Count dispatched operations of one step of one layer."""
    section = Section(
        f"(b) dispatched ATen operations of one step of one layer ({hidden} wide, {tokens} tokens)",
        ["K", "rank", "base", "LoRA", "PEFT", "ours", "ours/LoRA"],
    )
    for number, rank in product(subspaces, ranks):
        layers = adapted_layers(Shape(hidden, number, rank))
        counts = [count_operations(layer_step(layers[name], tokens, hidden)) for name in VARIANTS]
        section.rows.append([number, rank, *counts, counts[3] / counts[1]])
    fewest = next(row[5] for row in section.rows)
    section.limits += [
        Limit("ours/LoRA, largest", max(row[6] for row in section.rows), 1.4),
        Limit(f"ours, most at any K and rank - at K={subspaces[0]}", max(r[5] for r in section.rows) - fewest, 0),
    ]
    section.notes.append("Fewer where R is near r: the tokens are then projected on the basis, which is not folded.")
    return section


def saved_bytes(layer: nn.Module, step: Step, *, parameters: bool) -> int:
    """Sum the bytes of the distinct storages that one step saves for backward.

    Args:
        parameters: whether what the layer owns (parameters and buffers) counts too. It lives anyway.
    """
    owned = {t.untyped_storage().data_ptr() for t in [*layer.parameters(), *layer.buffers()]}
    sizes: dict[int, int] = {}
    saved: list[Tensor] = []  # so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if parameters or storage.data_ptr() not in owned:
            sizes[storage.data_ptr()] = storage.nbytes()
        saved.append(tensor)
        return tensor

    step.prepare()
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        step.run()
    return sum(sizes.values())


def memory(hidden: int, tokens: int, subspaces: Sequence[int], ranks: Sequence[int]) -> Section:
    """Measure the bytes saved for backward per layer."""
    section = Section(
        f"(c) bytes saved for backward per layer ({hidden} wide, {tokens} tokens)",
        ["K", "rank", "LoRA", "PEFT", "ours", "one A + one B", "LoRA with own", "PEFT with own", "ours with own"],
        notes=[
            "Distinct storages, each once, the input included. 'with own' counts parameters and buffers, which live",
            "anyway. A is (R, in), B (out, R), LoRA's shapes. Where R is near r, ours keeps V^T x instead of x.",
        ],
    )
    for number, rank in product(subspaces, ranks):
        shape = Shape(hidden, number, rank)
        layers = adapted_layers(shape)
        counts = [
            saved_bytes(layers[name], layer_step(layers[name], tokens, hidden), parameters=own)
            for own in (False, True)
            for name in ("lora", "peft", "ours")
        ]
        section.rows.append([number, rank, *counts[:3], 2 * hidden * shape.total_rank * 4, *counts[3:]])
    section.limits += [
        Limit("ours - (LoRA + A + B), largest", max(row[4] - row[2] - row[5] for row in section.rows), 0),
        Limit("the same with own", max(row[8] - row[6] - row[5] for row in section.rows), 0),
    ]
    return section


def graph_breaks(layer: nn.Module, x: Tensor) -> int:
    """Count graph breaks when torch.compile traces the layer."""
    torch._dynamo.reset()
    explained = torch._dynamo.explain(layer)(x)
    torch._dynamo.reset()
    return int(explained.graph_break_count)


def compiled(hidden: int, tokens: int) -> Section:
    """Check that torch.compile traces the layer without a graph break."""
    section = Section("(d) torch.compile: graph breaks of the adapted layer", ["variant", "graph breaks"])
    layers = adapted_layers(Shape(hidden, 10, 1))
    x = torch.randn(1, tokens, hidden, requires_grad=True)
    for name in ("lora", "peft", "ours"):
        section.rows.append([name, graph_breaks(layers[name], x)])
    section.limits.append(Limit("ours", section.rows[-1][1], 0))
    return section
