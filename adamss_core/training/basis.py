"""Take the basis of a fresh adapter, and the rows that it trains, from training rows, where the job asks for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from adamss_core.calibration import Calibration
from adamss_core.inspection import head_modules
from adamss_core.spec.calibration_plan import CalibrationPlan, plan_calibration
from adamss_core.training.errors import is_out_of_memory
from adamss_core.training.idle_targets import check_loss
from adamss_core.training.setup import Setup

HEAD_RATE = 1e-2  # one pass with it turns a random head enough that the gradient below points somewhere
LISTED = 100  # modules that the event names


def calibrate_basis(setup: Setup, model: PeftModel) -> dict[str, Any] | None:
    """Take basis and trained rows of the adapter from training rows, and report them and the cost.

    Args:
        model: with a fresh adapter; moved to the run's device.

    Returns:
        basis, row_share, rows, seconds and expected share of the run; None where nothing is taken from the rows.

    Raises:
        TrainingError: target_without_effect.
        CalibrationError: gradients or inputs are not finite.
    """
    plan = plan_calibration(setup.plan, len(setup.train), setup.accelerator.num_processes)
    if plan is None:
        return None
    begun = time.monotonic()
    if setup.training.quantization is None:  # else it is in place
        model.to(setup.accelerator.device)
    with _evaluating(model):
        kept = _within_memory(setup, model, _rows(setup, plan))
    facts = {
        "basis": setup.plan.spec.adamss.basis,
        "row_share": setup.plan.spec.adamss.row_share,
        "rows": plan.rows,
        "seconds": time.monotonic() - begun,
        "share": plan.share,
    }
    _report(setup, facts, kept)
    return facts


def _rows(setup: Setup, plan: CalibrationPlan) -> list[int]:
    """Return positions of training rows, drawn by the seed and sorted by length, so that little is padded."""
    generator = torch.Generator().manual_seed(setup.training.seed)
    drawn = torch.randperm(len(setup.train), generator=generator)[: plan.rows]
    return drawn[torch.argsort(setup.train.lengths[drawn], stable=True)].tolist()


@contextmanager
def _evaluating(model: PeftModel) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _within_memory(setup: Setup, model: PeftModel, rows: list[int]) -> list[str]:
    """Calibrate with the batches of a step; where memory runs out, anew with half of them."""
    size = setup.training.batch_size
    while True:
        try:
            return _calibrated(setup, model, [rows[start : start + size] for start in range(0, len(rows), size)])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or size == 1:
                raise
        # Outside of the except block, whose traceback keeps the failed attempt's tensors.
        if setup.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        size = -(-size // 2)


def _calibrated(setup: Setup, model: PeftModel, batches: list[list[int]]) -> list[str]:
    """Let the batches pass the model, and shape the adapter by them; return the modules that no row reached."""
    adamss, seed = setup.plan.spec.adamss, setup.training.seed
    calibration = Calibration(model, adamss.basis, setup.name, row_share=adamss.row_share, seed=seed)
    backward = calibration.needs_backward
    with _warm_head(setup, model, batches) if backward else nullcontext():
        with calibration:
            for batch in batches:
                setup.reporter.stop_requested()  # as a silent process would be taken for a hanging one
                with torch.set_grad_enabled(backward):
                    loss = _loss(setup, model, batch)
                if backward:
                    check_loss(loss, model, setup.name)
                    loss.backward()
        return calibration.apply()


@contextmanager
def _warm_head(setup: Setup, model: PeftModel, batches: list[list[int]]) -> Iterator[None]:
    """Train the head alone for one pass, and put its start back afterwards.

    Gradients below a random head point in random directions.
    """
    head = _head(model) if setup.task.record.trains_head else []
    before = [parameter.detach().clone() for parameter in head]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    own = {id(parameter) for parameter in head}
    for parameter in trained:
        parameter.requires_grad_(id(parameter) in own)
    try:
        if head:
            _train(setup, model, head, batches)
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(head, before, strict=True):
                parameter.copy_(value)
        for parameter in trained:
            parameter.requires_grad_(True)


def _train(setup: Setup, model: PeftModel, head: list[nn.Parameter], batches: list[list[int]]) -> None:
    optimizer = torch.optim.Adam(head, lr=HEAD_RATE)
    for batch in batches:
        setup.reporter.stop_requested()
        _loss(setup, model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()


def _head(model: PeftModel) -> list[nn.Parameter]:
    """Return the trained parameters of the head, those of the adapter apart."""
    names = tuple(f"{name}." for name in head_modules(model.get_base_model()))
    return [
        parameter
        for name, parameter in model.get_base_model().named_parameters()
        if parameter.requires_grad and name.startswith(names) and ".adamss_" not in name
    ]


def _loss(setup: Setup, model: PeftModel, rows: list[int]) -> Tensor:
    """Return the sum of the rows' losses, (); in fp32 where gradients of fp16 would have to be scaled."""
    inputs, targets = setup.training_collate(setup.train, rows)
    with nullcontext() if setup.accelerator.scaler is not None else setup.accelerator.autocast():
        outputs = model(**inputs)
    return setup.training_losses(outputs, targets).sum()


def _report(setup: Setup, facts: dict[str, Any], kept: list[str]) -> None:
    parts = {
        "weights": [],
        "inputs": ["the basis comes from the inputs of its modules"],
        "gradient": ["the basis comes from the loss gradients of its modules"],
    }[facts["basis"]]
    if facts["row_share"] < 1:
        parts.append(f"{facts['row_share']:.0%} of each module's rows are trained, those with the largest gradient")
    message = (
        f"The adapter was shaped by {facts['rows']} training rows: {'; '.join(parts)}. "
        f"It took {facts['seconds']:.1f} s, about {facts['share']:.1%} of the time of all steps."
    )
    if kept:
        message += f" {len(kept)} modules stay as they were, as no row reached them."
    setup.reporter.event("adapter_calibrated", message, facts | {"kept": kept[:LISTED], "kept_count": len(kept)})
