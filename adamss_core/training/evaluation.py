"""Predictions over the whole evaluation set, and what they are worth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional as F

from adamss_core.training.batches import Collate, Encoded


@dataclass(frozen=True)
class Evaluation:
    """loss is the mean cross-entropy in nats; accuracy and macro_f1 are shares of one."""

    loss: float
    accuracy: float
    macro_f1: float

    @property
    def values(self) -> dict[str, float | int | None]:
        return {"eval_loss": self.loss, "eval_accuracy": self.accuracy, "eval_macro_f1": self.macro_f1}


def evaluate(
    model: nn.Module, data: Encoded, collate: Collate, batch_size: int, accelerator: Accelerator
) -> Evaluation:
    """Every process predicts its share; all of them see the result for all rows."""
    logits, labels = predict(model, data, collate, batch_size, accelerator)
    return Evaluation(float(F.cross_entropy(logits, labels)), *scores(logits.argmax(1), labels))


def scores(predicted: Tensor, labels: Tensor) -> tuple[float, float]:
    """Accuracy, and the F1 score as a plain mean over the classes that occur."""
    macro = f1_score(labels.numpy(), predicted.numpy(), average="macro", zero_division=0.0)
    return float((predicted == labels).double().mean()), float(macro)


def majority_baseline(train: Tensor, evaluation: Tensor) -> dict[str, float | int]:
    """What always answering the most frequent training class would reach on the evaluation rows."""
    most = int(torch.bincount(train).argmax())
    accuracy, macro = scores(torch.full_like(evaluation, most), evaluation)
    return {"class_id": most, "accuracy": accuracy, "macro_f1": macro}


@torch.inference_mode()
def predict(
    model: nn.Module, data: Encoded, collate: Collate, batch_size: int, accelerator: Accelerator
) -> tuple[Tensor, Tensor]:
    """Logits (n, classes) in fp32 and labels (n,), on the CPU, sorted by length."""
    was_training = model.training
    model.eval()
    order = torch.argsort(data.lengths, descending=True, stable=True).tolist()
    mine = order[accelerator.process_index :: accelerator.num_processes]
    logits, labels = [], []
    for start in range(0, len(mine), batch_size):
        inputs, target = collate(data, mine[start : start + batch_size])
        with accelerator.autocast():
            logits.append(model(**inputs).logits.float())
        labels.append(target)
    model.train(was_training)
    return _gathered(accelerator, torch.cat(logits)), _gathered(accelerator, torch.cat(labels))


def _gathered(accelerator: Accelerator, value: Tensor) -> Tensor:
    """Rows of all processes, whose shares may differ by one row."""
    if accelerator.num_processes == 1:
        return value.cpu()
    sizes = accelerator.gather(torch.tensor([len(value)], device=value.device)).tolist()
    padded = accelerator.pad_across_processes(value, dim=0)
    parts = accelerator.gather(padded).split(int(padded.shape[0]))
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]).cpu()
