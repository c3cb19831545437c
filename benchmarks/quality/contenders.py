"""The contenders: what is trained of the base model, and the rates to choose from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import AdamssConfig, LoraConfig, get_peft_model
from torch import Tensor, nn

from adamss_core import Calibration, get_adamss_model
from benchmarks.quality.bases import DECODER, ENCODER, VISION, Base
from benchmarks.quality.data import Rows, Task, batches


@dataclass(frozen=True)
class Preparation:
    """What a contender is made from.

    Attributes:
        model: with a fresh head.
        steps: optimizer steps to come.
    """

    model: nn.Module
    task: Task
    rows: Rows
    steps: int
    seed: int
    device: torch.device

    @property
    def base(self) -> Base:
        return self.task.base


@dataclass(frozen=True)
class Targets:
    """Modules that are adapted.

    Attributes:
        last: number of layers, counted from the output; None takes all.
    """

    roles: tuple[str, ...] = ("query", "value")
    last: int | None = None

    def pattern(self, base: Base) -> str:
        return base.within(self.roles, self.last)


@dataclass(frozen=True)
class Contender:
    """One way to train.

    Attributes:
        family: of the table.
        make: from a preparation to the model that is trained.
        kind: of the rates to choose from.
        published: elements of A and B in the published delta; None counts those that are trained.
        bases: where it takes part.
    """

    name: str
    family: str
    make: Callable[[Preparation], nn.Module]
    kind: str
    published: Callable[[Base], int] | None = None
    bases: tuple[Base, ...] = (ENCODER,)


def _head_only(given: Preparation) -> nn.Module:
    for name, parameter in given.model.named_parameters():
        parameter.requires_grad_(name.startswith("classifier"))
    return given.model


def _all(given: Preparation) -> nn.Module:
    return given.model


def lora(rank: int, targets: Targets = Targets(), *, from_gradient: bool = False) -> Callable[[Preparation], nn.Module]:
    def make(given: Preparation) -> nn.Module:
        pattern = targets.pattern(given.base)
        gradients = target_gradients(given, pattern) if from_gradient else {}
        config: Any = LoraConfig(r=rank, lora_alpha=rank, target_modules=pattern, **_common(given.base))
        model = get_peft_model(given.model, config)
        for name, module in model.named_modules():
            if (gradient := gradients.get(name.removeprefix("base_model.model."))) is not None:
                layer: Any = module
                direction = torch.linalg.svd(gradient)[2][:rank]
                weight = layer.lora_A["default"].weight
                weight.data.copy_(direction * weight.norm() / rank**0.5)
        return model

    return make


def stock(given: Preparation) -> nn.Module:
    return get_peft_model(given.model, adamss_config(given, r=100, K=10, targets=Targets()))


@dataclass(frozen=True)
class Ours:
    """AdaMSS of this project."""

    r: int
    basis: str = "weights"
    K: int = 1
    rank: int = 1
    targets: Targets = Targets()
    share: float = 1.0  # of the rows that are trained
    chosen: str = "gradient"  # by what: gradient, or random as the control
    asa: dict[str, Any] = field(default_factory=dict)

    def __call__(self, given: Preparation) -> nn.Module:
        pattern = self.targets.pattern(given.base)
        gradients = target_gradients(given, pattern) if self.share < 1 and self.chosen == "gradient" else {}
        config = adamss_config(given, r=self.r, K=self.K, rank=self.rank, targets=self.targets, asa=self.asa)
        model = get_adamss_model(given.model, config)
        if self.basis != "weights":
            calibrate(model, given, self.basis)
        generator = torch.Generator().manual_seed(given.seed)
        for name, layer in model.base_model.adapted_layers("default").items() if self.share < 1 else ():
            rows = layer.base_layer.weight.shape[0]
            energy = gradients[name].square().sum(1).cpu() if gradients else torch.rand(rows, generator=generator)
            freeze_rows(layer, energy.topk(round(self.share * rows)).indices)
        return model

    def published(self, base: Base) -> int:
        """Count the elements of A and of the trained rows of B, where K is 1."""
        parts = [base.parts[role] for role in self.targets.roles]
        elements = sum(min(self.r, part.inputs, part.outputs) + round(self.share * part.outputs) for part in parts)
        return (self.targets.last or base.layers) * self.rank * elements


def adamss_config(
    given: Preparation, *, r: int, K: int, targets: Targets, rank: int = 1, asa: Any = None
) -> AdamssConfig:
    ramp = {}
    if asa:
        begin, end = given.steps // 8, given.steps // 2
        ramp = {"use_asa": True, "init_warmup": begin, "final_warmup": end, "mask_interval": max(1, (end - begin) // 8)}
    fields = {**_common(given.base), **ramp, **(asa or {})}
    pattern = targets.pattern(given.base)
    return AdamssConfig(r=r, num_subspaces=K, subspace_rank=rank, target_modules=pattern, **fields)


def _common(base: Base) -> dict[str, Any]:
    return {"task_type": base.task_type, "modules_to_save": base.saved}


# --- what the data say before training --------------------------------------------------------------------------------


def calibration_batches(given: Preparation) -> list[tuple[dict[str, Any], Tensor]]:
    generator = torch.Generator().manual_seed(given.seed)
    drawn = torch.randperm(len(given.rows), generator=generator)[: given.base.calibration_rows].tolist()
    return [(inputs, targets) for inputs, targets, _ in batches(given.rows.some(drawn), given.seed, given.device)]


def calibrate(model: Any, given: Preparation, basis: Any) -> None:
    """Take the basis from calibration rows, below a head that was trained on them for one pass."""
    model.to(given.device).eval()
    with warm_head(model, given), Calibration(model, basis, seed=given.seed) as calibration:
        for inputs, targets in calibration_batches(given):
            with torch.set_grad_enabled(basis == "gradient"):
                loss = given.task.goal.loss(given.base.read(model, inputs), targets)
            if basis == "gradient":
                loss.backward()
    calibration.apply()


class warm_head:
    """Context manager in which the head, if any, is trained for one pass; its start is put back."""

    def __init__(self, model: nn.Module, given: Preparation) -> None:
        self._model, self._given = model, given
        self._head = [p for name, p in model.named_parameters() if "classifier" in name and p.requires_grad]
        self._before = [parameter.detach().clone() for parameter in self._head]

    def __enter__(self) -> None:
        if not self._head:
            return
        optimizer = torch.optim.Adam(self._head, lr=1e-2)
        for inputs, targets in calibration_batches(self._given):
            self._given.task.goal.loss(self._given.base.read(self._model, inputs), targets).backward()
            optimizer.step()
            self._model.zero_grad(set_to_none=True)

    def __exit__(self, *_: object) -> None:
        for parameter, value in zip(self._head, self._before, strict=True):
            parameter.data.copy_(value)


def target_gradients(given: Preparation, pattern: str) -> dict[str, Tensor]:
    """Return module -> gradient of the loss over the calibration rows by its weight, (out, in)."""
    model = given.model.to(given.device).eval()
    with warm_head(model, given):
        for inputs, wanted in calibration_batches(given):
            given.task.goal.loss(given.base.read(model, inputs), wanted).backward()
        found = {
            name: module.weight.grad.detach().clone()
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and module.weight.grad is not None and re.fullmatch(pattern, name)
        }
        model.zero_grad(set_to_none=True)
    return found


def freeze_rows(layer: Any, kept: Tensor) -> None:
    """Keep B at zero but for the kept rows; K is 1, so that packed B is in the order of the rows."""
    b = layer.adamss_B["default"]
    rows = layer.base_layer.weight.shape[0]
    mask = torch.zeros(rows).index_fill(0, kept, 1).to(b.device, b.dtype).repeat_interleave(b.numel() // rows)
    b.register_hook(lambda grad: grad * mask.to(grad.device))


# --- the field --------------------------------------------------------------------------------------------------------


def _lora(name: str, targets: Targets = Targets(), *bases: Base, rank: int = 1, **fields: Any) -> Contender:
    family = "LoRA" if rank == 1 else "reference"
    return Contender(name, family, lora(rank, targets, **fields), "LoRA", bases=bases or (ENCODER,))


def _ours(name: str, family: str, *bases: Base, **fields: Any) -> Contender:
    ours = Ours(**fields)
    published = ours.published if ours.share < 1 else None
    return Contender(name, family, ours, "AdaMSS", published, bases or (ENCODER,))


ALL = (ENCODER, VISION, DECODER)
SMALL = (ENCODER, VISION)  # models 384 wide
LAST = {count: Targets(last=count) for count in (2, 3, 4, 6, 8, 10, 15, 20)}
FFN = {count: Targets(("FFN out",), count) for count in (2, 3, 6)}
BOTH = Targets(("value", "FFN out"))
HALF = {"share": 0.5}
CONTENDERS = {
    one.name: one
    for one in (
        Contender("untrained", "reference", _head_only, "none", bases=(DECODER,)),
        Contender("head only", "reference", _head_only, "none", bases=SMALL),
        Contender("full fine-tuning", "reference", _all, "full", bases=SMALL),
        _lora("LoRA r=8", Targets(), *SMALL, rank=8),
        _lora("LoRA r=1", Targets(), *ALL),
        _lora("LoRA r=1, A from gradient", from_gradient=True),
        _lora("LoRA r=1, last 20 layers", LAST[20], DECODER),
        _lora("LoRA r=1, last 15 layers", LAST[15], DECODER),
        _lora("LoRA r=1, last 10 layers", LAST[10], DECODER),
        _lora("LoRA r=1, last 8 layers", LAST[8], VISION),
        _lora("LoRA r=1, last 6 layers", LAST[6], VISION),
        _lora("LoRA r=1, last 4 layers", LAST[4], *SMALL),
        _lora("LoRA r=1, value", Targets(("value",))),
        _lora("LoRA r=1, last 3 layers", LAST[3]),
        _lora("LoRA r=1, last 2 layers", LAST[2]),
        _lora("LoRA r=1, FFN out, last 3 layers", FFN[3]),
        _lora("LoRA r=1, FFN out, last 2 layers", FFN[2]),
        Contender("PEFT AdaMSS r=100 K=10", "weights", stock, "AdaMSS", bases=ALL),
        _ours("weights r=384", "weights", r=384),
        _ours("weights r=128", "weights", *SMALL, r=128),
        _ours("inputs r=128", "inputs", *SMALL, r=128, basis="inputs"),
        _ours("inputs r=192", "inputs", DECODER, r=192, basis="inputs"),
        _ours("gradient r=128", "gradient", r=128, basis="gradient"),
        _ours("gradient r=192", "gradient", r=192, basis="gradient"),
        _ours("inputs r=192, half the rows", "inputs", r=192, basis="inputs", **HALF),
        _ours(
            "inputs r=192, random half of the rows", "inputs", VISION, r=192, basis="inputs", chosen="random", **HALF
        ),
        _ours(
            "inputs r=288, random half of the rows", "inputs", DECODER, r=288, basis="inputs", chosen="random", **HALF
        ),
        _ours("inputs r=128, last 6 layers", "inputs", VISION, r=128, basis="inputs", targets=LAST[6]),
        _ours("inputs r=192, last 15 layers", "inputs", DECODER, r=192, basis="inputs", targets=LAST[15]),
        _ours("gradient r=192, half the rows", "gradient", r=192, basis="gradient", **HALF),
        _ours("gradient r=192, random rows", "control", r=192, basis="gradient", chosen="random", **HALF),
        _ours("gradient r=64, half the rows", "gradient", r=64, basis="gradient", **HALF),
        _ours("gradient r=384, last 3 layers", "gradient", r=384, basis="gradient", targets=LAST[3]),
        _ours("gradient r=128, last 3 layers", "gradient", r=128, basis="gradient", targets=LAST[3]),
        _ours("gradient r=128, value and FFN out", "gradient", r=128, basis="gradient", targets=BOTH),
        _ours(
            "gradient r=192, value and FFN out, half the rows",
            "gradient",
            r=192,
            basis="gradient",
            targets=BOTH,
            **HALF,
        ),
        _ours("gradient r=384, FFN out", "gradient", r=384, basis="gradient", targets=FFN[6]),
        _ours("inputs r=384, FFN out", "inputs", r=384, basis="inputs", targets=FFN[6]),
        _ours("weights r=384, FFN out", "weights", r=384, targets=FFN[6]),
        _ours("gradient r=128, FFN out", "gradient", r=128, basis="gradient", targets=FFN[6]),
        _ours("gradient r=128 K=4, ASA to half", "ASA", r=128, K=4, basis="gradient", asa={"asa_target_subspaces": 24}),
    )
}


def field_of(task: Task) -> list[str]:
    """Return the names of the contenders that take part in a task."""
    return [name for name, contender in CONTENDERS.items() if task.base in contender.bases]
