"""Each kind of job in two processes: the losses and metrics of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adamss_core.spec import JobSpec
from tests.adamss_core.training.chats import build_llama, chats, completions, generation_job
from tests.adamss_core.training.ranks.processes import Ended, ran
from tests.adamss_core.training.support import job, request, texts
from tests.adamss_core.training.tasks.support import build_vit, draw_images, tagged, task_job
from tests.marks import compat

pytestmark = pytest.mark.slow

TRAINING: dict[str, Any] = {"max_steps": 12, "batch_size": 7, "eval_steps": 6, "logging_steps": 1}
SHORT: dict[str, Any] = {"training": TRAINING, "artifacts": ["adapter"]}
Rows = list[dict[str, Any]]


def assert_same(one: Ended, two: Ended) -> None:
    assert (one.error, two.error) == (None, None)
    assert two.values("train", "loss") == pytest.approx(one.values("train", "loss"), abs=1e-5, rel=1e-5)
    evaluations = [[values for kind, _, values in ended.rows if kind == "eval"] for ended in (one, two)]
    assert len(evaluations[0]) >= 2
    for first, second in zip(*evaluations, strict=True):
        assert second == pytest.approx(first, abs=1e-5, rel=1e-5)


def numbers(rows: int) -> Rows:
    return [{"text": row["text"], "label": len(row["text"]) / 20} for row in texts(rows)]


def several_labels(rows: int) -> Rows:
    return [{"text": row["text"], "label": [row["label"], "long"][: 1 + (i % 2)]} for i, row in enumerate(texts(rows))]


TEXTS: list[Any] = [
    compat("token-classification", lambda: tagged(60), lambda: task_job("token-classification", **SHORT)),
    compat("number", lambda: numbers(60), lambda: job(problem_type="regression", adamss={"use_asa": False}, **SHORT)),
    compat(
        "labels",
        lambda: several_labels(60),
        lambda: job(problem_type="multi_label_classification", adamss={"use_asa": False}, **SHORT),
    ),
    compat(
        "weighted",
        lambda: texts(60),
        lambda: job(
            adamss={"use_asa": False},
            artifacts=["adapter"],
            training={**TRAINING, "class_weights": "balanced", "label_smoothing": 0.1},
        ),
    ),
]


@pytest.mark.parametrize(("name", "rows", "spec"), TEXTS)
def test_texts(
    name: str, rows: Callable[[], Rows], spec: Callable[[], JobSpec], still_model: Path, tmp_path: Path
) -> None:
    asked = [request(still_model, tmp_path / str(size), rows(), spec=spec()) for size in (1, 2)]
    assert_same(ran(asked[0], 1), ran(asked[1], 2))


@pytest.mark.compat
def test_images(tmp_path: Path) -> None:
    model = build_vit(tmp_path / "vit")
    spec = task_job("image-classification", dataset={"image": "image", "label": "label"}, **SHORT)
    asked = [
        request(model, tmp_path / str(size), draw_images(tmp_path / str(size) / "train", 50), spec=spec)
        for size in (1, 2)
    ]
    assert_same(ran(asked[0], 1), ran(asked[1], 2))


@pytest.mark.parametrize("packing", [compat(True), compat(False)])
def test_generation(packing: bool, tmp_path: Path) -> None:
    """The loss is the mean over all trained tokens of the step, which the ranks do not have in equal numbers."""
    model = build_llama(tmp_path / "llama")
    spec = generation_job(training={**TRAINING, "packing": packing, "max_steps": 8, "sample_prompts": 0})
    rows = chats(50)
    asked = [request(model, tmp_path / str(size), rows, spec=spec) for size in (1, 2)]
    assert_same(ran(asked[0], 1), ran(asked[1], 2))


@pytest.mark.compat
def test_completions_with_a_basis_of_the_gradient(tmp_path: Path) -> None:
    model = build_llama(tmp_path / "llama")
    spec = generation_job(
        training=TRAINING, adamss={"r": 16, "num_subspaces": 1, "target_modules": ["q_proj"], "basis": "gradient"}
    )
    asked = [request(model, tmp_path / str(size), completions(50), spec=spec) for size in (1, 2)]
    assert_same(ran(asked[0], 1), ran(asked[1], 2))


@pytest.mark.compat
def test_contenders_are_trained_by_all(still_model: Path, tmp_path: Path) -> None:
    spec = job(training=TRAINING, adamss={"use_asa": False}, compare=["head", "lora:r=1"], artifacts=["adapter"])
    asked = [request(still_model, tmp_path / str(size), texts(90), spec=spec) for size in (1, 2)]
    one, two = ran(asked[0], 1), ran(asked[1], 2)
    assert_same(one, two)
    tables = [
        {entry["contender"]: entry["held_out"]["metrics"] for entry in (ended.result or {})["comparison"]["contenders"]}
        for ended in (one, two)
    ]
    assert set(tables[0]) == {"adamss", "head", "lora:r=1"}
    for name, metrics in tables[0].items():
        assert tables[1][name] == pytest.approx(metrics, abs=1e-4), name
