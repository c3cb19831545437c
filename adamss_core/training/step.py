"""Make one optimizer step: micro-batches, gradients, clipping, update."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from adamss_core.failpoints import failpoint
from adamss_core.training.errors import TrainingError, is_out_of_memory
from adamss_core.training.idle_targets import check_loss
from adamss_core.training.prefetch import Prefetch
from adamss_core.training.progress import Progress
from adamss_core.training.ranks.gradients import add_gradients
from adamss_core.training.ranks.shares import shares_by_cost
from adamss_core.training.setup import Setup

CHECK_EVERY = 2  # steps between checks of the loss; on a GPU each check waits for the device


@dataclass(frozen=True)
class StepOutcome:
    """Measurements of one step.

    Attributes:
        loss: mean over the step's loss terms, () on the device: one term per row, or per trained token.
        grad_norm: L2 norm of all gradients before clipping, ().
        learning_rate: of A and B in this step.
        loss_terms: number of loss terms.
        rows, tokens: over all processes.
    """

    loss: Tensor
    grad_norm: Tensor
    learning_rate: float
    loss_terms: int
    rows: int
    tokens: int

    def finite_grad_norm(self) -> float | None:
        """Return the gradient norm, or None where it is not finite."""
        value = float(self.grad_norm)
        return value if math.isfinite(value) else None


class OptimizerStep:
    """Callable that updates the parameters on given rows. Gradients stay for ASA; the caller clears them."""

    def __init__(self, setup: Setup, model: nn.Module, optimizer: AcceleratedOptimizer, schedule: LRScheduler) -> None:
        self.setup, self.model, self.optimizer, self.schedule = setup, model, optimizer, schedule
        self.device = setup.accelerator.device
        self.batches = Prefetch(setup.training_collate, setup.train, setup.training.dataloader_workers)
        self._upcoming: list[int] = []
        self._unchecked: list[Tensor] = []

    def close(self) -> None:
        """Stop prefetching."""
        self.batches.close()

    def __call__(self, rows: list[int], upcoming: list[int], progress: Progress) -> StepOutcome:
        """Make a step.

        Args:
            rows: of this step, over all processes.
            upcoming: rows of the step after this one, to be collated ahead.
            progress: its micro-batch is halved where memory runs out.

        Raises:
            TrainingError: nan_loss, target_without_effect. Torch's own error is raised where memory does not suffice
            for a single row.
        """
        self._upcoming = upcoming
        loss = self._gradients_within_memory(rows, progress)
        if failpoint("loss"):
            loss = loss * math.nan
        accelerator = self.setup.accelerator
        limit = self.setup.training.max_grad_norm
        norm = accelerator.clip_grad_norm_(self._trained(), math.inf if limit is None else limit)
        self._check_finite(loss, norm, progress.step + 1)
        rate = float(self.optimizer.param_groups[0]["lr"])
        self.optimizer.step()
        if not self.optimizer.step_was_skipped:
            self.schedule.step()
        train = self.setup.train
        loss_terms, tokens = int(train.loss_terms[rows].sum()), int(train.lengths[rows].sum())
        return StepOutcome(loss, norm, rate, loss_terms, len(rows), tokens)

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _gradients_within_memory(self, rows: list[int], progress: Progress) -> Tensor:
        """Compute gradients; where memory runs out, again with half as many rows at a time: their sum is the same.

        Where it runs out in one process, all halve theirs together.
        """
        while True:
            share: Tensor | None = None
            try:
                failpoint("gradients")
                share = self._gradients(rows, progress.micro_batch)
            except (RuntimeError, MemoryError) as error:
                # Others of a divided base are in the middle of a pass that this process cannot end with them.
                if not is_out_of_memory(error) or self.setup.ranks.in_step or self._rows_at_once(rows, progress) == 1:
                    raise
            # Outside of the except block, whose traceback keeps the failed attempt's tensors.
            loss = add_gradients(self.setup.ranks, self._trained(), share)
            if loss is not None:
                return loss
            self.optimizer.zero_grad()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            progress.micro_batch = -(-self._rows_at_once(rows, progress) // 2)
            self.setup.reporter.event(
                "micro_batch_halved",
                f"Memory ran out; rows now go through the model {progress.micro_batch} at a time. The effective batch "
                "stays as it is.",
                {"micro_batch": progress.micro_batch, "step": progress.step + 1},
            )

    def _rows_at_once(self, rows: list[int], progress: Progress) -> int:
        """Return the most rows that go through the model at a time, in any process: a share may be a part of a
        micro-batch."""
        return min(progress.micro_batch, max(map(len, self._shares(rows))))

    def _gradients(self, rows: list[int], micro_batch: int) -> Tensor:
        """Return this process's share of the mean loss over all terms, (); leave its gradients in the parameters."""
        accelerator = self.setup.accelerator
        pieces, idle = self._pieces(rows, micro_batch)
        later, _ = self._pieces(self._upcoming, micro_batch)
        total = torch.zeros((), device=self.device)
        loss_terms = max(1, int(self.setup.train.loss_terms[rows].sum()))
        for number, piece in enumerate(pieces):
            self.batches.expect([*pieces[number:], *later])
            inputs, targets = self.batches(piece)
            with accelerator.autocast():
                outputs = self.model(**inputs)
            counts = number < len(pieces) - idle
            loss = self.setup.training_losses(outputs, targets).sum() * (counts / loss_terms)
            check_loss(loss, self.model, self.setup.name)
            accelerator.backward(loss)
            total += loss.detach()
        return total

    def _pieces(self, rows: list[int], micro_batch: int) -> tuple[list[list[int]], int]:
        """Cut this process's rows of a step, and return the number of pieces at the end that do not count.

        Where a forward pass takes all processes, all make as many: a piece that does not count is a single row.
        """
        ranks, shares = self.setup.ranks, self._shares(rows)
        own = _cut(shares[ranks.rank], micro_batch)
        idle = max(-(-len(share) // micro_batch) for share in shares) - len(own) if ranks.in_step else 0
        return [*own, *([rows[-1]] for _ in range(idle))], idle

    def _shares(self, rows: list[int]) -> list[list[int]]:
        setup = self.setup
        return shares_by_cost(rows, setup.train.lengths, setup.ranks.size, packs=setup.packs)

    def _check_finite(self, loss: Tensor, norm: Tensor, step: int) -> None:
        """Check before the update, so that a CPU run's parameters stay valid.

        Under fp16 gradients may overflow: the scaler skips their step.
        """
        scaled = self.setup.accelerator.scaler is not None
        self._unchecked.append(loss if scaled else loss + norm.to(loss.device))
        if self.device.type == "cpu" or step % CHECK_EVERY == 0:
            self.require_finite(step)

    def require_finite(self, step: int) -> None:
        """Check the losses of all unchecked steps up to `step`.

        Raises:
            TrainingError: nan_loss.
        """
        if not self._unchecked:
            return
        finite = [bool(value) for value in torch.isfinite(torch.stack(self._unchecked)).tolist()]
        self._unchecked.clear()
        if all(finite):
            return
        first = step - len(finite) + 1 + finite.index(False)
        raise TrainingError(
            "nan_loss",
            f"The loss became NaN or infinite at step {first}.",
            hint="Lower training.learning_rate and training.head_learning_rate, or train longer with a larger "
            "training.warmup_ratio; with precision fp16, use bf16 or fp32.",
            where=f"step {first}",
        )


def _cut(rows: list[int], size: int) -> list[list[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
