"""A base that is divided among two processes: the losses of one process, and a part of its weights on each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.adamss_core.training.chats import build_llama, chats, generation_job
from tests.adamss_core.training.ranks.processes import DEADLINE, Ended, ran, started
from tests.adamss_core.training.ranks.test_kinds import assert_same
from tests.adamss_core.training.support import job, request, texts

pytestmark = pytest.mark.slow

TRAINING: dict[str, Any] = {"max_steps": 24, "batch_size": 7, "eval_steps": 12, "logging_steps": 1}
DIVIDED: dict[str, Any] = {"devices": 2, "shard": True}
BLOCKS = 2 * (4 * 32 * 32 + 2 * 32 * 48)  # elements of the matrices of both layers


def divided(ended: Ended) -> dict[str, Any]:
    (event,) = [data for name, _, data in ended.events if name == "base_divided"]
    return event


@pytest.mark.parametrize(
    "training", [{}, pytest.param({"gradient_accumulation_steps": 3, "batch_size": 2}, marks=pytest.mark.compat)]
)
def test_losses_are_those_of_one_process(still_model: Path, tmp_path: Path, training: dict[str, Any]) -> None:
    """With ASA, whose pruned subspaces leave the parameters, and with steps whose rows the processes cannot share
    evenly."""
    spec: dict[str, Any] = {"training": TRAINING | training, "artifacts": ["adapter", "merged"]}
    one = ran(request(still_model, tmp_path / "one", texts(203), spec=job(**spec)), 1)
    two = ran(request(still_model, tmp_path / "two", texts(203), spec=job(**spec, resources=DIVIDED)), 2)
    assert_same(one, two)
    assert two.artifacts == one.artifacts == ["adapter.zip", "merged.zip"]
    assert list(two.maps) == list(one.maps)
    assert divided(two) == {"elements": BLOCKS // 2, "of": BLOCKS, "processes": 2}


@pytest.mark.compat
def test_a_base_in_half_precision_writes_and_is_published(tmp_path: Path) -> None:
    """Its files are not widened when they are loaded; activations are computed again in backward."""
    model = build_llama(tmp_path / "llama")
    AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).save_pretrained(model)
    training = {"max_steps": 8, "eval_steps": 4, "logging_steps": 1, "gradient_checkpointing": True}
    one, two = (
        ran(
            request(
                model,
                tmp_path / str(size),
                chats(50),
                spec=generation_job(training=training, artifacts=["adapter", "lora"], resources=resources),
            ),
            size,
        )
        for size, resources in ((1, {}), (2, DIVIDED))
    )
    assert_same(one, two)
    assert two.artifacts == ["adapter.zip", "lora.zip"]
    samples = [[data for name, _, data in ended.events if name == "samples"] for ended in (one, two)]
    assert samples[0] == samples[1] != []


@pytest.mark.compat
def test_a_checkpoint_fits_a_base_that_is_divided_and_one_that_is_not(still_model: Path, tmp_path: Path) -> None:
    spec: dict[str, Any] = {"training": TRAINING | {"checkpoint_steps": 4}, "artifacts": ["adapter"]}
    whole = ran(request(still_model, tmp_path / "whole", texts(203), spec=job(**spec)), 1)
    asked = request(still_model, tmp_path / "parts", texts(203), spec=job(**spec))
    pieces = request(still_model, tmp_path / "parts", texts(203), spec=job(**spec, resources=DIVIDED))
    first = ran(asked, 1, stop_at=8)
    fault = {"FAILPOINT": "gradients:kill:9"}  # at step 17, after the checkpoint of step 16
    with started(pieces, 2, environment=lambda rank: fault if rank else {}) as (processes, path):
        statuses = [process.wait(DEADLINE) for process in processes]
    assert statuses == [0, -9]
    second, third = Ended(**json.loads(path.with_suffix(".ended").read_text())), ran(asked, 1)
    assert [part.steps for part in (first, second, third)] == [[*range(1, 9)], [*range(9, 17)], [*range(17, 25)]]
    losses = [loss for part in (first, second, third) for loss in part.values("train", "loss")]
    assert losses == pytest.approx(whole.values("train", "loss"), abs=1e-5, rel=1e-5)


@pytest.mark.compat
def test_in_bf16_to_noise(still_model: Path, tmp_path: Path) -> None:
    spec: dict[str, Any] = {"training": TRAINING | {"precision": "bf16"}, "artifacts": ["adapter"]}
    one = ran(request(still_model, tmp_path / "one", texts(203), spec=job(**spec)), 1)
    two = ran(request(still_model, tmp_path / "two", texts(203), spec=job(**spec, resources=DIVIDED)), 2)
    assert two.values("train", "loss") == pytest.approx(one.values("train", "loss"), abs=0.05)


@pytest.mark.compat
def test_a_basis_of_the_rows_is_that_of_one_process(still_model: Path, tmp_path: Path) -> None:
    """Calibration asks for whole weights, one at a time."""
    adamss = {"basis": "inputs", "row_share": 0.5}
    spec: dict[str, Any] = {"training": TRAINING, "artifacts": ["adapter"], "adamss": adamss}
    one = ran(request(still_model, tmp_path / "one", texts(203), spec=job(**spec)), 1)
    two = ran(request(still_model, tmp_path / "two", texts(203), spec=job(**spec, resources=DIVIDED)), 2)
    assert_same(one, two)
