from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    RobertaConfig,
)

from adamss_core.fileio.exchange import read_answer, write_order
from adamss_core.inspection import InspectionError, inspect_model, is_usable, linear_modules, main
from adamss_core.spec import ModelFacts
from adamss_core.spec.tasks import register, unregister
from benchmarks.tiny_families import seq2seq, seq2seq_t5
from tests.adamss_core.training.support import build_model, build_tokenizer
from tests.adamss_core.training.tasks.support import build_vit
from tests.toy_task.record import NAME, RECORDS

SMALL: dict[str, PreTrainedConfig] = {
    "roberta": RobertaConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        vocab_size=90,
        max_position_embeddings=34,
        pad_token_id=1,
    ),
    "distilbert": DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=48, vocab_size=90),
    "gpt2": GPT2Config(n_embd=32, n_layer=1, n_head=2, n_positions=30, vocab_size=90),
    "llama": LlamaConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        vocab_size=90,
        max_position_embeddings=64,
    ),
}


def save(config: PreTrainedConfig, folder: Path) -> Path:
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model") / "bert")


def real(folder: Path, labels: int) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=labels, ignore_mismatched_sizes=True)


def check(folder: Path) -> dict[str, Any]:
    facts = inspect_model(folder)
    for labels in (2, 5):
        model = real(folder, labels)
        head = facts["head_parameters_fixed"] + labels * facts["head_parameters_per_label"]
        assert facts["parameters"] + head == sum(parameter.numel() for parameter in model.parameters())
    modules = dict(model.named_modules())
    for entry in facts["linear_modules"]:
        module = modules[entry["name"]]
        assert entry["kind"] == type(module).__name__
        rows, columns = module.weight.shape if entry["kind"] == "Linear" else reversed(module.weight.shape)
        if not entry["name"].startswith(tuple(facts["head_modules"])):
            assert (entry["out_features"], entry["in_features"]) == (rows, columns)
        assert entry["bias"] == (module.bias is not None)
    assert [entry["name"] for entry in facts["linear_modules"]] == [e["name"] for e in linear_modules(model)]
    assert ModelFacts.model_validate(facts).tasks[0] == "text-classification"
    return facts


def test_a_bert(bert: Path) -> None:
    facts = check(bert)
    assert facts["model_type"] == "bert"
    assert facts["architectures"] == ["BertModel"]
    assert facts["head_modules"] == ["classifier"]
    assert (facts["head_parameters_per_label"], facts["head_parameters_fixed"]) == (33, 0)
    assert facts["default_targets"] == ["query", "value"]
    assert (facts["max_positions"], facts["vocab_size"], facts["hidden_size"]) == (40, 45, 32)
    assert facts["has_tokenizer"] is True


@pytest.mark.parametrize(
    ("kind", "heads", "targets", "positions"),
    [
        ("roberta", ["classifier"], ["query", "value"], 32),
        ("distilbert", ["pre_classifier", "classifier"], ["q_lin", "v_lin"], 512),
        ("gpt2", ["score"], ["c_attn"], 30),
        ("llama", ["score"], ["q_proj", "v_proj"], 64),
    ],
)
def test_other_architectures(
    tmp_path: Path, kind: str, heads: list[str], targets: list[str] | None, positions: int
) -> None:
    facts = check(save(SMALL[kind], tmp_path))
    assert facts["head_modules"] == heads
    assert facts["default_targets"] == targets
    assert facts["max_positions"] == positions
    assert facts["has_tokenizer"] is False


def test_weights_are_not_read(bert: Path, tmp_path: Path) -> None:
    for file in bert.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    assert inspect_model(tmp_path) == inspect_model(bert)


@pytest.mark.parametrize(
    ("config", "weights", "words"),
    [
        (None, True, "config.json"),
        ("{", True, "config.json"),
        ({"model_type": "unheard of"}, True, "config.json"),
        ({"model_type": "whisper"}, True, "config.json"),
        ({"model_type": "bert", "hidden_size": 30, "num_attention_heads": 7}, True, "config.json"),
        ({"model_type": "mine", "auto_map": {"AutoConfig": "code.C"}}, True, "config.json"),
        ({"model_type": "bert"}, False, "only a pickle"),
    ],
)
def test_models_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Any, weights: bool, words: str
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    canary = tmp_path / "canary"
    (tmp_path / "code.py").write_text(f"open({str(canary)!r}, 'w').close()")
    (tmp_path / ("model.safetensors" if weights else "pytorch_model.bin")).touch()
    with pytest.raises(InspectionError, match=words):
        inspect_model(tmp_path)
    error = answer_of_main(tmp_path, tmp_path, monkeypatch)["error"]
    assert set(error) == {"code", "message", "hint"}
    assert str(tmp_path) not in error["message"]
    assert not canary.exists()


def test_the_child_leaves_the_facts_as_its_answer(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer_of_main(bert, tmp_path, monkeypatch) == inspect_model(bert)


def answer_of_main(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the child's main function on an order in `folder`."""
    write_order(folder, {"model": str(model), "revision": None})
    monkeypatch.chdir(folder)
    main()
    answer = read_answer(folder, 2**20)
    assert answer is not None
    return answer


def test_an_empty_tokenizer_is_none() -> None:
    tokenizer = build_tokenizer()
    assert is_usable(tokenizer)
    assert torch.get_default_device() == torch.device("cpu")


def test_facts_for_a_task_that_is_registered_later(bert: Path) -> None:
    register(RECORDS)
    try:
        facts = ModelFacts.model_validate(inspect_model(bert))
        assert facts.tasks == ["text-classification", "token-classification", NAME]
        assert facts.for_task(NAME).head_modules == ["classifier"]
    finally:
        unregister(NAME)


def test_facts_about_tokens_classes_and_shared_weights(bert: Path, tmp_path: Path) -> None:
    facts = inspect_model(bert)
    assert (facts["token_ids"], facts["embedding_rows"], facts["head_classes"]) == (45, 45, [])
    config = BertConfig.from_pretrained(bert, id2label={0: "worse", 1: "better", 2: "same"}, tie_word_embeddings=True)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "classifier")
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["[NEW]"])
    tokenizer.save_pretrained(tmp_path / "classifier")
    facts = inspect_model(tmp_path / "classifier")
    assert (facts["token_ids"], facts["embedding_rows"]) == (46, 45)
    assert facts["head_classes"] == ["worse", "better", "same"]
    assert facts["other_tasks"]["token-classification"]["head_classes"] == []  # its head is for whole texts
    save(SMALL["gpt2"], tmp_path / "gpt2")
    generation = ModelFacts.model_validate(inspect_model(tmp_path / "gpt2")).for_task("text-generation")
    assert generation.tied_weights == {"lm_head": "transformer.wte", "transformer.wte": "lm_head"}
    assert generation.shared_weights == {}
    assert generation.module_lists == ["transformer.h"]
    assert generation.module_parameters["transformer.ln_f"] == 64
    vit = inspect_model(build_vit(tmp_path / "vit"))
    assert (vit["token_ids"], vit["embedding_rows"]) == (None, None)


@pytest.mark.parametrize("build", [seq2seq, seq2seq_t5])
def test_encoder_decoders_generate_text(build: Callable[[Path], None], tmp_path: Path) -> None:
    build(tmp_path / "model")
    facts = ModelFacts.model_validate(inspect_model(tmp_path / "model"))
    assert facts.is_encoder_decoder
    assert facts.activations is not None
    generation = facts.for_task("text-generation")
    assert "text-generation" in facts.tasks
    names = {module.name for module in generation.linear_modules}
    assert "lm_head" not in names
    assert any("decoder" in name for name in names)
    assert (generation.head_modules, generation.targets_guessed) == ([], False)


def test_a_padding_token_without_a_row_is_named(tmp_path: Path) -> None:
    """torch says "Padding_idx must be within num_embeddings", without field or file."""
    save(SMALL["llama"], tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"pad_token_id": 90}))
    with pytest.raises(InspectionError, match=r"pad_token_id in the model's config\.json is 90, but .* 90 rows"):
        inspect_model(tmp_path)


def test_a_base_that_is_stored_quantised_is_refused(tmp_path: Path) -> None:
    """It was planned as if it were in full precision, and broke off with an AssertionError of bitsandbytes."""
    save(SMALL["llama"], tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    quantised = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": quantised}))
    with pytest.raises(InspectionError, match="stored quantised") as caught:
        inspect_model(tmp_path)
    assert "training.quantization" in caught.value.hint


def test_facts_for_each_task(bert: Path, tmp_path: Path) -> None:
    facts = ModelFacts.model_validate(inspect_model(bert))
    assert facts.tasks == ["text-classification", "token-classification"]
    assert (facts.has_fast_tokenizer, facts.has_chat_template, facts.has_image_processor) == (True, False, False)
    tokens = facts.for_task("token-classification")
    names = {module.name for module in facts.linear_modules} - {module.name for module in tokens.linear_modules}
    assert names == {"bert.pooler.dense"}  # tags need none
    assert tokens.head_parameters_per_label == 33
    save(SMALL["llama"], tmp_path / "llama")
    llama = ModelFacts.model_validate(inspect_model(tmp_path / "llama"))
    assert llama.tasks == ["text-classification", "token-classification", "text-generation"]
    generation = llama.for_task("text-generation")
    assert (generation.head_modules, generation.head_parameters_per_label) == ([], 0)
    assert "lm_head" not in {module.name for module in generation.linear_modules}
    vit = ModelFacts.model_validate(inspect_model(build_vit(tmp_path / "vit")))
    assert (vit.tasks, vit.default_targets, vit.image_tokens) == (["image-classification"], ["q_proj", "v_proj"], 5)
    assert (vit.head_modules, vit.has_image_processor, vit.has_tokenizer) == (["classifier"], True, False)
