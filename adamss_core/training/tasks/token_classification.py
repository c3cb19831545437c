"""A tag for each word: entities in IOB tags, parts of speech."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from seqeval.metrics.sequence_labeling import get_entities
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from adamss_core.spec.cells import Cells, words_of
from adamss_core.training.base_model import Source, load_tokenizer
from adamss_core.training.batches import IGNORED, Encoded, Ids, Inputs, Padding, tokenise
from adamss_core.training.data import Rows, in_order
from adamss_core.training.errors import TrainingError, bad_data
from adamss_core.training.report_parts import confusion
from adamss_core.training.request import Reporter, Values
from adamss_core.training.scores import Matches, Occurrences, Times
from adamss_core.training.tasks.base import Answered, Baseline, Predictions, Usage
from adamss_core.training.tasks.class_losses import exclusive_losses, is_plain
from adamss_core.training.tasks.classes import always, known_classes, log_shares
from adamss_core.training.tasks.text import TextTask
from adamss_core.training.word_spaces import loses_spaces, tokens_in_list, tokens_in_text, with_spaces

PREFIXES = ("B-", "I-", "E-", "S-", "L-", "U-")


class TokenClassification(TextTask):
    """Cross-entropy over the first token of each word; its other tokens have no loss term."""

    # --- data and processor -----------------------------------------------------------------------------------------

    def class_names(self, rows: Rows) -> list[str]:
        counts = Counter(tag for tags in rows["tags"] for tag in tags)
        if len(counts) == 1:
            raise bad_data(
                f"Every word has the same tag, '{next(iter(counts))}': there is nothing to tell apart.",
                hint="Add rows with other tags, or name another column.",
                where="dataset.tags",
            )
        return in_order(counts)

    def without_unknown(self, rows: Rows, classes: list[str], reporter: Reporter, which: str = "evaluation") -> Rows:
        return known_classes(rows, [set(tags) for tags in rows["tags"]], classes, reporter, which)

    def load_processor(self, source: Source) -> PreTrainedTokenizerBase:
        """Load a fast tokenizer, which knows the word of each token, and if it can the space before each word."""
        tokenizer = load_tokenizer(source)
        if not tokenizer.is_fast:
            raise TrainingError(
                "missing_tokenizer",
                f"The tokenizer of '{source.name}' cannot tell which token belongs to which word.",
                hint="Use a base model with a tokenizer.json.",
                where="base_model",
            )
        if loses_spaces(tokenizer):
            spaced = load_tokenizer(source, add_prefix_space=True)
            if tokens_in_list(spaced) == tokens_in_text(tokenizer):
                return spaced
        return tokenizer

    # --- examples ---------------------------------------------------------------------------------------------------

    def encode(self, rows: Rows, classes: list[str], processor: PreTrainedTokenizerBase, limit: int) -> Encoded:
        texts = tokenise(with_spaces(rows["tokens"], processor), None, processor, limit)
        ids = {name: i for i, name in enumerate(classes)}
        targets = [
            _targets(words, [ids[tag] for tag in tags]) for words, tags in zip(texts.words, rows["tags"], strict=True)
        ]
        loss_terms = torch.tensor([int((row != IGNORED).sum()) for row in targets])
        return Encoded(texts.features, targets, texts.lengths, loss_terms, texts.over_length)

    def collator(self, processor: PreTrainedTokenizerBase, device: torch.device) -> PaddedTags:
        return PaddedTags(processor, device)

    def trained_tokens(self, encoded: Encoded, index: int) -> list[bool]:
        return [int(target) != IGNORED for target in encoded.targets[index]]

    # --- loss and metrics -------------------------------------------------------------------------------------------

    def losses(self, outputs: Any, targets: Tensor) -> Tensor:
        each = F.cross_entropy(
            outputs.logits.float().transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
        )  # (rows, tokens)
        return each.sum(1)

    def training_losses(
        self, train: Encoded, classes: list[str], device: torch.device, reporter: Reporter
    ) -> Callable[[Any, Tensor], Tensor]:
        if is_plain(self.spec.training):
            return self.losses
        losses = exclusive_losses(self.spec.training, count_tags(train, classes), classes, device, reporter)
        return lambda outputs, targets: losses(outputs.logits.float().transpose(1, 2), targets).sum(1)

    def predictions(self, outputs: Any, targets: Tensor) -> Predictions:
        return {"tags": outputs.logits.argmax(-1), "targets": targets}

    def metrics(self, predictions: Predictions, classes: list[str]) -> Values:
        return self.scorer(predictions, classes)()

    def scorer(self, predictions: Predictions, classes: list[str]) -> TagScorer:
        return TagScorer(predictions["tags"], predictions["targets"], classes)

    def baseline(self, train: Encoded, evaluation: Encoded, classes: list[str]) -> Baseline:
        """Answer every word with the most frequent tag."""
        scores = log_shares(count_tags(train, classes))
        width = max(len(row) for row in evaluation.targets)
        targets = torch.full((len(evaluation), width), IGNORED)
        for index, row in enumerate(evaluation.targets):
            targets[index, : len(row)] = torch.from_numpy(row)
        counted = targets != IGNORED
        losses = -(scores[targets.clamp(min=0)] * counted).sum(1)
        tags = torch.full_like(targets, int(scores.argmax()))
        return Baseline(always(classes, scores), {"tags": tags, "targets": targets, "losses": losses})

    # --- afterwards -------------------------------------------------------------------------------------------------

    def evaluation(self, answered: Answered) -> dict[str, Any]:
        """Count entities by type, or tags where there are none; confusions are those of tags."""
        scorer = self.scorer(answered.predictions, answered.classes)
        tags, targets = answered.predictions["tags"], answered.predictions["targets"]
        counted = targets != IGNORED
        return {
            "classes": scorer.matches.counts().table(scorer.names),
            "classes_are": "entities" if scorer.of_entities else "tags",
            **confusion(tags[counted], targets[counted], answered.classes),
        }

    def probe(self, processor: PreTrainedTokenizerBase, rows: Rows, limit: int) -> Inputs:
        batch = processor(
            with_spaces(rows["tokens"], processor),
            is_split_into_words=True,
            truncation=True,
            max_length=limit,
            padding=True,
            return_tensors="pt",
        )
        return dict(batch)

    @torch.inference_mode()
    def predict(self, model: Any, processor: Any, inputs: Sequence[Cells], limit: int) -> list[dict[str, Any]]:
        """Return a tag for each word, None beyond the limit, and the entities that the tags make up."""
        words = [words_of(row["tokens"]) for row in inputs]
        texts = tokenise(with_spaces(words, processor), None, processor, limit)
        padded = Padding(processor, model.device)
        best = model(**padded.inputs(texts.features)).logits.argmax(-1).cpu()
        left = processor.padding_side == "left"
        answers = []
        for row, (tokens, word_ids) in enumerate(zip(words, texts.words, strict=True)):
            start = best.shape[1] - len(word_ids) if left else 0
            tags: list[str | None] = [None] * len(tokens)
            for token, word in enumerate(word_ids):
                if word >= 0 and tags[word] is None:
                    tags[word] = model.config.id2label[int(best[row, start + token])]
            answers.append({"tokens": tokens, "tags": tags, "entities": entities(tokens, tags)})
        return answers

    def input_facts(self, processor: Any) -> dict[str, Any]:
        return {"space_before_words": loses_spaces(processor)}

    def usage(self, manifest: dict[str, Any]) -> Usage:
        spaced = manifest["space_before_words"]
        given = '[f" {word}" for word in words]' if spaced else "words"
        return Usage(
            auto_model="AutoModelForTokenClassification",
            processor="AutoTokenizer",
            head="num_labels=len(labels), id2label=dict(enumerate(labels))",
            setup=f"labels = {manifest['result']['labels']!r}\n",
            lines=(
                'words = "Some words .".split()\n'
                + ("# with the space that the tokenizer sees before a word in running text\n" if spaced else "")
                + f"inputs = processor({given}, is_split_into_words=True, truncation=True, "
                f'max_length={manifest["max_length"]}, return_tensors="pt")\n'
                "with torch.no_grad():\n    best = model(**inputs).logits.argmax(-1)[0]\n"
                "tags = {}\n"
                "for token, word in enumerate(inputs.word_ids()):\n"
                "    if word is not None:  # a word's first token has its tag\n"
                "        tags.setdefault(word, model.config.id2label[int(best[token])])\n"
                "print([(words[word], tag) for word, tag in tags.items()])"
            ),
        )


class PaddedTags:
    """Pad a batch of texts and the target of each token, (rows, tokens)."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> None:
        self._pad = Padding(tokenizer, device)

    def __call__(self, data: Encoded, rows: list[int]) -> tuple[Inputs, Tensor]:
        inputs = self._pad.inputs([data.features[row] for row in rows])
        return inputs, self._pad.targets([data.targets[row] for row in rows], inputs["input_ids"].shape[1])


def _targets(words: list[int], tags: list[int]) -> Ids:
    """Return for each token the tag of its word if it is the word's first token, else IGNORED."""
    targets = np.full(len(words), IGNORED, np.int32)
    before = -1
    for token, word in enumerate(words):
        if word >= 0 and word != before:
            targets[token] = tags[word]
        before = word
    return targets


class TagScorer:
    """Callable that scores tags, counted once: F1 of whole entities as conlleval counts them, and right tags.

    Where no tag is one of an entity (B-..., I-...), as with parts of speech, F1 is the plain mean over tags.

    Attributes:
        names: types of the entities, or the tags.
        of_entities: which of the two they are.
        matches: of these.
    """

    def __init__(self, predicted: Tensor, targets: Tensor, classes: list[str]) -> None:
        counted = targets != IGNORED
        self._words = counted.sum(1).double().numpy()  # of each row
        self._right = ((predicted == targets) & counted).sum(1).double().numpy()
        self.of_entities = any(name.startswith(PREFIXES) for name in classes)
        if self.of_entities:
            self.names, self.matches = _entity_matches(predicted, targets, classes)
        else:
            self.names, self.matches = list(classes), _tag_matches(predicted, targets, len(classes))

    def __call__(self, times: Times | None = None) -> Values:
        counts, weights = self.matches.counts(times), 1 if times is None else times
        f1 = counts.micro_f1 if self.of_entities else counts.macro_f1
        return {"f1": f1, "accuracy": float((self._right * weights).sum() / max(1.0, (self._words * weights).sum()))}


def tag_scores(predicted: Tensor, targets: Tensor, classes: list[str]) -> Values:
    """Score ids, (rows, tokens); see `TagScorer`."""
    return TagScorer(predicted, targets, classes)()


def count_tags(examples: Encoded, classes: list[str]) -> Tensor:
    """Count the words of each tag, (classes,)."""
    counts = np.zeros(len(classes), np.int64)
    for row in examples.targets:
        counts += np.bincount(row[row != IGNORED], minlength=len(classes))
    return torch.from_numpy(counts)


def _tag_matches(predicted: Tensor, targets: Tensor, kinds: int) -> Matches:
    counted = targets != IGNORED
    rows = counted.nonzero()[:, 0].numpy()
    expected, given = targets[counted].numpy(), predicted[counted].numpy()
    right = expected == given
    parts = ((rows, expected), (rows, given), (rows[right], expected[right]))
    return Matches(kinds, *(Occurrences(*part) for part in parts))


def _entity_matches(predicted: Tensor, targets: Tensor, classes: list[str]) -> tuple[list[str], Matches]:
    """Return the types of entities, and which entities are expected, predicted and both."""
    masks = [row != IGNORED for row in targets]
    expected, given = (
        {
            (row, *run)
            for row, (ids, mask) in enumerate(zip(tags, masks, strict=True))
            for run in _runs([classes[i] for i in ids[mask].tolist()])
        }
        for tags in (targets, predicted)
    )
    names = sorted({kind for _, kind, _, _ in expected | given})
    place = {name: i for i, name in enumerate(names)}
    parts = (
        np.array([(row, place[kind]) for row, kind, _, _ in part], np.int64).reshape(-1, 2).T
        for part in (expected, given, expected & given)
    )
    return names, Matches(len(names), *(Occurrences(*part) for part in parts))


def _runs(tags: list[str]) -> list[tuple[str, int, int]]:
    """Return type, first and last position of each entity."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tags such as O2
        runs: list[tuple[str, int, int]] = get_entities(tags)
    return runs


def entities(words: list[str], tags: list[str | None]) -> list[dict[str, Any]]:
    """Return the runs of words that IOB tags make up; `end` is the word after the last one."""
    if not any(tag is not None and tag.startswith(PREFIXES) for tag in tags):
        return []
    runs = _runs([tag or "O" for tag in tags])
    return [
        {"type": kind, "start": first, "end": last + 1, "text": " ".join(words[first : last + 1])}
        for kind, first, last in runs
    ]
