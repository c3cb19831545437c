"""Which checkpoint a run goes on from, and which it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adamss_core.training.checkpoints import MANIFEST, VERSION, CheckpointStore
from adamss_core.training.errors import TrainingError


def fill(folder: Path) -> None:
    (folder / "state.json").write_text("{}")


def store_of(folder: Path, *steps: int) -> CheckpointStore:
    store = CheckpointStore(folder, keep=3)
    for step in steps:
        store.write(step, fill)
    return store


def set_version(store: CheckpointStore, step: int, version: object) -> None:
    file = store.path(step) / MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": version}))


def test_a_checkpoint_of_a_later_release_is_left_alone(tmp_path: Path) -> None:
    store = store_of(tmp_path, 10, 20)
    set_version(store, 20, VERSION + 1)
    damaged: list[int] = []
    with pytest.raises(TrainingError) as raised:
        store.newest(lambda step, _: damaged.append(step))
    assert (raised.value.code, raised.value.deterministic) == ("checkpoint_format", False)
    assert (store.steps(), damaged) == ([10, 20], [])


def test_a_manifest_without_a_version_is_damaged(tmp_path: Path) -> None:
    store = store_of(tmp_path, 10, 20)
    set_version(store, 20, None)
    damaged: list[int] = []
    assert store.newest(lambda step, _: damaged.append(step)) == 10
    assert (store.steps(), damaged) == ([10], [20])
