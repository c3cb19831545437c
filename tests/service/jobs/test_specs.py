"""Every spec in `examples/` and every one that `adamss init` writes passes a dry run.

The models are there by name and architecture, without weights: what a dry run needs is in their configs.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from adamss_core.spec import JobSpec, all_presets, with_defaults
from service.base_models import repository as base_models
from service.base_models.service import folder_version
from service.cli.init import commented_spec
from service.shared.settings import Settings
from tests.service.support import Service, jsonl, running

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SPECS = sorted((EXAMPLES / "specs").glob("*.yaml"))
PAPER = sorted((EXAMPLES / "paper").glob("*.yaml"))
ROWS = 400


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    names = build_models(settings.files.models)
    with running(settings) as service:
        keep_facts(service, names)
        yield service


def build_models(models: Path) -> list[str]:
    """Config and processor of each model that the specs name; what would be weights is never read."""
    from transformers import BertConfig, LlamaConfig, RobertaConfig, T5Config, ViTConfig, ViTImageProcessor

    from tests.adamss_core.training.support import build_tokenizer

    tokenizer = build_tokenizer()
    chat = build_tokenizer()
    chat.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}"
    large: dict[str, Any] = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    }
    roberta: dict[str, Any] = {"vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1}
    smollm = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
    )
    llama = LlamaConfig(
        vocab_size=128_256,
        hidden_size=3072,
        intermediate_size=8192,
        num_hidden_layers=28,
        num_attention_heads=24,
        num_key_value_heads=8,
        max_position_embeddings=131_072,
    )
    minilm = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    made: dict[str, tuple[Any, Any]] = {
        "minilm": (minilm, tokenizer),
        "FacebookAI/roberta-base": (RobertaConfig(**roberta), tokenizer),
        "FacebookAI/roberta-large": (RobertaConfig(**roberta, **large), tokenizer),
        "google/vit-base-patch16-224-in21k": (ViTConfig(), ViTImageProcessor()),
        "google/vit-large-patch16-224-in21k": (ViTConfig(**large), ViTImageProcessor()),
        "HuggingFaceTB/SmolLM2-135M-Instruct": (smollm, chat),
        "google-t5/t5-small": (T5Config(architectures=["T5ForConditionalGeneration"]), tokenizer),
        "meta-llama/Llama-3.2-3B": (llama, tokenizer),
    }
    for name, (config, processor) in made.items():
        config.save_pretrained(models / name)
        processor.save_pretrained(models / name)
        (models / name / "model.safetensors").touch()
    return list(made)


def keep_facts(service: Service, names: list[str]) -> None:
    """The real inspection, in this process: one of its own for each would import torch as often."""
    from adamss_core.inspection import inspect_model

    with service.db.write() as session:
        for name in names:
            folder = service.settings.files.model(name)
            base_models.keep(session, name, folder_version(folder), inspect_model(folder))


@pytest.fixture(scope="module")
def data(service: Service) -> dict[str, str]:
    """Ids of a data set of texts, which has the columns of every kind, of another to evaluate on, and of images."""
    train, evaluation = (service.upload(jsonl(*rows(which)), f"{which}.jsonl")["id"] for which in ("train", "eval"))
    return {"train": train, "eval": evaluation, "images": service.upload(images(), "photos.zip")["id"]}


def rows(which: str) -> list[dict[str, Any]]:
    made = []
    for i in range(ROWS):
        text = f"{which} text number {i}"
        row: dict[str, Any] = dict.fromkeys(
            ("text", "text_pair", "sentence", "sentence1", "sentence2", "question", "answer"), text
        )
        row |= {"article": text, "summary": text}
        row |= {"prompt": text, "completion": text, "query": text, "response": text}
        row |= {"label": i % 2, "labels": f"a;{i % 3}", "topics": f"a;{i % 3}", "score": i / 7, "sentiment": i / 7}
        row |= {"tokens": text.split(), "tags": ["O", "B-X", "I-X", "O"]}
        row["messages"] = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
        made.append(row)
    return made


def images() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        lines = [f"{i}.png,{('cat', 'dog')[i % 2]},a;{i % 3},{i / 7}" for i in range(40)]
        archive.writestr("metadata.csv", "\n".join(["file_name,label,labels,score", *lines]))
        for i in range(40):
            image = io.BytesIO()
            Image.new("RGB", (8, 8), (i, 2 * i, 3 * i)).save(image, "PNG")
            archive.writestr(f"{i}.png", image.getvalue())
    return content.getvalue()


def planned(service: Service, data: dict[str, str], text: str) -> dict[str, Any]:
    spec = yaml.safe_load(text)
    spec["dataset"]["train"] = data["images" if spec["task"] == "image-classification" else "train"]
    if spec["dataset"].get("eval"):
        spec["dataset"]["eval"] = data["eval"]
    response = service.client.post("/jobs?dry_run=true", json=spec)
    assert response.status_code == 200, response.text
    plan: dict[str, Any] = response.json()
    for block in ("adamss", "training"):
        for name, value in spec.get(block, {}).items():
            assert value == "auto" or plan["spec"][block][name] == value
    return plan


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_example_of_every_task(service: Service, data: dict[str, str], path: Path) -> None:
    assert planned(service, data, path.read_text())["estimate"]["steps"] > 0


def test_no_kind_lacks_an_example() -> None:
    kinds = {preset.name for preset in all_presets()} - {"text-generation"}
    assert {path.stem.replace("_", "-") for path in SPECS} == kinds | {"encoder-decoder"}  # by its base model alone


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_rows_of_the_paper(service: Service, data: dict[str, str], path: Path) -> None:
    plan = planned(service, data, path.read_text())
    estimate = plan["estimate"]
    if "roberta" in path.stem:
        large = "large" in path.stem
        assert estimate["subspaces"] == (480 if large else 240)
        # r=100, K=10, rank 1: 0.097 million in the authors' table for RoBERTa-large
        assert estimate["adapter_parameters"] == (97_152 if large else 42_432)
        assert plan["schedule"][-1]["wanted"] == estimate["subspaces"] / 2
    elif "vit" in path.stem:
        assert estimate["modules"] == (48 if "large" in path.stem else 24)
    else:
        assert estimate["steps"] == 5000


@pytest.mark.parametrize("name", [preset.name for preset in all_presets()])
def test_init_writes_a_spec_that_works(service: Service, data: dict[str, str], name: str) -> None:
    text = commented_spec(name)
    preset = next(preset for preset in all_presets() if preset.name == name)
    plan = planned(service, data, text)
    assert {key: plan["spec"]["training"][key] for key in preset.training} == preset.training
    assert "# Tokens per example" in text  # fields come with their meaning


def test_a_job_takes_what_it_leaves_out_from_its_task() -> None:
    dataset = {"train": "ds_aaaaaaaa"}
    short = {"name": "a", "base_model": "b", "dataset": dataset}
    assert with_defaults(JobSpec.model_validate(short)).training.learning_rate == 1e-2
    writes = JobSpec.model_validate(short | {"task": "text-generation", "training": {"batch_size": 2}})
    resolved = with_defaults(writes)
    assert (resolved.training.batch_size, resolved.training.learning_rate) == (2, 2e-3)
    assert resolved.training.max_length == 1_024
    assert with_defaults(resolved) == resolved


@pytest.mark.parametrize(
    ("training", "sizes"),
    [
        ({}, (8, 2)),  # both from the preset
        ({"batch_size": 4}, (4, 1)),
        ({"batch_size": 8}, (8, 1)),  # the preset's own size is as much the user's as any other
        ({"batch_size": 4, "gradient_accumulation_steps": 3}, (4, 3)),
        ({"gradient_accumulation_steps": 3}, (8, 3)),
    ],
)
def test_a_given_batch_size_is_not_multiplied(training: dict[str, int], sizes: tuple[int, int]) -> None:
    block = {"name": "a", "base_model": "b", "dataset": {"train": "ds_aaaaaaaa"}, "task": "text-generation"}
    pasted = {"adamss": {"peft_type": "ADAMSS", "r": 8, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}}
    for spec in (block, block | pasted):
        resolved = with_defaults(JobSpec.model_validate(spec | {"training": training}))
        assert (resolved.training.batch_size, resolved.training.gradient_accumulation_steps) == sizes
        assert with_defaults(resolved) == resolved
        assert with_defaults(JobSpec.model_validate(resolved.model_dump(mode="json"))) == resolved


def test_a_dry_run_counts_the_steps_of_the_given_batch(service: Service, data: dict[str, str]) -> None:
    spec = {"name": "a", "task": "text-generation", "dataset": {}}
    spec |= {"base_model": "HuggingFaceTB/SmolLM2-135M-Instruct", "training": {"batch_size": 4, "epochs": 1}}
    plan = planned(service, data, yaml.safe_dump(spec))
    assert plan["spec"]["training"]["gradient_accumulation_steps"] == 1
    assert plan["estimate"]["steps"] == -(-plan["estimate"]["train_rows"] // 4)
