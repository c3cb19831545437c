"""Where generation stops: a base whose eos ends texts, while its chat template ends turns with another token."""

from __future__ import annotations

import json
import zipfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from adamss_core.training.run import run
from adamss_core.training.tasks.text_generation import TextGeneration
from adamss_core.training.tasks.text_generation_endings import endings, published_config
from tests.adamss_core.training.chats import build_chat_tokenizer, build_llama, chats, completions, generation_job
from tests.adamss_core.training.support import FinishedRun, Recorder, request

ALL: list[Any] = ["adapter", "lora", "merged"]


class Model:
    """Stands for a model: only its generation config is read."""

    def __init__(self, **settings: Any) -> None:
        self.generation_config = GenerationConfig()
        for name, value in settings.items():
            setattr(self.generation_config, name, value)


def base_tokenizer() -> PreTrainedTokenizerBase:
    tokenizer = build_chat_tokenizer()
    tokenizer.eos_token = "<|pad|>"
    return tokenizer


def ids(tokenizer: PreTrainedTokenizerBase, *tokens: str) -> list[int]:
    return [tokenizer.get_vocab()[token] for token in tokens]


def test_endings_are_those_of_template_tokenizer_and_model() -> None:
    tokenizer = base_tokenizer()
    both = ids(tokenizer, "<|end|>", "<|pad|>")
    assert endings(Model(), tokenizer, chat=True) == both
    assert endings(Model(eos_token_id=both[1]), tokenizer, chat=True) == both
    assert endings(Model(eos_token_id=[9, both[0]]), tokenizer, chat=True) == [*both, 9]


def test_texts_that_are_no_chats_end_as_they_are_trained_to() -> None:
    tokenizer = base_tokenizer()
    assert endings(Model(), tokenizer, chat=False) == ids(tokenizer, "<|pad|>")
    tokenizer.eos_token = None
    assert endings(Model(), tokenizer, chat=False) == []


def test_published_config_keeps_the_settings_of_the_base(tmp_path: Path) -> None:
    tokenizer = base_tokenizer()
    model = Model(do_sample=True, temperature=0.6, repetition_penalty=1.1, eos_token_id=9)
    config, left_out = published_config(model, tokenizer, chat=True)
    assert left_out == []
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "generation_config.json").read_text())
    assert written["eos_token_id"] == [*ids(tokenizer, "<|end|>", "<|pad|>"), 9]
    assert written["pad_token_id"] == tokenizer.pad_token_id
    assert (written["do_sample"], written["temperature"], written["repetition_penalty"]) == (True, 0.6, 1.1)
    assert model.generation_config.eos_token_id == 9  # the base's own is not changed


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"do_sample": False, "temperature": 0.9, "top_p": 0.6}, ["temperature", "top_p"]),
        ({"temperature": 0.9}, ["temperature"]),
        ({"length_penalty": 2.0, "early_stopping": True}, ["early_stopping", "length_penalty"]),
        ({"do_sample": False, "num_return_sequences": 2}, ["num_return_sequences"]),
        ({"num_beams": 2, "num_return_sequences": 3}, ["num_return_sequences"]),
    ],
)
def test_settings_that_contradict_others_are_left_out(
    tmp_path: Path, settings: dict[str, Any], expected: list[str]
) -> None:
    config, left_out = published_config(Model(max_length=99, **settings), base_tokenizer(), chat=True)
    assert left_out == expected
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "generation_config.json").read_text())
    assert written["max_length"] == 99
    assert {name: written.get(name) for name in settings} == {
        name: None if name in expected else value for name, value in settings.items()
    }


# --- a run ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokenizer, config and generation config end with a token that no chat has, and the last contradicts itself."""
    folder = build_llama(tmp_path_factory.mktemp("base") / "model")
    tokenizer = base_tokenizer()
    tokenizer.save_pretrained(folder)
    model = LlamaForCausalLM.from_pretrained(folder)
    model.config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    settings = {"eos_token_id": tokenizer.eos_token_id, "do_sample": False, "temperature": 0.9}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def talked(base: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    spec = generation_job(artifacts=ALL, dataset={"train": "ds_" + "a" * 12, "messages": "messages"})
    asked = request(base, tmp_path_factory.mktemp("run"), chats(160), spec=spec)
    recorder = Recorder()
    return FinishedRun(asked, recorder, run(asked, recorder))


@pytest.mark.slow
def test_samples_of_a_base_model_end(talked: FinishedRun) -> None:
    samples = [data for kind, _, data in talked.recorder.events if kind == "samples"][-1]["samples"]
    assert all(sample["ended"] for sample in samples)
    assert all(sample["completion"].startswith("It is ") for sample in samples)
    (warning,) = [message for kind, message, _ in talked.recorder.events if kind == "warning"]
    assert "temperature cannot go with its other settings" in warning


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_artifacts_and_the_code_of_their_cards_stop(
    talked: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    archive = next(file.path for file in talked.outcome.artifacts if file.name == name)
    zipfile.ZipFile(archive).extractall(tmp_path)
    written = json.loads((tmp_path / "generation_config.json").read_text())
    assert written["eos_token_id"] == ids(base_tokenizer(), "<|end|>", "<|pad|>")
    assert not written.get("_from_model_config")
    (tmp_path / "tiny-llama").symlink_to(talked.request.model)
    code = (tmp_path / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    printed = StringIO()
    with redirect_stdout(printed):
        exec(code.replace("A question.", "What colour is snow?"), {})
    assert printed.getvalue().startswith("It is ")
    assert len(printed.getvalue().split()) == 3  # of a hundred tokens that it may take


@pytest.mark.slow
def test_prediction_of_a_base_model_stops(base: Path) -> None:
    """With the base's own generation config, as for an adapter whose folder is loaded with PEFT alone."""
    task = TextGeneration(generation_job())
    model = LlamaForCausalLM.from_pretrained(base).eval()
    tokenizer = base_tokenizer()
    end = ids(tokenizer, "<|end|>")[0]
    forward = model.forward

    def only_end(*arguments: Any, **options: Any) -> Any:
        outputs = forward(*arguments, **options)
        outputs.logits[..., end] = 9.0
        return outputs

    model.forward = only_end
    chat = {"messages": [{"role": "user", "content": "Hm?"}]}
    text = {"prompt": completions(1)[0]["prompt"]}
    (answer,) = task.predict(model, tokenizer, [chat], 64, max_new_tokens=5)
    assert (answer["tokens"], answer["ended"]) == (1, True)
    (answer,) = task.predict(model, tokenizer, [text], 64, max_new_tokens=5)
    assert (answer["tokens"], answer["ended"]) == (5, False)
