"""Take the basis of a fresh adapter, and the rows that it trains, from training rows, where the job asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from statistics import median
from typing import Any, TypeVar

import torch
from peft import PeftModel
from torch import Tensor, nn

from adamss_core.calibration import Calibration
from adamss_core.inspection import head_modules
from adamss_core.spec.calibration_plan import plan_calibration
from adamss_core.training.errors import is_out_of_memory
from adamss_core.training.idle_targets import check_loss
from adamss_core.training.phases import enter_phase
from adamss_core.training.setup import Setup

HEAD_RATE = 1e-2  # one pass with it turns a random head enough that the gradient below points somewhere
LISTED = 100  # modules that the event names
T = TypeVar("T")


def calibrate_basis(setup: Setup, model: PeftModel) -> dict[str, Any] | None:
    """Take basis and trained rows of the adapter from training rows, and report them and the cost.

    Args:
        model: with a fresh adapter; moved to the run's device.

    Returns:
        basis, row_share, rows, seconds, expected share of the run, and `caught`: least and median share of the energy
        that the modules' bases catch, None where it is not known. None where nothing is taken from the rows.

    Raises:
        TrainingError: target_without_effect.
        CalibrationError: gradients or inputs are not finite.
    """
    plan = plan_calibration(setup.plan, len(setup.train), setup.ranks.size)
    if plan is None:
        return None
    enter_phase(setup.reporter, "calibrating")
    begun = time.monotonic()
    if setup.training.quantization is None:  # else it is in place
        model.to(setup.accelerator.device)
    with evaluating(model):
        rows = draw_rows(setup, plan.rows)
        kept, caught = within_memory(setup, rows, lambda batches: _calibrated(setup, model, batches))
    shares = sorted(share for share in caught.values() if share is not None)
    facts = {
        "basis": setup.plan.spec.adamss.basis,
        "row_share": setup.plan.spec.adamss.row_share,
        "rows": plan.rows,
        "seconds": time.monotonic() - begun,
        "share": plan.share,
        "caught": {"least": shares[0], "median": median(shares)} if shares else None,
    }
    _report(setup, facts, kept, caught)
    return facts


def draw_rows(setup: Setup, count: int) -> list[int]:
    """Return positions of training rows, drawn by the seed and sorted by length, so that little is padded."""
    generator = torch.Generator().manual_seed(setup.training.seed)
    drawn = torch.randperm(len(setup.train), generator=generator)[:count]
    return drawn[torch.argsort(setup.train.lengths[drawn], stable=True)].tolist()


@contextmanager
def evaluating(model: PeftModel) -> Iterator[None]:
    """Keep a model in evaluation mode, so that dropout hides nothing."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def within_memory(setup: Setup, rows: list[int], work: Callable[[list[list[int]]], T]) -> T:
    """Do work with the batches of a step; where memory runs out, anew with half of them."""
    size = setup.training.batch_size
    while True:
        try:
            return work([rows[start : start + size] for start in range(0, len(rows), size)])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or size == 1 or setup.ranks.in_step:
                raise
        # Outside of the except block, whose traceback keeps the failed attempt's tensors.
        if setup.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        size = -(-size // 2)


def _calibrated(setup: Setup, model: PeftModel, batches: list[list[int]]) -> tuple[list[str], dict[str, float | None]]:
    """Let the batches pass the model, and shape the adapter by them.

    Returns:
        The modules that no row reached, and the share of the energy that each other's basis catches.
    """
    adamss, seed = setup.plan.spec.adamss, setup.training.seed
    calibration = Calibration(model, adamss.basis, setup.name, row_share=adamss.row_share, seed=seed)
    backward = calibration.needs_backward
    with warm_head(setup, model, batches) if backward else nullcontext():
        with calibration:
            for batch in batches:
                setup.reporter.stop_requested()  # as a silent process would be taken for a hanging one
                pass_rows(setup, model, batch, backward=backward)
        return calibration.apply(), calibration.caught


def pass_rows(setup: Setup, model: PeftModel, rows: list[int], *, backward: bool = True) -> None:
    """Let rows pass a model whose layers are watched."""
    with torch.set_grad_enabled(backward):
        loss = _loss(setup, model, rows)
    if backward:
        check_loss(loss, model, setup.name)
        loss.backward()


@contextmanager
def warm_head(setup: Setup, model: PeftModel, batches: list[list[int]]) -> Iterator[None]:
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


def _report(setup: Setup, facts: dict[str, Any], kept: list[str], caught: dict[str, float | None]) -> None:
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
    if facts["caught"]:
        message += f" The bases catch {facts['caught']['median']:.0%} of these rows' energy in the median module."
    if kept:
        message += f" {len(kept)} modules stay as they were, as no row reached them."
    modules = {"kept": kept[:LISTED], "kept_count": len(kept), "modules": dict(list(caught.items())[:LISTED])}
    setup.reporter.event("adapter_calibrated", message, facts | modules)
