"""What tasks on text share: the tokenizer and its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from adamss_core.inspection import position_limit
from adamss_core.training.base_model import Source, load_tokenizer
from adamss_core.training.tasks.base import Task

UNLIMITED = 10**9  # tokenizers without a limit carry 1e30


class TextTask(Task):
    """A task whose processor is a tokenizer."""

    def load_processor(self, source: Source) -> PreTrainedTokenizerBase:
        return load_tokenizer(source)

    def read_processor(self, folder: Path) -> PreTrainedTokenizerBase:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)

    def load_base(self, source: Source, processor: Any) -> tuple[PreTrainedModel, list[str]]:
        model, fresh = super().load_base(source, processor)
        # Rows are filled up with the tokenizer's, whatever the model's configuration says: a decoder that classifies
        # looks for the last token that is none of it.
        if processor.pad_token_id is not None:
            model.config.get_text_config().pad_token_id = model.config.pad_token_id = processor.pad_token_id
        return model, fresh

    def limit(self, processor: Any, config: Any) -> int:
        """Tokens per row: what the job asks for, at most what tokenizer and position embeddings can take."""
        limits = [self.spec.training.max_length]
        if processor.model_max_length < UNLIMITED:
            limits.append(int(processor.model_max_length))
        if (positions := position_limit(config)) is not None:
            limits.append(positions)
        return min(limits)
