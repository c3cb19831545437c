"""Tasks on text: the tokenizer, its limits, and the preview of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from adamss_core.inspection import position_limit
from adamss_core.model_parts import count_embedding_rows, count_token_ids
from adamss_core.spec.vocabulary import tokens_without_row
from adamss_core.training.base_model import Source, load_tokenizer
from adamss_core.training.batches import Encoded
from adamss_core.training.errors import TrainingError
from adamss_core.training.tasks.base import Task

UNLIMITED = 10**9  # tokenizers without a limit carry 1e30
PREVIEW_TOKENS = 1_024  # of an example that are listed
INCOMPLETE = "\ufffd"  # stands for bytes that are not a character yet


def token_texts(processor: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """Return (tokens,) what each token adds to the text before it; together they are the text.

    A character of several tokens stands at its last one. Decoded alone, a token would lose its space (SentencePiece) or
    keep the marks of its vocabulary (WordPiece).
    """
    texts: list[str] = []
    known, begin = 0, 0  # tokens whose text is known, and the first one to decode for what stands before the next
    for end in range(1, len(ids) + 1):
        before = str(processor.decode(ids[begin:known], clean_up_tokenization_spaces=False))
        text = str(processor.decode(ids[begin:end], clean_up_tokenization_spaces=False))
        if text.endswith(INCOMPLETE) and end < len(ids):
            texts.append("")
            continue
        texts.append(text.removeprefix(before))
        known, begin = end, known
    return texts


class TextTask(Task):
    """A task whose processor is a tokenizer."""

    def load_processor(self, source: Source) -> PreTrainedTokenizerBase:
        return load_tokenizer(source)

    def read_processor(self, folder: Path) -> PreTrainedTokenizerBase:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)

    def load_base(self, source: Source, processor: Any) -> tuple[PreTrainedModel, list[str]]:
        model, fresh = super().load_base(source, processor)
        problem = tokens_without_row(source.name, count_token_ids(processor), count_embedding_rows(model))
        if problem is not None:
            message, hint = problem
            raise TrainingError("tokenizer_mismatch", message, hint=hint, where="base_model")
        # Rows are padded with the tokenizer's token, whatever the model's configuration says: a decoder that
        # classifies looks for the last token that is not padding.
        if processor.pad_token_id is not None:
            model.config.get_text_config().pad_token_id = model.config.pad_token_id = processor.pad_token_id
        return model, fresh

    def limit(self, processor: Any, config: Any) -> int:
        """Return the job's tokens per row, at most as many as tokenizer and position embeddings take."""
        limits = [self.spec.training.max_length]
        if processor.model_max_length < UNLIMITED:
            limits.append(int(processor.model_max_length))
        if (positions := position_limit(config)) is not None:
            limits.append(positions)
        return min(limits)

    def example(self, processor: Any, encoded: Encoded, index: int) -> dict[str, Any]:
        ids = self.shown_tokens(encoded, index)
        trained = self.trained_tokens(encoded, index)
        pieces = processor.convert_ids_to_tokens(ids)
        texts = token_texts(processor, ids[:PREVIEW_TOKENS])
        tokens = [
            {"id": token, "token": piece, "text": text, "trained": is_trained}
            for token, piece, text, is_trained in zip(ids, pieces, texts, trained, strict=False)  # the first of them
        ]
        return {
            "text": processor.decode(ids),
            "tokens": tokens,
            "token_count": len(ids),
            "trained_tokens": sum(trained),
            "truncated": index in set(encoded.over_length),
        }

    def shown_tokens(self, encoded: Encoded, index: int) -> list[int]:
        """Return the tokens of an example, (tokens,)."""
        return [int(token) for token in encoded.features[index]["input_ids"]]

    def trained_tokens(self, encoded: Encoded, index: int) -> list[bool]:
        """Return (tokens,) whether a token has a loss term; none where the label belongs to the whole text."""
        return [False] * len(encoded.features[index]["input_ids"])
