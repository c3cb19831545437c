"""The contenders: what is trained of the encoder, and the rates to choose from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import AdamssConfig, LoraConfig, get_peft_model
from torch import Tensor, nn

from adamss_core import Calibration, get_adamss_model
from benchmarks.quality.data import Rows, Task, batches

LAYERS, WIDTH = 6, 384
FULL = 9_216  # elements of LoRA r=1 on query and value
LORA_RATES, ADAMSS_RATES = (4e-3, 1e-2, 2.5e-2), (5e-3, 1e-2, 2e-2)
CALIBRATION_ROWS = 256
QUERY, VALUE, OUTPUT, FFN_OUT = "attention.self.query", "attention.self.value", "attention.output.dense", "output.dense"
QUERY_VALUE = (QUERY, VALUE)
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Preparation:
    """What a contender is made from.

    Attributes:
        steps: optimizer steps to come.
        loss: of outputs (n, outputs) and targets (n,), the mean.
    """

    encoder: nn.Module
    task: Task
    rows: Rows
    steps: int
    loss: Loss
    seed: int
    device: torch.device


@dataclass(frozen=True)
class Contender:
    """One way to train.

    Attributes:
        family: of the table.
        make: from a preparation to the model that is trained.
        rates: of the adapter, to choose from.
        published: elements of A and B in the published delta; None counts those that are trained.
    """

    name: str
    family: str
    make: Callable[[Preparation], nn.Module]
    rates: Sequence[float]
    published: int | None = None


def within(names: Sequence[str], layers: int = LAYERS) -> str:
    """Return the expression of the modules of these names in so many last layers."""
    numbers = "|".join(str(i) for i in range(LAYERS - layers, LAYERS))
    paths = "|".join(name.replace(".", r"\.") for name in names)
    return rf".*encoder\.layer\.({numbers})\.({paths})"


def _head_only(given: Preparation) -> nn.Module:
    for name, parameter in given.encoder.named_parameters():
        parameter.requires_grad_(name.startswith("classifier"))
    return given.encoder


def _all(given: Preparation) -> nn.Module:
    return given.encoder


def lora(
    rank: int, targets: str = within(QUERY_VALUE), *, from_gradient: bool = False
) -> Callable[[Preparation], nn.Module]:
    def make(given: Preparation) -> nn.Module:
        gradients = target_gradients(given, targets) if from_gradient else {}
        config: Any = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, task_type="SEQ_CLS")
        model = get_peft_model(given.encoder, config)
        for name, module in model.named_modules():
            if (gradient := gradients.get(name.removeprefix("base_model.model."))) is not None:
                layer: Any = module
                direction = torch.linalg.svd(gradient)[2][:rank]
                weight = layer.lora_A["default"].weight
                weight.data.copy_(direction * weight.norm() / rank**0.5)
        return model

    return make


def stock(given: Preparation) -> nn.Module:
    return get_peft_model(given.encoder, adamss_config(given, r=100, K=10, targets=within(QUERY_VALUE)))


@dataclass(frozen=True)
class Ours:
    """AdaMSS of this project."""

    r: int
    basis: str = "weights"
    K: int = 1
    rank: int = 1
    targets: str = within(QUERY_VALUE)
    share: float = 1.0  # of the rows that are trained
    chosen: str = "gradient"  # by what: gradient, or random as the control
    asa: dict[str, Any] = field(default_factory=dict)

    def __call__(self, given: Preparation) -> nn.Module:
        rows = chosen_rows(given, self.targets, self.share, self.chosen) if self.share < 1 else {}
        config = adamss_config(given, r=self.r, K=self.K, rank=self.rank, targets=self.targets, asa=self.asa)
        model = get_adamss_model(given.encoder, config)
        if self.basis != "weights":
            calibrate(model, given, self.basis)
        for name, layer in model.base_model.adapted_layers("default").items():
            if name in rows:
                freeze_rows(layer, rows[name])
        return model


def adamss_config(given: Preparation, *, r: int, K: int, targets: str, rank: int = 1, asa: Any = None) -> AdamssConfig:
    ramp = {}
    if asa:
        begin, end = given.steps // 8, given.steps // 2
        ramp = {"use_asa": True, "init_warmup": begin, "final_warmup": end, "mask_interval": max(1, (end - begin) // 8)}
    fields = {**ramp, **(asa or {})}
    return AdamssConfig(r=r, num_subspaces=K, subspace_rank=rank, target_modules=targets, task_type="SEQ_CLS", **fields)


# --- what the data say before training --------------------------------------------------------------------------------


def calibration_batches(given: Preparation) -> list[tuple[dict[str, Tensor], Tensor]]:
    generator = torch.Generator().manual_seed(given.seed)
    drawn = torch.randperm(len(given.rows), generator=generator)[:CALIBRATION_ROWS].tolist()
    some = Rows([given.rows.ids[i] for i in drawn], given.rows.targets[drawn])
    return [(inputs, targets) for inputs, targets, _ in batches(some, given.seed, given.device)]


def calibrate(model: Any, given: Preparation, basis: Any) -> None:
    """Take the basis from calibration rows, below a head that was trained on them for one pass."""
    model.to(given.device).eval()
    with warm_head(model, given), Calibration(model, basis, seed=given.seed) as calibration:
        for inputs, targets in calibration_batches(given):
            with torch.set_grad_enabled(basis == "gradient"):
                loss = given.loss(model(**inputs).logits, targets)
            if basis == "gradient":
                loss.backward()
    calibration.apply()


class warm_head:
    """Context manager in which the head is trained for one pass; its start is put back."""

    def __init__(self, model: nn.Module, given: Preparation) -> None:
        self._model, self._given = model, given
        self._head = [p for name, p in model.named_parameters() if "classifier" in name and p.requires_grad]
        self._before = [parameter.detach().clone() for parameter in self._head]

    def __enter__(self) -> None:
        optimizer = torch.optim.Adam(self._head, lr=1e-2)
        for inputs, targets in calibration_batches(self._given):
            self._given.loss(self._model(**inputs).logits, targets).backward()
            optimizer.step()
            self._model.zero_grad(set_to_none=True)

    def __exit__(self, *_: object) -> None:
        for parameter, value in zip(self._head, self._before, strict=True):
            parameter.data.copy_(value)


def target_gradients(given: Preparation, targets: str) -> dict[str, Tensor]:
    """Return module -> gradient of the loss over the calibration rows by its weight, (out, in)."""
    model = given.encoder.to(given.device).eval()
    with warm_head(model, given):
        for inputs, wanted in calibration_batches(given):
            given.loss(model(**inputs).logits, wanted).backward()
        found = {
            name: module.weight.grad.detach().clone()
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and module.weight.grad is not None and re.fullmatch(targets, name)
        }
        model.zero_grad(set_to_none=True)
    return found


def chosen_rows(given: Preparation, targets: str, share: float, by: str) -> dict[str, Tensor]:
    """Return module -> (out,) bool, the rows of B that are trained."""
    generator = torch.Generator().manual_seed(given.seed)
    found = {}
    for name, value in target_gradients(given, targets).items():
        energy = value.square().sum(1).cpu() if by == "gradient" else torch.rand(len(value), generator=generator)
        kept = torch.zeros(len(energy), dtype=torch.bool)
        kept[energy.topk(round(share * len(energy))).indices] = True
        found[name] = kept
    return found


def freeze_rows(layer: Any, kept: Tensor) -> None:
    """Keep B of the other rows at zero; K is 1, so that packed B is in the order of the rows."""
    b = layer.adamss_B["default"]
    mask = kept.to(b.device, b.dtype).repeat_interleave(b.numel() // len(kept))
    b.register_hook(lambda grad: grad * mask.to(grad.device))


# --- the field --------------------------------------------------------------------------------------------------------


def _ours(name: str, family: str, published: int | None = None, **fields: Any) -> Contender:
    return Contender(name, family, Ours(**fields), ADAMSS_RATES, published)


def half(r: int, modules: int = 12, share: float = 0.5) -> int:
    return modules * (r + round(share * WIDTH))


LAST = {count: within(QUERY_VALUE, count) for count in (2, 3, 4)}
FFN = {count: within((FFN_OUT,), count) for count in (2, 3, 6)}
BOTH = within((VALUE, FFN_OUT))
CONTENDERS = {
    one.name: one
    for one in (
        Contender("head only", "reference", _head_only, (0.0,)),
        Contender("full fine-tuning", "reference", _all, (2e-5, 5e-5, 1e-4)),
        Contender("LoRA r=8", "reference", lora(8), LORA_RATES),
        Contender("LoRA r=1", "LoRA", lora(1), LORA_RATES),
        Contender("LoRA r=1, A from gradient", "LoRA", lora(1, from_gradient=True), LORA_RATES),
        Contender("LoRA r=1, last 4 layers", "LoRA", lora(1, LAST[4]), LORA_RATES),
        Contender("LoRA r=1, value", "LoRA", lora(1, within((VALUE,))), LORA_RATES),
        Contender("LoRA r=1, last 3 layers", "LoRA", lora(1, LAST[3]), LORA_RATES),
        Contender("LoRA r=1, last 2 layers", "LoRA", lora(1, LAST[2]), LORA_RATES),
        Contender("LoRA r=1, FFN out, last 3 layers", "LoRA", lora(1, FFN[3]), LORA_RATES),
        Contender("LoRA r=1, FFN out, last 2 layers", "LoRA", lora(1, FFN[2]), LORA_RATES),
        Contender("PEFT AdaMSS r=100 K=10", "weights", stock, ADAMSS_RATES),
        _ours("weights r=384", "weights", r=384),
        _ours("weights r=128", "weights", r=128),
        _ours("inputs r=128", "inputs", r=128, basis="inputs"),
        _ours("gradient r=128", "gradient", r=128, basis="gradient"),
        _ours("gradient r=192", "gradient", r=192, basis="gradient"),
        _ours("inputs r=192, half the rows", "inputs", half(192), r=192, basis="inputs", share=0.5),
        _ours("gradient r=192, half the rows", "gradient", half(192), r=192, basis="gradient", share=0.5),
        _ours("gradient r=192, random rows", "control", half(192), r=192, basis="gradient", share=0.5, chosen="random"),
        _ours("gradient r=64, half the rows", "gradient", half(64), r=64, basis="gradient", share=0.5),
        _ours("gradient r=384, last 3 layers", "gradient", r=384, basis="gradient", targets=LAST[3]),
        _ours("gradient r=128, last 3 layers", "gradient", r=128, basis="gradient", targets=LAST[3]),
        _ours("gradient r=128, value and FFN out", "gradient", r=128, basis="gradient", targets=BOTH),
        _ours(
            "gradient r=192, value and FFN out, half the rows",
            "gradient",
            half(192),
            r=192,
            basis="gradient",
            targets=BOTH,
            share=0.5,
        ),
        _ours("gradient r=384, FFN out", "gradient", r=384, basis="gradient", targets=FFN[6]),
        _ours("inputs r=384, FFN out", "inputs", r=384, basis="inputs", targets=FFN[6]),
        _ours("weights r=384, FFN out", "weights", r=384, targets=FFN[6]),
        _ours("gradient r=128, FFN out", "gradient", r=128, basis="gradient", targets=FFN[6]),
        _ours(
            "gradient r=128 K=4, ASA to half",
            "ASA",
            r=128,
            K=4,
            basis="gradient",
            asa={"asa_target_subspaces": 24},
        ),
    )
}
