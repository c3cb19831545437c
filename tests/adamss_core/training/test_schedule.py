"""A schedule left at "auto" is derived from the steps that are made, not from those that were expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adamss_core.training.checkpoints import CheckpointStore
from adamss_core.training.errors import Stopped
from adamss_core.training.run import run
from tests.adamss_core.training.support import Recorder, job, request, texts

AUTO = {"init_warmup": "auto", "final_warmup": "auto", "mask_interval": "auto"}
DROPPING = {"max_length": 16, "over_length": "drop", "epochs": 4}


def rows() -> list[dict[str, Any]]:
    """120 of 200 rows are longer than 16 tokens."""
    long = [{**row, "text": f"{row['text']} " + " ".join(["word1"] * 15)} for row in texts(120, seed=1)]
    return [
        row
        for group in zip(long[::3], long[1::3], long[2::3], texts(40), texts(40, seed=2), strict=True)
        for row in group
    ]


@pytest.fixture(scope="module")
def dropped(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recorder]:
    folder, recorder = tmp_path_factory.mktemp("dropped"), Recorder()
    run(request(model, folder, rows(), spec=job(adamss=AUTO, training=DROPPING)), recorder)
    return folder, recorder


def test_the_ramp_ends_where_auto_says_for_the_rows_that_are_left(dropped: tuple[Path, Recorder]) -> None:
    _, recorder = dropped
    (facts,) = [data for kind, _, data in recorder.events if kind == "rows_dropped" and data["data"] == "training"]
    assert facts["rows"] > 0.55 * facts["of"]
    (plan,) = recorder.plans
    total = recorder.steps[-1]["step"]
    assert plan.total_steps == total < 50
    adamss = plan.spec.adamss
    assert (adamss.init_warmup, adamss.final_warmup) == (round(0.1 * total), round(0.5 * total))
    assert recorder.maps[0]["schedule"][-1]["step"] == max(recorder.maps) == adamss.final_warmup
    assert recorder.maps[max(recorder.maps)]["active"] == adamss.asa_target_subspaces == 7


def test_a_resumed_run_derives_the_same_schedule(dropped: tuple[Path, Recorder], model: Path, tmp_path: Path) -> None:
    whole, recorder = dropped
    asked = request(model, tmp_path, rows(), spec=job(adamss=AUTO, training=DROPPING))
    first = Recorder(stop_at=9)
    with pytest.raises(Stopped):
        run(asked, first)
    second = Recorder()
    run(asked, second)
    assert second.plans == first.plans == recorder.plans
    assert first.maps | second.maps == recorder.maps
    last = recorder.steps[-1]["step"]
    for name in ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", "optimizer.safetensors"):
        mine, theirs = (CheckpointStore(f / "checkpoints", 1).path(last) / name for f in (tmp_path, whole))
        assert mine.read_bytes() == theirs.read_bytes(), name
