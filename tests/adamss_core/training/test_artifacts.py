from __future__ import annotations

import hashlib
import json
import zipfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from transformers import pipeline

from adamss_core.errors import MergeError
from adamss_core.training import artifacts, verification
from adamss_core.training.card import model_card
from adamss_core.training.errors import IncompleteRun, Stopped, TrainingError
from adamss_core.training.run import run
from adamss_core.training.tasks.base import Usage
from adamss_core.visible import UNSAFE
from tests.adamss_core.training.support import FinishedRun, Recorder, job, request
from tests.marks import compat

pytestmark = pytest.mark.slow

NAMES = ("merged", "adapter", "lora")


@pytest.fixture(scope="module")
def unpacked(finished: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Artifact -> folder, each with the base model beside its files under the name that the card uses."""
    folders = {}
    for artifact in finished.outcome.artifacts:
        folder = tmp_path_factory.mktemp(artifact.name)
        with zipfile.ZipFile(artifact.path) as archive:
            archive.extractall(folder)
        (folder / "tiny-bert").symlink_to(finished.request.model)
        folders[artifact.name] = folder
    return folders


def test_artifacts_come_in_the_order_asked_for_and_are_what_is_said(finished: FinishedRun) -> None:
    assert [artifact.name for artifact in finished.outcome.artifacts] == list(NAMES)
    for artifact in finished.outcome.artifacts:
        content = artifact.path.read_bytes()
        assert artifact.path == finished.request.folder / "artifacts" / f"{artifact.name}.zip"
        assert (artifact.size_bytes, artifact.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert len(list((finished.request.folder / "artifacts").iterdir())) == 3


def test_zips_are_ordered_stored_and_timeless(finished: FinishedRun) -> None:
    for artifact in finished.outcome.artifacts:
        entries = zipfile.ZipFile(artifact.path).infolist()
        assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
        assert {(entry.compress_type, entry.date_time) for entry in entries} == {(0, (1980, 1, 1, 0, 0, 0))}


def test_the_manifest_lists_every_file(finished: FinishedRun, unpacked: dict[str, Path]) -> None:
    for artifact in finished.outcome.artifacts:
        folder = unpacked[artifact.name]
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest == artifact.manifest
        files = {path.name for path in folder.iterdir()} - {"manifest.json", "tiny-bert"}
        assert set(manifest["files"]) == files
        for name, entry in manifest["files"].items():
            assert entry["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert manifest["verification"]["largest_difference"] <= 1e-4
        assert manifest["result"] == finished.outcome.result
        assert manifest["spec"]["adamss"]["final_warmup"] == 20
        assert {"torch", "transformers", "peft"} <= set(manifest["versions"])


def test_no_file_names_a_path_of_this_machine(finished: FinishedRun, unpacked: dict[str, Path]) -> None:
    private = (str(finished.request.folder), str(Path(finished.request.model).parent))
    for folder in unpacked.values():
        for path in folder.iterdir():
            if path.is_file():
                content = path.read_bytes()
                assert not any(text.encode() in content for text in private), path.name


def test_the_code_on_the_cards_runs_and_agrees(unpacked: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, dict[str, float]] = {}
    for name, folder in unpacked.items():
        card = (folder / "README.md").read_text()
        code = card.split("```python\n")[1].split("```")[0]
        monkeypatch.chdir(folder)
        printed = StringIO()
        with redirect_stdout(printed):
            exec(compile(code, name, "exec"), {})
        answers[name] = eval(printed.getvalue())
    for answer in answers.values():
        assert answer == pytest.approx(answers["merged"], abs=1e-5)
        assert set(answer) == {"bad", "good"}


def test_the_merged_model_works_in_a_pipeline(unpacked: dict[str, Path]) -> None:
    classify: Any = pipeline("text-classification", model=str(unpacked["merged"]), device="cpu")
    found = classify(["word1 great word2 lovely", "word4 awful word5 dull"])
    assert [entry["label"] for entry in found] == ["good", "bad"]


def test_cards_have_front_matter_and_numbers(finished: FinishedRun, unpacked: dict[str, Path]) -> None:
    for name, folder in unpacked.items():
        _, matter, body = (folder / "README.md").read_text().split("---\n", 2)
        fields = yaml.safe_load(matter)
        assert fields["library_name"] == ("transformers" if name == "merged" else "peft")
        assert fields["base_model"] == "tiny-bert"
        assert "adamss" in fields["tags"]
        assert f"{finished.outcome.result['eval_accuracy']:.1%} | 57.1%" in body
        assert "kept 7 of 16 subspaces" in body


def test_a_card_counts_the_elements_before_and_after_pruning(finished: FinishedRun, unpacked: dict[str, Path]) -> None:
    counts = finished.outcome.result["elements"]
    said = f"{counts['peak']:,} at the start, {counts['end']:,} trained at the end, {counts['published']:,} published."
    assert f"Elements of A and B: {said}" in (unpacked["adapter"] / "README.md").read_text()


@pytest.mark.parametrize(
    ("result", "origin"),
    [
        ({"calibration": {"rows": 96, "caught": {"least": 0.5, "median": 0.914}}}, "over 96 training rows"),
        ({}, "as in the adapter that training started from"),
    ],
)
def test_a_card_names_a_basis_that_is_not_the_weights(
    unpacked: dict[str, Path], result: dict[str, Any], origin: str
) -> None:
    manifest = json.loads((unpacked["adapter"] / "manifest.json").read_text())
    usage = Usage(auto_model="AutoModel", processor="AutoTokenizer", head="", setup="", lines="")
    assert "basis:" not in model_card("adapter", manifest, usage)
    manifest["spec"]["adamss"] |= {"basis": "inputs", "row_share": 0.5}
    manifest["result"] |= result
    card = model_card("adapter", manifest, usage)
    assert f"in which the adapted layers' inputs vary most, {origin} (`basis: inputs`)" in card
    assert ("They catch 91% of these rows' energy in the median module." in card) == ("caught" in str(result))
    assert f"Trained were the 50% of each module's output rows with the largest gradient, {origin}." in card


def test_control_characters_are_visible_in_a_card(unpacked: dict[str, Path]) -> None:
    """Seen to fail: with Markdown alone escaped."""
    manifest = json.loads((unpacked["adapter"] / "manifest.json").read_text())
    manifest["spec"]["name"] = manifest["result"]["labels"][0] = "a\x1b]0;owned\x07\x9b31m\u202eb"
    usage = Usage(auto_model="AutoModel", processor="AutoTokenizer", head="", setup="", lines="")
    card = model_card("adapter", manifest, usage)
    assert UNSAFE.findall(card.replace("\n", "")) == []
    assert r"\\x1b\]0;owned\\x07" in card


def test_a_card_says_that_biases_are_frozen(unpacked: dict[str, Path]) -> None:
    manifest = json.loads((unpacked["adapter"] / "manifest.json").read_text())
    usage = Usage(auto_model="AutoModel", processor="AutoTokenizer", head="", setup="", lines="")
    says = "The biases of the adapted modules are the base model's own."
    assert says not in model_card("adapter", manifest, usage)
    manifest["spec"]["adamss"]["bias"] = "frozen"
    assert says in model_card("adapter", manifest, usage)


def test_a_card_says_that_pruned_subspaces_were_removed(unpacked: dict[str, Path]) -> None:
    manifest = json.loads((unpacked["adapter"] / "manifest.json").read_text())
    usage = Usage(auto_model="AutoModel", processor="AutoTokenizer", head="", setup="", lines="")
    says = "Pruned subspaces were removed, and have no effect."
    assert says not in model_card("adapter", manifest, usage)
    manifest["spec"]["adamss"]["asa_pruned"] = "removed"
    assert says in model_card("adapter", manifest, usage)
    manifest["emptied_modules"] = ["first", "second"]
    assert f"{says} Of 2 adapted modules nothing is left" in model_card("adapter", manifest, usage)


@pytest.mark.parametrize("name", [compat("adapter"), compat("lora"), "merged"])
def test_an_artifact_that_answers_differently_is_not_published(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """One value of what was written is changed, out of reach of the file's own checksum."""
    original = artifacts._WRITERS[name]

    def write(*arguments: Any) -> dict[str, Any]:
        facts = original(*arguments)
        folder: Path = arguments[1]
        path = next(folder.glob("*.safetensors"))
        tensors = safetensors.torch.load(path.read_bytes())
        key = next(key for key in tensors if key.endswith(("classifier.bias", "score.bias")))
        tensors[key][0] += 1e-3
        path.write_bytes(safetensors.torch.save(tensors, metadata={"format": "pt"}))
        (folder / "adamss_manifest.json").unlink(missing_ok=True)  # it would tell
        return facts

    monkeypatch.setitem(artifacts._WRITERS, name, write)
    recorder = Recorder()
    with pytest.raises(TrainingError, match=f"'{name}' answers differently") as caught:
        run(request(model, tmp_path, spec=job(artifacts=[name], training={"max_steps": 20})), recorder)
    assert caught.value.code == "verification_failed"
    assert list((tmp_path / "artifacts").iterdir()) == []
    assert "artifact_ready" not in recorder.event_types()


def test_an_artifact_that_cannot_be_loaded_is_not_published(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = artifacts._WRITERS["lora"]

    def write(*arguments: Any) -> dict[str, Any]:
        facts = original(*arguments)
        (arguments[1] / "adapter_config.json").unlink()
        return facts

    monkeypatch.setitem(artifacts._WRITERS, "lora", write)
    with pytest.raises(TrainingError, match="'lora' cannot be loaded again") as caught:
        run(request(model, tmp_path, spec=job(artifacts=["lora"], training={"max_steps": 20})), Recorder())
    assert caught.value.code == "verification_failed"


def test_an_artifact_that_fails_keeps_no_other_back(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> dict[str, Any]:
        raise MergeError("'lm_head' shares its weight.", hint="Leave it out.", where="lm_head")

    monkeypatch.setitem(artifacts._WRITERS, "lora", fail)
    spec, recorder = job(artifacts=["adapter", "lora", "merged"], training={"max_steps": 20}), Recorder()
    with pytest.raises(IncompleteRun, match="Published are: adapter, merged") as caught:
        run(request(model, tmp_path, spec=spec), recorder)
    assert [artifact.name for artifact in caught.value.outcome.artifacts] == ["adapter", "merged"]
    assert all(artifact.path.exists() for artifact in caught.value.outcome.artifacts)
    assert caught.value.deterministic
    assert "artifact_failed" in recorder.event_types()
    assert recorder.artifacts == [artifact.name for artifact in caught.value.outcome.artifacts]


def test_nan_is_no_agreement() -> None:
    probe = verification.Probe(None, None, 8, torch.full((2, 2), torch.nan))  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "_logits", lambda *_: torch.zeros(2, 2))
        assert probe.difference(None, None) == float("inf")  # type: ignore[arg-type]


def test_a_stop_between_artifacts_is_honoured(model: Path, tmp_path: Path) -> None:
    class StopsAtTheEnd(Recorder):
        def stop_requested(self) -> bool:
            return "artifact_ready" in self.event_types()

    spec = job(artifacts=["adapter", "lora"], training={"max_steps": 20})
    asked = request(model, tmp_path, spec=spec)
    with pytest.raises(Stopped):
        run(asked, StopsAtTheEnd())
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == ["adapter.zip"]
    assert [artifact.name for artifact in run(asked, Recorder()).artifacts] == ["adapter", "lora"]
