"""Completions by encoder-decoders: labels, decoder inputs, runs, predictions, refusals."""

from __future__ import annotations

import json
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MBartConfig,
    MBartForConditionalGeneration,
)

from adamss_core.published import load_published
from adamss_core.spec import JobSpec
from adamss_core.training.base_model import Source
from adamss_core.training.data import Rows
from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.length_sample import sampled_lengths
from adamss_core.training.preview import PreviewOrder, preview
from adamss_core.training.request import PublishedModel
from adamss_core.training.run import run
from adamss_core.training.tasks import Task, task_on
from adamss_core.training.tasks.decoder_inputs import decoder_shift
from adamss_core.training.tasks.encoder_decoder_generation import EncoderDecoderGeneration, completions
from benchmarks.tiny_families import seq2seq, seq2seq_t5
from tests.adamss_core.training.chats import chats, generation_job
from tests.adamss_core.training.chats import completions as pairs
from tests.adamss_core.training.support import FinishedRun, Recorder, request, write_rows
from tests.adamss_core.training.tasks.support import ALL, unpacked

FAMILIES = {"t5": seq2seq_t5, "bart": seq2seq}
ROWS = [{"prompt": "What was fine?", "completion": "the film"}, {"prompt": "x", "completion": "a plot was very dull"}]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    for seed, (name, build) in enumerate(FAMILIES.items()):
        torch.manual_seed(seed)
        build(folder / name)
    return {name: folder / name for name in FAMILIES}


def spec_of(**fields: Any) -> JobSpec:
    training = {"max_steps": 6, "eval_steps": 3, "sample_prompts": 1, **fields.pop("training", {})}
    adamss = {"r": 8, "num_subspaces": 2, "target_modules": None}
    return generation_job(base_model="base", adamss=adamss, training=training, **fields)


def loaded(folder: Path, **fields: Any) -> tuple[Task, Any, Any]:
    task = task_on(spec_of(**fields), str(folder), None)
    assert isinstance(task, EncoderDecoderGeneration)
    source = Source(str(folder), None, "base", ())
    processor = task.load_processor(source)
    return task, task.load_base(source, processor)[0].eval(), processor


def as_rows(task: Task, folder: Path, rows: list[dict[str, Any]]) -> Rows:
    return task.read(write_rows(folder / "rows.jsonl", rows))


# --- examples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_is_that_of_the_model_itself(family: str, bases: dict[str, Path], tmp_path: Path) -> None:
    """transformers shifts the labels and takes the mean; each row alone, so without padding."""
    task, model, tokenizer = loaded(bases[family])
    encoded = task.encode(as_rows(task, tmp_path, ROWS), [], tokenizer, 64)
    inputs, targets = task.collator(tokenizer, torch.device("cpu"))(encoded, [0, 1])
    with torch.no_grad():
        found = task.losses(model(**inputs), targets)
        for row, cells in enumerate(ROWS):
            prompt = tokenizer(cells["prompt"], return_tensors="pt")
            labels = tokenizer(text_target=cells["completion"], return_tensors="pt")["input_ids"]
            assert labels[0, -1] == tokenizer.eos_token_id
            assert encoded.targets[row].tolist() == labels[0].tolist()
            expected = model(**prompt, labels=labels).loss * labels.shape[1]
            assert float(found[row]) == pytest.approx(float(expected), rel=1e-5)
    assert int((targets == -100).sum()) == abs(len(encoded.targets[0]) - len(encoded.targets[1]))


def test_a_tokenizer_that_ends_no_text_gets_an_end_token(bases: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bases["t5"])
    ended = completions(["fine", ""], tokenizer)
    tokenizer.backend_tokenizer.post_processor = None
    assert [ids.tolist() for ids in completions(["fine", ""], tokenizer)] == [ids.tolist() for ids in ended]


def test_what_is_too_long_is_cut_and_counted(bases: dict[str, Path], tmp_path: Path) -> None:
    task, _, tokenizer = loaded(bases["t5"])
    rows = [*ROWS, {"prompt": "the film " * 9, "completion": "fine"}, {"prompt": "x", "completion": "the film " * 9}]
    encoded = task.encode(as_rows(task, tmp_path, rows), [], tokenizer, 8)
    assert encoded.over_length == [2, 3]
    assert encoded.features[2]["input_ids"][-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in encoded.targets[3]  # the model must not learn to end there
    assert encoded.lengths.tolist()[2:] == [8, 8]


@pytest.mark.parametrize("kind", ["mbart", "m2m100"])
def test_shifts_of_other_families(kind: str) -> None:
    """mBART puts the language in front, which its labels have at the end; M2M100 has no function for it."""
    sizes: dict[str, Any] = {
        "d_model": 8,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "vocab_size": 20,
        "max_position_embeddings": 16,
    }
    heads: dict[str, Any] = {
        "encoder_attention_heads": 1,
        "decoder_attention_heads": 1,
        "encoder_ffn_dim": 8,
        "decoder_ffn_dim": 8,
    }
    ends: dict[str, Any] = {"pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    torch.manual_seed(0)
    model: Any = (
        MBartForConditionalGeneration(MBartConfig(**sizes, **heads, **ends))
        if kind == "mbart"
        else M2M100ForConditionalGeneration(M2M100Config(**sizes, **heads, **ends))
    ).eval()
    ids, labels = torch.tensor([[5, 6, 2]]), torch.tensor([[7, 8, 2, 9]])
    with torch.no_grad():
        expected = model(input_ids=ids, labels=labels).logits
        found = model(input_ids=ids, decoder_input_ids=decoder_shift(model)(labels)).logits
    torch.testing.assert_close(found, expected)


def test_preview_shows_both_texts_and_lengths_count_the_longer(bases: dict[str, Path], tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", ROWS)
    shown = preview(PreviewOrder(spec_of(), file, str(bases["t5"]), None, 2))
    tokens = shown["examples"][0]["tokens"]
    assert "".join(token["text"] for token in tokens if token["trained"]) == "the film</s>"
    assert "".join(token["text"] for token in tokens if not token["trained"]) == "What was fine?</s>"
    lengths = sampled_lengths(spec_of(), file, str(bases["t5"]), None)
    tokenizer = AutoTokenizer.from_pretrained(bases["t5"])
    longest = [max(len(tokenizer(text)["input_ids"]) for text in row.values()) for row in ROWS]
    assert sorted(length for length, count in lengths.counts for _ in range(count)) == sorted(longest)
    assert 0 < lengths.trained < 1


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "field"), [(chats(8), "dataset.messages"), ([{"text": "the film was fine"}] * 8, "dataset.text")]
)
def test_chats_and_plain_texts_are_refused(
    rows: list[dict[str, Any]], field: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="is an encoder-decoder") as caught:
        run(request(bases["t5"], tmp_path, rows, spec=spec_of()), Recorder())
    assert (caught.value.code, caught.value.where) == ("bad_data", field)
    assert "dataset.completion" in caught.value.hint


def test_a_model_without_a_start_for_its_decoder_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in bases["bart"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"decoder_start_token_id": None}))
    with pytest.raises(TrainingError, match="has no decoder_start_token_id"):
        loaded(folder)


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=FAMILIES)
def finished(
    request: pytest.FixtureRequest, bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> FinishedRun:
    return run_on(bases[request.param], tmp_path_factory.mktemp(request.param))


def run_on(base: Path, folder: Path, **fields: Any) -> FinishedRun:
    asked = request(base, folder, pairs(40), spec=spec_of(artifacts=ALL, **fields))
    recorder = Recorder()
    return FinishedRun(asked, recorder, run(asked, recorder))


@pytest.mark.slow
def test_a_run_has_losses_texts_a_judgement_and_artifacts(finished: FinishedRun, tmp_path: Path) -> None:
    result, recorder = finished.outcome.result, finished.recorder
    assert [artifact.name for artifact in finished.outcome.artifacts] == ALL
    assert result["eval_loss"] < result["before_training"]["eval_loss"]
    assert result["baseline"]["predicts"] == "what the base model does"
    (report,) = finished.outcome.evaluation
    assert set(report["generation"]) == {"rows", "exact_match", "rouge_l", "ended"}
    assert list(recorder.of("eval")) == [0, 3, 6]
    samples = [data for kind, _, data in recorder.events if kind == "samples"]
    assert [data["step"] for data in samples] == [0, 3, 6]
    assert "packing_off" in recorder.event_types()


@pytest.mark.slow
def test_each_artifact_answers_as_the_others(finished: FinishedRun, tmp_path: Path) -> None:
    answers = []
    for artifact in finished.outcome.artifacts:
        published = PublishedModel(artifact.path, artifact.sha256)
        model = load_published(published, finished.request.model, None, tmp_path / artifact.name)
        assert isinstance(model.task, EncoderDecoderGeneration)
        inputs = [{"prompt": "What colour is grass?"}, {"prompt": "What colour is snow?"}]
        answers.append(model.task.predict(model.model, model.processor, inputs, model.limit, max_new_tokens=8))
    assert answers[0] == answers[1] == answers[2]
    assert all(set(answer) == {"text", "tokens", "ended"} for answer in answers[0])


@pytest.mark.slow
def test_answers_are_those_of_transformers_generate(finished: FinishedRun, tmp_path: Path) -> None:
    merged = finished.outcome.artifacts[-1]
    loaded_one = load_published(PublishedModel(merged.path, merged.sha256), "", None, tmp_path / "merged")
    prompt = loaded_one.processor("What colour is grass?", return_tensors="pt")
    made = loaded_one.model.generate(
        input_ids=prompt["input_ids"], attention_mask=prompt["attention_mask"], max_new_tokens=8
    )[0]
    rows = [{"prompt": "What colour is grass?"}]
    assert isinstance(loaded_one.task, EncoderDecoderGeneration)
    (answer,) = loaded_one.task.predict(loaded_one.model, loaded_one.processor, rows, 64, max_new_tokens=8)
    assert answer["text"] == loaded_one.processor.decode(made, skip_special_tokens=True)
    assert answer["tokens"] == len(made) - 1


@pytest.mark.slow
def test_the_cards_code_runs(finished: FinishedRun, tmp_path: Path) -> None:
    written = set()
    for artifact in finished.outcome.artifacts:
        place = unpacked(finished.outcome, artifact.name, tmp_path)
        (place / "base").symlink_to(finished.request.model)
        code = (place / "README.md").read_text().split("```python\n")[1].split("```")[0]
        printed = StringIO()
        with chdir(place), redirect_stdout(printed):
            exec(compile(code, artifact.name, "exec"), {})
        written.add(printed.getvalue())
    assert len(written) == 1


@pytest.mark.slow
def test_a_resumed_run_ends_as_one_that_was_not_stopped(
    finished: FinishedRun, bases: dict[str, Path], tmp_path: Path
) -> None:
    base = Path(finished.request.model)
    asked = request(base, tmp_path, pairs(40), spec=spec_of(artifacts=ALL))
    with pytest.raises(Stopped):
        run(asked, Recorder(stop_at=4))
    again = run(asked, Recorder())
    files = [outcome.artifacts[0].manifest["files"] for outcome in (again, finished.outcome)]
    assert files[0]["adapter_model.safetensors"] == files[1]["adapter_model.safetensors"]


@pytest.mark.slow
def test_settings_for_the_bases_own_texts_are_left_out(bases: dict[str, Path], tmp_path: Path) -> None:
    """bart-large-cnn writes at least 56 tokens, whatever it was fine-tuned for."""
    model = AutoModelForSeq2SeqLM.from_pretrained(bases["bart"])
    model.generation_config.update(min_length=30, num_beams=2, no_repeat_ngram_size=3, max_length=40)
    model.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(bases["bart"]).save_pretrained(tmp_path / "base")
    asked = request(tmp_path / "base", tmp_path, pairs(20), spec=spec_of(artifacts=["merged"]))
    recorder = Recorder()
    outcome = run(asked, recorder)
    (warning,) = [data for kind, _, data in recorder.events if kind == "warning" and "left_out" in data]
    assert set(warning["left_out"]) == {"min_length", "num_beams", "no_repeat_ngram_size", "max_length"}
    published = json.loads((unpacked(outcome, "merged", tmp_path) / "generation_config.json").read_text())
    assert published.keys().isdisjoint(warning["left_out"])
    assert published["decoder_start_token_id"] == 2
