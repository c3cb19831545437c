from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from adamss_core.training.checkpoints import CheckpointStore
from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.request import RunRequest
from adamss_core.training.run import run
from tests.adamss_core.training.support import Recorder, job, request, texts, write_rows
from tests.marks import compat

pytestmark = pytest.mark.slow

TIMED = {"samples_per_second", "tokens_per_second", "memory_bytes", "process_memory_bytes", "cpu_percent"}
SAME_FILES = (
    "adapter/adapter_model.safetensors",
    "adapter/adapter_config.json",
    "optimizer.safetensors",
    "random.safetensors",
)
TRAINING = {"max_steps": 30, "eval_steps": 15, "gradient_accumulation_steps": 2, "batch_size": 4}


def stopped(asked: RunRequest, step: int) -> Recorder:
    recorder = Recorder(stop_at=step)
    with pytest.raises(Stopped):
        run(asked, recorder)
    return recorder


def last_files(folder: Path, step: int = 30) -> list[bytes]:
    checkpoint = CheckpointStore(folder / "checkpoints", 1).path(step)
    return [(checkpoint / name).read_bytes() for name in SAME_FILES]


def rows_of(*recorders: Recorder) -> list[tuple[str, int, dict[str, object]]]:
    """All reported rows without what depends on the clock."""
    return [
        (kind, step, {name: value for name, value in values.items() if name not in TIMED})
        for recorder in recorders
        for kind, step, values in recorder.rows
    ]


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recorder]:
    folder = tmp_path_factory.mktemp("whole")
    recorder = Recorder()
    run(request(model, folder, spec=job(training=TRAINING)), recorder)
    return folder, recorder


@pytest.mark.parametrize("step", [compat(3), 13, compat(16), 20, compat(23)])
def test_a_resumed_run_is_bit_equal(whole: tuple[Path, Recorder], model: Path, tmp_path: Path, step: int) -> None:
    """Before, inside (between mask steps and at one), at the end of and after the ramp; 3, 13 and 23 are also inside a
    window of logged steps and inside an epoch."""
    asked = request(model, tmp_path, spec=job(training=TRAINING))
    first = stopped(asked, step)
    assert first.checkpoints[-1] == {
        "step": step,
        "path": f"checkpoints/step-{step:08d}",
        "best": False,
        "values": {},
    }
    second = Recorder()
    run(asked, second)
    assert second.resumed_at == [step]
    assert last_files(tmp_path) == last_files(whole[0])
    assert rows_of(first, second) == rows_of(whole[1])
    assert first.maps | second.maps == whole[1].maps
    assert [*first.sizes, *second.sizes] == 2 * whole[1].sizes  # pruned subspaces are counted too


def test_many_stops_are_as_good_as_none(whole: tuple[Path, Recorder], model: Path, tmp_path: Path) -> None:
    asked = request(model, tmp_path, spec=job(training=TRAINING))
    parts = [stopped(asked, step) for step in (7, 8, 15, 29)]
    parts.append(Recorder())
    run(asked, parts[-1])
    assert [part.resumed_at for part in parts] == [[0], [7], [8], [15], [29]]
    assert last_files(tmp_path) == last_files(whole[0])
    assert rows_of(*parts) == rows_of(whole[1])


def test_a_run_stopped_after_its_last_step_only_publishes(model: Path, tmp_path: Path) -> None:
    asked = request(model, tmp_path, spec=job(training=TRAINING))
    stopped(asked, 30)
    assert not list((tmp_path / "artifacts").glob("*.zip")) if (tmp_path / "artifacts").exists() else True
    recorder = Recorder()
    outcome = run(asked, recorder)
    assert (recorder.resumed_at, recorder.steps, recorder.rows) == ([30], [], [])
    assert [artifact.name for artifact in outcome.artifacts] == ["adapter"]
    assert outcome.result["eval_accuracy"] is not None


def test_a_finished_run_can_be_published_again(whole: tuple[Path, Recorder], model: Path, tmp_path: Path) -> None:
    """As after a kill between the last checkpoint and the commit of the job."""
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    outcome = run(request(model, tmp_path, spec=job(training=TRAINING)), Recorder())
    assert outcome.artifacts[0].path.is_file()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("adapter/adapter_model.safetensors", flip),
        compat("optimizer.safetensors", cut),
        compat("state.json", Path.unlink),
        ("checkpoint.json", cut),
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    whole: tuple[Path, Recorder], model: Path, tmp_path: Path, name: str, damage: object
) -> None:
    spec = job(training=TRAINING | {"checkpoint_steps": 9})
    asked = request(model, tmp_path, spec=spec)
    stopped(asked, 13)
    assert callable(damage)
    damage(tmp_path / "checkpoints" / "step-00000013" / name)
    recorder = Recorder()
    run(asked, recorder)
    assert recorder.resumed_at == [9]
    assert recorder.events[0][0] == "checkpoint_damaged"
    assert recorder.events[0][2]["step"] == 13
    assert last_files(tmp_path) == last_files(whole[0])


def test_half_written_checkpoints_are_cleared_away(model: Path, tmp_path: Path) -> None:
    half = tmp_path / "checkpoints" / ".writing-00000009"
    (half / "adapter").mkdir(parents=True)
    recorder = Recorder()
    run(request(model, tmp_path, spec=job(training=TRAINING)), recorder)
    assert recorder.resumed_at == [0]
    assert not half.exists()


def test_a_checkpoint_of_other_data_is_refused(model: Path, tmp_path: Path) -> None:
    asked = request(model, tmp_path, spec=job(training=TRAINING))
    stopped(asked, 3)
    write_rows(asked.train_file, texts(208, seed=9))
    with pytest.raises(TrainingError, match="other data") as caught:
        run(asked, Recorder())
    assert caught.value.code == "checkpoint_mismatch"


def test_checkpoints_hold_no_pickle(whole: tuple[Path, Recorder]) -> None:
    files = [path for path in (whole[0] / "checkpoints").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json"}
    for path in files:
        if path.suffix == ".json":
            json.loads(path.read_text())


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "file").write_text("x")

    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    for step in (5, 10, 15, 20):
        store.write(step, fill)
        store.retain(best=5)
    assert store.steps() == [5, 15, 20]
    store.retain(best=None)
    assert store.steps() == [15, 20]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)

    def fail(folder: Path) -> None:
        (folder / "file").write_text("x")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.write(5, fail)
    assert list((tmp_path / "checkpoints").iterdir()) == []
