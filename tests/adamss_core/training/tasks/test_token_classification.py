from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from seqeval.metrics import classification_report, f1_score
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaModel, RobertaTokenizer

from adamss_core.training.base_model import Source
from adamss_core.training.batches import IGNORED
from adamss_core.training.data import Rows
from adamss_core.training.errors import TrainingError
from adamss_core.training.run import run
from adamss_core.training.tasks import task_of
from adamss_core.training.tasks.token_classification import TagScorer, entities, tag_scores
from tests.adamss_core.training.support import Recorder, build_tokenizer, request
from tests.adamss_core.training.tasks.support import (
    build_byte_tokenizer,
    card_answers,
    predicted,
    tagged,
    task_job,
)

pytestmark = pytest.mark.slow

TASK = "token-classification"


def test_entities_are_learnt_and_published(model: Path, tmp_path: Path) -> None:
    rows = [*tagged(150), {"tokens": "warm word1", "tags": "B-X O"}, {"tokens": ["dull"], "tags": ["B-X", "O"]}]
    spec = task_job(TASK, training={"epochs": 4, "learning_rate": 0.03})
    recorder = Recorder()
    outcome = run(request(model, tmp_path, rows, spec=spec), recorder)
    result = outcome.result
    assert result["labels"] == ["B-X", "I-X", "O"]
    assert result["eval_f1"] > 0.8
    assert result["baseline"]["f1"] == 0.0
    assert result["eval_accuracy"] > result["baseline"]["accuracy"] + 0.2
    assert set(recorder.of("eval")[result["step"]]) == {"eval_loss", "eval_f1", "eval_accuracy"}
    assert result["held_out"]["stratified"] is False
    assert [a.manifest["verification"]["largest_difference"] < 1e-4 for a in outcome.artifacts] == [True] * 3
    (report,) = outcome.evaluation
    assert [entry["name"] for entry in report["classes"]] == ["X"]
    assert (report["classes_are"], report["confusion"]["names"]) == ("entities", result["labels"])
    assert (report["judgement"]["metric"], report["judgement"]["no_better"]) == ("f1", False)
    left_out = next(facts for name, _, facts in recorder.events if name == "rows_left_out")
    assert left_out["reasons"] == {"with another number of tags than words": 1}
    for answer in card_answers(request(model, tmp_path, rows, spec=spec), outcome, tmp_path):
        assert [word for word, _ in answer] == ["Some", "words", "."]
    sentence = "word1 great dull word2 " + "word3 " * 40
    (found,) = predicted(outcome, spec, tmp_path, [{"tokens": sentence}])
    assert found["entities"] == [{"type": "X", "start": 1, "end": 3, "text": "great dull"}]
    assert found["tags"][:4] == ["O", "B-X", "I-X", "O"]
    assert found["tags"][38:] == [None] * 6  # beyond the model's 40 positions


def test_the_first_token_of_a_word_has_its_tag() -> None:
    task = task_of(task_job(TASK))
    rows = Rows({"tokens": [["great", "word1,word2", "dull"]], "tags": [["B-G", "O", "B-D"]]}, [1])
    data = task.encode(rows, ["B-D", "B-G", "O"], build_tokenizer(), 40)
    # [CLS] great word1 , word2 dull [SEP]
    assert data.targets[0].tolist() == [IGNORED, 1, 2, IGNORED, IGNORED, 0, IGNORED]
    assert (data.loss_terms.tolist(), data.lengths.tolist()) == ([3], [7])
    cut = task.encode(rows, ["B-D", "B-G", "O"], build_tokenizer(), 4)
    assert (cut.targets[0].tolist(), cut.over_length) == ([IGNORED, 1, 2, IGNORED], [0])


def test_words_keep_their_space_where_tokens_are_of_bytes(tmp_path: Path) -> None:
    """RoBERTa's kin were pretrained on words with the space before them."""
    letters = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(letters)])}
    RobertaTokenizer(vocab=vocabulary, merges=[]).save_pretrained(tmp_path)
    task = task_of(task_job(TASK))
    tokenizer = task.load_processor(Source(str(tmp_path), None, "base", ()))
    assert tokenizer(["a", "b"], is_split_into_words=True).tokens() == ["<s>", "Ġ", "a", "Ġ", "b", "</s>"]
    rows = Rows({"tokens": [["a", "b"]], "tags": [["O", "B-X"]]}, [1])
    assert task.encode(rows, ["B-X", "O"], tokenizer, 40).loss_terms.tolist() == [2]


@pytest.mark.parametrize("kind", ["llama3", "smollm2", "qwen2", "gpt2"])
def test_words_have_the_tokens_of_running_text(tmp_path: Path, kind: str) -> None:
    """Tokenizers that ignore `add_prefix_space`, or put spaces into the middle of words, glued words together."""
    build_byte_tokenizer(kind).save_pretrained(tmp_path)
    task = task_of(task_job(TASK))
    tokenizer = task.load_processor(Source(str(tmp_path), None, "base", ()))
    words = ["sky", "isn't", "b2-c", "blue"]
    data = task.encode(Rows({"tokens": [words], "tags": [["O", "B-X", "O", "O"]]}, [1]), ["B-X", "O"], tokenizer, 40)
    expected = build_byte_tokenizer(kind)(" " + " ".join(words))["input_ids"]
    assert data.features[0]["input_ids"].tolist() == expected
    assert data.loss_terms.tolist() == [4]
    shown = task.example(tokenizer, data, 0)
    assert shown["text"] == " sky isn't b2-c blue"


def test_training_prediction_and_card_give_words_their_space(tmp_path: Path) -> None:
    tokenizer = build_byte_tokenizer("llama3")
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, vocab_size=len(tokenizer),
        max_position_embeddings=64, initializer_range=0.2, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaModel(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [{"tokens": ["sky", "grass"][:: 1 if i % 2 else -1], "tags": ["A", "B"]} for i in range(24)]
    spec = task_job(TASK, training={"max_steps": 4, "learning_rate": 0.1})
    asked = request(tmp_path / "model", tmp_path / "job", rows, spec=spec)
    outcome = run(asked, Recorder())
    assert {artifact.manifest["space_before_words"] for artifact in outcome.artifacts} == {True}
    (answer,) = predicted(outcome, spec, tmp_path, [{"tokens": ["Some", "words", "."]}])
    for printed in card_answers(asked, outcome, tmp_path):
        assert [tag for _, tag in printed] == answer["tags"]


def test_the_score_is_that_of_the_library() -> None:
    """On random tags, with the prefixes that data in IOB1 and IOB2 have."""
    source = random.Random(0)
    classes = ["O", "B-A", "I-A", "B-B", "I-B"]
    for _ in range(20):
        width = 9
        shape = (12, width)
        target = torch.tensor([source.choices(range(5), k=width) for _ in range(12)])
        answer = torch.where(torch.rand(shape) < 0.6, target, torch.randint(0, 5, shape))
        target[:, 0] = IGNORED
        target[::2, -1] = IGNORED
        expected, answered = (
            [[classes[i] for i, t in zip(row, kept, strict=True) if t != IGNORED] for row, kept in rows]
            for rows in (
                list(zip(target.tolist(), target.tolist(), strict=True)),
                list(zip(answer.tolist(), target.tolist(), strict=True)),
            )
        )
        assert tag_scores(answer, target, classes)["f1"] == pytest.approx(f1_score(expected, answered))
        reference = classification_report(expected, answered, output_dict=True, zero_division=0)
        scorer = TagScorer(answer, target, classes)
        for entry in scorer.matches.counts().table(scorer.names):
            of_type = reference[entry["name"]]
            found = [entry[name] for name in ("precision", "recall", "f1", "expected")]
            assert found == pytest.approx([of_type[name] for name in ("precision", "recall", "f1-score", "support")])
        once = scorer(np.array([2, *[1] * 11]))["f1"]
        assert once == pytest.approx(f1_score([expected[0], *expected], [answered[0], *answered]))


def test_tags_without_entities_are_scored_one_by_one() -> None:
    scores = tag_scores(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 1, 0]]), ["NOUN", "VERB"])
    assert scores == {"f1": pytest.approx(2 / 3), "accuracy": pytest.approx(2 / 3)}


def test_entities_of_an_answer() -> None:
    words = ["Ada", "Lovelace", "met", "Babbage"]
    found = entities(words, ["B-PER", "I-PER", "O", "B-PER"])
    assert [(entry["type"], entry["start"], entry["end"], entry["text"]) for entry in found] == [
        ("PER", 0, 2, "Ada Lovelace"),
        ("PER", 3, 4, "Babbage"),
    ]
    assert entities(words, ["O", "O", None, None]) == []


def test_a_single_tag_is_refused(model: Path, tmp_path: Path) -> None:
    rows = [{"tokens": ["fine"], "tags": ["O"]}] * 9
    with pytest.raises(TrainingError, match="same tag") as caught:
        run(request(model, tmp_path, rows, spec=task_job(TASK)), Recorder())
    assert caught.value.where == "dataset.tags"
