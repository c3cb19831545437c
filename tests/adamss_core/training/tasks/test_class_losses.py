"""Weighted and smoothed training losses, against PyTorch's and scikit-learn's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional as F

from adamss_core.training.batches import IGNORED, Encoded
from adamss_core.training.errors import TrainingError
from adamss_core.training.null_reporter import NullReporter
from adamss_core.training.run import run
from adamss_core.training.tasks import task_of
from tests.adamss_core.training.support import Recorder, request, texts
from tests.adamss_core.training.tasks.support import task_job

CPU = torch.device("cpu")
TEXTS, TAGS, IMAGES = "text-classification", "token-classification", "image-classification"
SETS = "multi_label_classification"
CLASSES = ["a", "b", "c"]
LOGITS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
IDS = torch.tensor([0, 0, 0, 0, 1, 1, 2])


def encoded(targets: Any) -> Encoded:
    ones = torch.ones(len(targets), dtype=torch.int64)
    return Encoded([{}] * len(targets), targets, ones, ones)


def trained(task: str, training: dict[str, Any], logits: Tensor, targets: Any, **fields: Any) -> tuple[Tensor, Tensor]:
    """The losses of training and of evaluations, where all targets are trained on."""
    half = task_of(task_job(task, training=training, **fields))
    outputs = SimpleNamespace(logits=logits)
    batch = torch.from_numpy(np.array(targets)) if isinstance(targets, list) else targets
    losses = half.training_losses(encoded(targets), CLASSES, CPU, NullReporter())
    return losses(outputs, batch), half.losses(outputs, batch)


@pytest.mark.parametrize("task", [TEXTS, IMAGES])
@pytest.mark.parametrize("wanted", ["balanced", {"a": 0.5, "c": 3.0}])
def test_classes_are_weighted(task: str, wanted: Any) -> None:
    weights = [0.5, 1.0, 3.0]
    if wanted == "balanced":
        weights = compute_class_weight("balanced", classes=np.arange(3), y=IDS.numpy()).tolist()
    losses, plain = trained(task, {"class_weights": wanted}, LOGITS, IDS)
    torch.testing.assert_close(losses, F.cross_entropy(LOGITS, IDS, torch.tensor(weights).float(), reduction="none"))
    torch.testing.assert_close(plain, F.cross_entropy(LOGITS, IDS, reduction="none"))


def test_labels_are_smoothed() -> None:
    losses, plain = trained(TEXTS, {"label_smoothing": 0.1}, LOGITS, IDS)
    torch.testing.assert_close(losses, F.cross_entropy(LOGITS, IDS, reduction="none", label_smoothing=0.1))
    torch.testing.assert_close(plain, F.cross_entropy(LOGITS, IDS, reduction="none"))
    both, _ = trained(TEXTS, {"label_smoothing": 0.1, "class_weights": {"b": 2.0}}, LOGITS, IDS)
    torch.testing.assert_close(both, losses * torch.tensor([1.0, 2.0, 1.0])[IDS])


def test_a_job_without_either_trains_on_the_plain_loss() -> None:
    for task, logits, targets in ((TEXTS, LOGITS, IDS), (TAGS, LOGITS[None], [IDS.numpy()])):
        losses, plain = trained(task, {}, logits, targets)
        assert torch.equal(losses, plain)


def test_tags_are_weighted_by_word() -> None:
    tags = torch.tensor([[0, 0, IGNORED], [0, 1, 2]])
    logits = LOGITS[:6].reshape(2, 3, 3)
    losses, plain = trained(TAGS, {"class_weights": "balanced", "label_smoothing": 0.2}, logits, list(tags.numpy()))
    weights = torch.tensor([5 / 9, 5 / 3, 5 / 3])
    each = F.cross_entropy(logits.transpose(1, 2), tags, reduction="none", label_smoothing=0.2)
    torch.testing.assert_close(losses, (each * weights[tags.clamp(min=0)]).sum(1))
    torch.testing.assert_close(plain, F.cross_entropy(logits.transpose(1, 2), tags, reduction="none").sum(1))


def test_sets_of_classes_are_weighted_within_each_class() -> None:
    targets = torch.tensor([[1.0, 0.0, 0.0]] * 3 + [[0.0, 1.0, 0.0]])
    logits = LOGITS[:4]
    losses, plain = trained(TEXTS, {"class_weights": "balanced"}, logits, targets, problem_type=SETS)
    having, lacking = torch.tensor([4 / 6, 2.0, 1.0]), torch.tensor([2.0, 4 / 6, 0.5])
    each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    torch.testing.assert_close(losses, (each * torch.where(targets > 0, having, lacking)).mean(1))
    torch.testing.assert_close(plain, each.mean(1))
    named, _ = trained(TEXTS, {"class_weights": {"a": 3.0}}, logits, targets, problem_type=SETS)
    torch.testing.assert_close(named, (each * torch.tensor([3.0, 1.0, 1.0])).mean(1))
    smooth, _ = trained(TEXTS, {"label_smoothing": 0.2}, logits, targets, problem_type=SETS)
    expected = F.binary_cross_entropy_with_logits(logits, targets * 0.8 + 0.1, reduction="none").mean(1)
    torch.testing.assert_close(smooth, expected)


def test_a_name_that_no_class_has_is_refused() -> None:
    with pytest.raises(TrainingError, match="'z', which is given a weight") as caught:
        trained(TEXTS, {"class_weights": {"a": 1.0, "z": 2.0}}, LOGITS, IDS)
    assert caught.value.where == "training.class_weights"


@pytest.mark.slow
def test_a_run_reports_its_weights_and_evaluates_without_them(model: Path, tmp_path: Path) -> None:
    rows = texts(100, labels=(0, 1))
    training = {"max_steps": 2, "class_weights": {"1": 100.0, "0": 0.01}, "label_smoothing": 0.1}
    spec = task_job(TEXTS, training=training | {"logging_steps": 1}, artifacts=["adapter"])
    recorder = Recorder()
    result = run(request(model, tmp_path, rows, spec=spec), recorder).result
    facts = next(data for name, _, data in recorder.events if name == "class_weights")
    assert facts["weights"] == {"0": pytest.approx(0.01), "1": 100.0}
    assert (recorder.of("train")[1]["loss"] or 0) > 20 > result["eval_loss"]
