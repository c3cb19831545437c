from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from adamss_core.training.base_model import Source
from adamss_core.training.data import Rows
from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.request import RunRequest
from adamss_core.training.run import run
from adamss_core.training.tasks import task_of
from tests.adamss_core.training.support import FinishedRun, Recorder, request
from tests.adamss_core.training.tasks.support import build_vit, card_answers, draw_images, predicted, task_job, unpacked

pytestmark = pytest.mark.slow

TASK = "image-classification"
SPEC = task_job(TASK, dataset={"background": "#3c3cc8"}, training={"epochs": 3, "learning_rate": 0.02})


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vit(tmp_path_factory.mktemp("vit") / "model")


def asked(vit: Path, folder: Path) -> RunRequest:
    rows = draw_images(folder / "train", 60)
    return request(vit, folder, [*rows, {"image": "red/gone.png", "label": "red"}], spec=SPEC)


@pytest.fixture(scope="module")
def trained(vit: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    recorder = Recorder()
    wanted = asked(vit, tmp_path_factory.mktemp("run"))
    return FinishedRun(wanted, recorder, run(wanted, recorder))


def test_classes_are_learnt_and_published(trained: FinishedRun) -> None:
    result = trained.outcome.result
    assert result["labels"] == ["blue", "red"]
    assert result["eval_accuracy"] > result["baseline"]["accuracy"] + 0.3
    assert trained.outcome.evaluation[0]["confusion"]["names"] == ["blue", "red"]
    assert (result["train_rows"], result["eval_rows"], result["held_out"]["stratified"]) == (48, 12, True)
    assert result["pruning"]["total"] == 2 * 2 * 4  # query and value of two layers
    assert all(a.manifest["verification"]["largest_difference"] < 1e-4 for a in trained.outcome.artifacts)
    left_out = next(facts for name, _, facts in trained.recorder.events if name == "rows_left_out")
    assert left_out["reasons"] == {"whose image file is missing": 1}


def test_targets_of_former_names_are_said_in_events_and_on_the_card(vit: Path, tmp_path: Path) -> None:
    """The names of PEFT's own example; the present ones are in the file, so that stock PEFT finds them."""
    spec = task_job(TASK, adamss={"target_modules": ["query", "value"]}, training={"max_steps": 2})
    wanted = request(vit, tmp_path / "job", draw_images(tmp_path / "job" / "train", 20), spec=spec)
    recorder = Recorder()
    outcome = run(wanted, recorder)
    assert outcome.result["pruning"]["total"] == 2 * 2 * 4
    assert [text for name, text, _ in recorder.events if name == "warning" and "'query' is now q_proj" in text]
    for artifact in outcome.artifacts:
        card = (unpacked(outcome, artifact.name, tmp_path) / "README.md").read_text()
        assert "adapted were `query` as q_proj, `value` as v_proj." in card
        assert artifact.manifest["renamed_targets"] == {"query": ["q_proj"], "value": ["v_proj"]}
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert sorted(config["target_modules"]) == ["q_proj", "v_proj"]


def test_a_stopped_run_goes_on_bit_by_bit(trained: FinishedRun, vit: Path, tmp_path: Path) -> None:
    again = asked(vit, tmp_path)
    with pytest.raises(Stopped):
        run(again, Recorder(stop_at=7))
    recorder = Recorder()
    outcome = run(again, recorder)
    assert recorder.resumed_at == [7]
    digests = [
        {a.name: a.manifest["files"] for a in finished.artifacts}["adapter"]["adapter_model.safetensors"]["sha256"]
        for finished in (trained.outcome, outcome)
    ]
    assert digests[0] == digests[1]


def test_the_published_models_answer(trained: FinishedRun, tmp_path: Path) -> None:
    for answer in card_answers(trained.request, trained.outcome, tmp_path):
        assert max(answer, key=answer.get) == "red"
    blue = tmp_path / "blue.png"
    Image.new("RGB", (16, 30), (60, 60, 200)).save(blue)
    images: list[dict[str, Any]] = [{"image": blue}, {"image": Image.new("L", (40, 40), 90)}]
    first, second = predicted(trained.outcome, SPEC, tmp_path, images)
    assert first["label"] == "blue"
    assert sum(second["scores"].values()) == pytest.approx(1)


def test_several_classes_of_an_image_are_learnt(vit: Path, tmp_path: Path) -> None:
    spec = task_job(
        TASK,
        problem_type="multi_label_classification",
        dataset={"label_separator": ";"},
        training={"epochs": 3, "learning_rate": 0.02, "head_learning_rate": 0.02},
    )
    rows = draw_images(tmp_path / "job" / "train", 60)
    for row in rows:
        row["label"] = f"noise;{row['label']}"
    wanted = request(vit, tmp_path / "job", rows, spec=spec)
    outcome = run(wanted, Recorder())
    assert outcome.result["labels"] == ["blue", "noise", "red"]
    assert outcome.result["eval_accuracy"] > outcome.result["baseline"]["accuracy"] + 0.3  # of whole sets
    assert outcome.evaluation[0]["classes_are"] == "classes"
    images: list[dict[str, Any]] = [{"image": Image.new("RGB", (16, 30), (60, 60, 200))}]
    (answer,) = predicted(outcome, spec, tmp_path, images)
    assert answer["labels"] == ["blue", "noise"]
    for scores in card_answers(wanted, outcome, tmp_path / "cards", images[0]["image"]):
        assert scores == pytest.approx(answer["scores"], abs=1e-4)


def test_a_number_of_an_image_is_learnt(vit: Path, tmp_path: Path) -> None:
    spec = task_job(
        TASK,
        problem_type="regression",
        training={"epochs": 3, "learning_rate": 0.02, "head_learning_rate": 0.02},
    )
    rows = draw_images(tmp_path / "job" / "train", 60)
    for row in rows:
        row["label"] = 3.5 if row["label"] == "blue" else 1.25
    wanted = request(vit, tmp_path / "job", rows, spec=spec)
    outcome = run(wanted, Recorder())
    assert outcome.result["labels"] == []
    assert outcome.result["eval_pearson"] > 0.8
    images: list[dict[str, Any]] = [{"image": Image.new("RGB", (16, 30), (60, 60, 200))}]
    (answer,) = predicted(outcome, spec, tmp_path, images)
    for printed in card_answers(wanted, outcome, tmp_path / "cards", images[0]["image"]):
        assert printed == pytest.approx(answer["value"], abs=1e-4)


def clear_image() -> Image.Image:
    """Red, but hardly to be seen: the background shines through."""
    return Image.new("RGBA", (30, 20), (200, 60, 60, 10))


def deep_image() -> Image.Image:
    return Image.fromarray(np.linspace(0, 65_535, 600).reshape(20, 30).astype(np.uint16))


@pytest.mark.parametrize(("make", "label"), [(clear_image, "blue"), (deep_image, None)])
def test_cards_predictions_and_probes_see_the_same_image(
    make: Callable[[], Image.Image], label: str | None, trained: FinishedRun, tmp_path: Path
) -> None:
    make().save(tmp_path / "image.png")
    by_path, opened = predicted(trained.outcome, SPEC, tmp_path, [{"image": tmp_path / "image.png"}, {"image": make()}])
    assert by_path == opened
    assert label in (None, by_path["label"])
    for scores in card_answers(trained.request, trained.outcome, tmp_path / "cards", make()):
        assert scores == pytest.approx(by_path["scores"], abs=1e-4)
    task, source = task_of(SPEC), Source(trained.request.model, None, "vit", ())
    processor = task.load_processor(source)
    rows = Rows({"image": ["image.png"], "label": ["x"]}, [1], images=tmp_path)
    batch, _ = task.collator(processor, torch.device("cpu"))(task.encode(rows, ["x"], processor, 0), [0])
    assert torch.equal(batch["pixel_values"], task.probe(processor, rows, 0)["pixel_values"])


def test_what_is_no_image_is_named(vit: Path, tmp_path: Path) -> None:
    wanted = asked(vit, tmp_path)
    (tmp_path / "train" / "red" / "2.png").write_bytes(b"no image")
    with pytest.raises(TrainingError, match=r"2\.png cannot be read") as caught:
        run(wanted, Recorder())
    assert caught.value.code == "bad_data"


def test_a_name_that_leads_elsewhere_is_a_missing_file(vit: Path, tmp_path: Path) -> None:
    wanted = asked(vit, tmp_path)
    Image.new("RGB", (16, 16)).save(tmp_path / "secret.png")
    rows = [{"image": name, "label": "x"} for name in ("../secret.png", str(tmp_path / "secret.png"))] * 4
    with pytest.raises(TrainingError, match="No row has both an image and a label"):
        run(request(vit, tmp_path, rows, spec=wanted.spec), Recorder())


def test_a_model_without_image_processor(vit: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((vit / name).read_bytes())
    with pytest.raises(TrainingError) as caught:
        run(asked(folder, tmp_path / "job"), Recorder())
    assert caught.value.code == "missing_image_processor"
