"""Two data-parallel processes over gloo: all ranks prune the same, and the frozen stay frozen."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from adamss_core import load_adapter, save_adapter
from service.shared.processes.spawned_process import Launch
from tests.adamss_core.asa_training import (
    OPTIMIZERS,
    Subspace,
    active_set,
    asa_model,
    assert_same_values,
    frozen_values,
    subspaces,
    trainable,
)
from tests.models import batch, tiny_bert
from tests.processes import FORKSERVER

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
WORLD = 2
END = 12
STOP = 7  # between the mask steps 6 and 9


def _train(
    model: Any, wrapped: Any, rank: int, first: int, last: int, optimizer: torch.optim.Optimizer
) -> list[list[Subspace]]:
    """Steps first..last on this rank's own data; the active subspaces after every step."""
    history, seen = [], frozen_values(model)
    for step in range(first, last + 1):
        wrapped(**batch(100 * step + rank)).loss.backward()
        optimizer.step()
        model.base_model.update_and_allocate(step, optimizer=optimizer)
        optimizer.zero_grad()
        assert_same_values(frozen_values(model), seen)
        seen = frozen_values(model)
        history.append(sorted(active_set(model)))
    return history


def _values(model: Any) -> dict[Subspace, tuple[torch.Tensor, torch.Tensor]]:
    return {where: (a.clone(), b.clone()) for where, _, a, b in subspaces(model)}


def _work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    try:
        model = asa_model()
        wrapped = DistributedDataParallel(model)
        optimizer = OPTIMIZERS["adamw"](trainable(model))
        history = _train(model, wrapped, rank, 1, STOP, optimizer)
        if rank == 0:
            save_adapter(model, folder / "adapter")
        dist.barrier()
        resumed = load_adapter(tiny_bert(), folder / "adapter")
        again = OPTIMIZERS["adamw"](trainable(resumed))
        again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        rest = _train(model, wrapped, rank, STOP + 1, END, optimizer)
        rest_resumed = _train(resumed, DistributedDataParallel(resumed), rank, STOP + 1, END, again)
        apart = asa_model()
        result = {
            "apart": _train(apart, apart, rank, 1, END, OPTIMIZERS["adamw"](trainable(apart))),
            "history": history + rest,
            "resumed": history + rest_resumed,
            "values": _values(model),
            "resumed_values": _values(resumed),
            "trainable": model.get_nb_trainable_parameters(),
        }
        torch.save(result, folder / f"rank{rank}.pt")
    finally:
        dist.destroy_process_group()


def main() -> None:
    """Be one rank: a process that is forked, as importing torch anew for each costs seconds."""
    _work(int(sys.argv[1]), Path(sys.argv[2]))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ddp")
    log = folder / "log"
    with log.open("wb") as output, Path(os.devnull).open("rb") as empty:
        launch = Launch({**os.environ, "PYTHONPATH": str(ROOT)}, empty.fileno(), output.fileno(), output.fileno())
        processes = [FORKSERVER.start(__name__, [str(rank), str(folder)], launch) for rank in range(WORLD)]
        ended = [process.wait(120) for process in processes]
    assert ended == [0] * WORLD, log.read_text()
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(WORLD)]


def test_all_ranks_prune_the_same_subspaces(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["history"] == ranks[1]["history"]
    assert len(ranks[0]["history"]) == END
    assert_same_values(ranks[0]["values"], ranks[1]["values"])


def test_never_more_than_scheduled_and_the_target_at_the_end(ranks: list[dict[str, Any]]) -> None:
    """Mask steps 3, 6 and 9, by the formula: 11, 5 and 5 subspaces."""
    counts = [len(active) for active in ranks[0]["history"]]
    assert counts == [16] * 2 + [11] * 3 + [5] * 7
    for before, after in zip(ranks[0]["history"], ranks[0]["history"][1:], strict=False):
        assert set(after) <= set(before)


def test_resuming_in_the_middle_of_the_ramp(ranks: list[dict[str, Any]]) -> None:
    for result in ranks:
        assert result["resumed"] == result["history"]
        assert_same_values(result["resumed_values"], result["values"])


def test_ranks_whose_gradients_differ_still_prune_the_same(ranks: list[dict[str, Any]]) -> None:
    """Without DDP each rank has its own scores; rank 0's decide, so that the ranks' masks never part."""
    assert ranks[0]["apart"] == ranks[1]["apart"]
    assert ranks[0]["apart"] != ranks[0]["history"]


def test_the_data_of_both_ranks_count(ranks: list[dict[str, Any]]) -> None:
    """Same as one process that averages both ranks' gradients."""
    model = asa_model()
    optimizer = OPTIMIZERS["adamw"](trainable(model))
    for step in range(1, END + 1):
        for rank in range(WORLD):
            (model(**batch(100 * step + rank)).loss / WORLD).backward()
        optimizer.step()
        model.base_model.update_and_allocate(step, optimizer=optimizer)
        optimizer.zero_grad()
        assert sorted(active_set(model)) == ranks[0]["history"][step - 1]
    for where, (a, b) in _values(model).items():
        torch.testing.assert_close(ranks[0]["values"][where][0], a, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(ranks[0]["values"][where][1], b, rtol=1e-3, atol=1e-4)
    assert ranks[0]["trainable"] == model.get_nb_trainable_parameters()
