"""Completions of prompts by an encoder-decoder: the encoder reads the prompt, the decoder writes the completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from adamss_core.spec import JobSpec
from adamss_core.spec.cells import Cells
from adamss_core.spec.instructions import is_instruction
from adamss_core.spec.tasks.text_generation import COMPLETIONS, needs_completions
from adamss_core.training.base_model import Source
from adamss_core.training.batches import CHUNK, Collate, Encoded, Ids, tokenise
from adamss_core.training.data import Rows
from adamss_core.training.errors import TrainingError, bad_data
from adamss_core.training.request import Reporter
from adamss_core.training.tasks.base import Usage
from adamss_core.training.tasks.decoder_inputs import PromptsAndCompletions, Shift, decoder_shift
from adamss_core.training.tasks.text_generation import TextGeneration
from adamss_core.training.tasks.text_generation_endings import without_recipe


class EncoderDecoderGeneration(TextGeneration):
    """Cross-entropy of each token of the completion, given the prompt and the tokens before it."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.record = self.record.for_model(is_encoder_decoder=True)
        self._shift: Shift | None = None
        self._recipe: dict[str, Any] = {}

    def load_base(self, source: Source, processor: Any) -> tuple[PreTrainedModel, list[str]]:
        model, fresh = super().load_base(source, processor)
        if model.config.decoder_start_token_id is None:
            raise TrainingError(
                "model_load_failed",
                f"The config.json of '{source.name}' has no decoder_start_token_id, the token with which its decoder "
                "begins.",
                hint="Set it as the model was trained: T5's is the padding token, BART's the end token.",
                where="base_model",
            )
        self._shift = decoder_shift(model)
        self._recipe = without_recipe(model)
        return model, fresh

    def limit(self, processor: Any, config: Any) -> int:
        """Return the most tokens of a prompt, and of a completion."""
        stacks = (getattr(config, f"max_{stack}_position_embeddings", None) for stack in ("encoder", "decoder"))
        return min([super().limit(processor, config), *(most for most in stacks if isinstance(most, int))])

    # --- examples ---------------------------------------------------------------------------------------------------

    def encode(self, rows: Rows, classes: list[str], processor: PreTrainedTokenizerBase, limit: int) -> Encoded:
        if "completion" not in rows.columns:
            (field,) = rows.columns
            problem = needs_completions(self.spec.base_model, field)
            raise bad_data(problem, hint=COMPLETIONS, where=f"dataset.{field}")
        prompts = tokenise(rows["prompt"], None, processor, limit)
        whole = completions(rows["completion"], processor)
        targets = [ids[:limit] for ids in whole]
        cut = {index for index, ids in enumerate(whole) if len(ids) > limit}
        lengths = [len(ids) for ids in targets]
        return Encoded(
            [{"input_ids": feature["input_ids"]} for feature in prompts.features],
            targets,
            torch.maximum(prompts.lengths, torch.tensor(lengths)),
            torch.tensor(lengths),
            sorted(cut.union(prompts.over_length)),
        )

    def collator(self, processor: PreTrainedTokenizerBase, device: torch.device) -> Collate:
        assert self._shift is not None, "the base model is loaded before batches are made"
        return PromptsAndCompletions(processor.pad_token_id, self._shift, device)

    def training_collator(
        self, processor: Any, device: torch.device, model: Any, train: Encoded, limit: int, reporter: Reporter
    ) -> Collate:
        if self.spec.training.packing:
            reporter.event("packing_off", "Examples are not packed: an encoder-decoder reads each prompt alone.", {})
        return self.collator(processor, device)

    def shown_tokens(self, encoded: Encoded, index: int) -> list[int]:
        return [*super().shown_tokens(encoded, index), *(int(token) for token in encoded.targets[index])]

    def trained_tokens(self, encoded: Encoded, index: int) -> list[bool]:
        return [False] * len(encoded.features[index]["input_ids"]) + [True] * len(encoded.targets[index])

    # --- afterwards -------------------------------------------------------------------------------------------------

    def _opening(self, row: Cells, tokenizer: PreTrainedTokenizerBase, limit: int) -> tuple[Ids, str]:
        """Return the prompt's tokens, and the completion."""
        (feature,) = tokenise([row["prompt"]], None, tokenizer, limit).features
        return feature["input_ids"], str(row.get("completion", ""))

    def _prompts(
        self, inputs: Sequence[Cells], tokenizer: PreTrainedTokenizerBase, limit: int, room: int | None
    ) -> list[Ids]:
        """Return the prompts, cut as in training: the completion has positions of its own."""
        return [self._opening(self.asked(row, tokenizer), tokenizer, limit)[0] for row in inputs]

    def _reads_as_text(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        return is_instruction(self.spec.dataset)

    def input_facts(self, processor: Any) -> dict[str, Any]:
        return super().input_facts(processor) | {"is_encoder_decoder": True}

    def generation_config(self, model: Any, processor: Any, rows: Rows, reporter: Reporter) -> GenerationConfig:
        if self._recipe:
            shown = ", ".join(f"{name} {value}" for name, value in self._recipe.items())
            reporter.event(
                "warning",
                f"The base model's generation_config.json shapes texts for the base's own task ({shown}); the job's "
                "texts are written without that, and the published config lacks it.",
                {"left_out": list(self._recipe)},
            )
        return super().generation_config(model, processor, rows, reporter)

    def usage(self, manifest: dict[str, Any]) -> Usage:
        return Usage(
            auto_model="AutoModelForSeq2SeqLM",
            processor="AutoTokenizer",
            head="",
            setup="",
            names=("GenerationConfig",),
            lines='inputs = processor("A prompt", return_tensors="pt")\n'
            'endings = GenerationConfig.from_pretrained(".")  # with every token that may end a completion\n'
            "made = model.generate(**inputs, generation_config=endings, max_new_tokens=100)[0]\n"
            "print(processor.decode(made, skip_special_tokens=True))",
        )


def completions(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[Ids]:
    """Tokenise completions as the decoder is to write them, (tokens,) each, with the end token."""
    end = tokenizer.eos_token_id
    # mBART writes the end token before the language's, so its place is left to the tokenizer.
    ends_itself = end is None or end in tokenizer(text_target="", verbose=False)["input_ids"]
    closing = [] if ends_itself else [end]
    found: list[Ids] = []
    for start in range(0, len(texts), CHUNK):
        batch = tokenizer(text_target=list(texts[start : start + CHUNK]), truncation=False, verbose=False)
        found.extend(np.array([*ids, *closing], np.int32) for ids in batch["input_ids"])
    return found
