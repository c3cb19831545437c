"""Text generation: the next token of a chat's answers, of a completion, or of plain text.

Encoder-decoders learn completions only, and have a record of their own, which `TextGeneration.for_model` returns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from adamss_core.spec.adamss import FieldError, StrictInt
from adamss_core.spec.cells import Cells, Unusable
from adamss_core.spec.chat import looks_like_chat, wrong_with_chat
from adamss_core.spec.facts import ModelFacts
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.spec_model import Column, SpecModel
from adamss_core.spec.suggestion import LABELS, Columns, Suggestion
from adamss_core.spec.tasks.answer import AnswerColumn
from adamss_core.spec.tasks.base import CHAT_TEMPLATE, FieldKind, TaskRecord, missing_part
from adamss_core.spec.tasks.columns import TextColumn
from adamss_core.spec.tasks.metrics import LOSS, PERPLEXITY
from adamss_core.spec.tasks.preset import Block, Preset

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec

NAME = "text-generation"
USUAL_COLUMNS: tuple[dict[str, str], ...] = (
    {"messages": "messages"},
    {"prompt": "prompt", "completion": "completion"},
)
# Usual names of chats, and of a prompt and its completion, the most telling first.
CHATS = ("messages", "conversations", "conversation")
PAIRS_TO_WRITE = (
    *(("prompt", "completion"), ("prompt", "response"), ("instruction", "output"), ("instruction", "response")),
    *(("question", "answer"), ("input", "output"), ("query", "response"), ("source", "target")),
    *(("article", "highlights"), ("document", "summary"), ("dialogue", "summary"), ("text", "summary")),
)
# Beside such a pair, a column under one of these names says that texts are to be classified.
CLASSES_OF_TEXTS = ("label", "labels", "class", "sentiment")
COMPLETIONS = "Name the columns dataset.prompt and dataset.completion, or use a decoder as base model."
LOGIT_BYTES = 4  # fp32
ADAMSS: Block = {"r": 100, "num_subspaces": 32, "subspace_rank": 1}
TRAINING: Block = {
    "learning_rate": 2e-3,
    "batch_size": 8,
    "gradient_accumulation_steps": 2,
    "max_length": 1_024,
    "lr_scheduler": "cosine",
}
REASON = (
    "Ten times the rate of 2e-4 that LoRA is commonly trained with, by the factor that was measured for the "
    "classification of texts; PEFT's benchmark on MetaMathQA has K=32 and the cosine schedule."
)


class TextGenerationColumns(TextColumn):
    prompt: Column | None = None
    """Column with the prompt; needs `completion`."""
    completion: Column | None = None
    """Column with the text to train on for the prompt. Encoder-decoders (T5, BART) learn from these two only."""
    messages: Column | None = None
    """Column with a chat, a list of {role, content}. The assistant's messages are trained on; one with `weight` 0 is
    shown and not trained on. With neither messages nor prompt, the columns are found by the usual names."""


class TextGenerationTraining(SpecModel):
    packing: Annotated[bool, Field(strict=True)] = True
    """Put several short examples into one row, without attention from one to another. Has no effect on
    encoder-decoders."""
    sample_prompts: Annotated[StrictInt, Field(ge=0, le=20)] = 3
    """Number of prompts of the evaluation data to complete, as an event, at each evaluation and before training. With 0
    no text is written at all, so that the finished model's evaluation has no exact match and no ROUGE-L."""


def _preset(name: str, **columns: str) -> Preset:
    return Preset(name=name, task=NAME, dataset=columns, adamss=ADAMSS, training=TRAINING, reason=REASON)


class TextGeneration(TaskRecord):
    name = NAME
    title = "Text generation"
    training_half = "adamss_core.training.tasks.text_generation:TextGeneration"
    column_sets = (("messages",), ("prompt", "completion"), ("text",))
    field_kinds: ClassVar[Mapping[str, FieldKind]] = {
        "messages": "chat",
        "prompt": "text",
        "completion": "text",
        "text": "text",
    }
    field_titles: ClassVar[Mapping[str, str]] = {"messages": "Chat"}
    answers = frozenset({"completion"})
    training_fields = ("packing", "sample_prompts")
    needs = "anything to learn"
    metrics = (LOSS, PERPLEXITY)
    answer_field = None
    answer_columns = (AnswerColumn("text", "Generated"),)
    predict_options: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 128, "temperature": 0.0, "seed": 0}
    auto_model = "AutoModelForCausalLM"
    decodes_only = True
    trains_head = False
    peft_type = "CAUSAL_LM"
    presets = (
        _preset(NAME),
        _preset("chat", messages="messages"),
        _preset("prompt-completion", prompt="prompt", completion="completion"),
        _preset("plain-text", text="text"),
    )
    default_base_model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    starts_pruned = False

    def for_model(self, is_encoder_decoder: bool) -> TaskRecord:
        return ENCODER_DECODER if is_encoder_decoder else self

    def check(self, spec: JobSpec) -> None:
        """Raise FieldError for half a pair, or two kinds of examples at once."""
        data = spec.dataset
        if data.messages is not None and (data.prompt or data.completion) is not None:
            raise FieldError("dataset.messages", "cannot go with prompt and completion: name the one or the others")
        if data.prompt is not None and data.completion is None:
            raise FieldError("dataset.completion", "is required with prompt: the column with the text to learn")
        if data.completion is not None and data.prompt is None:
            raise FieldError("dataset.prompt", "is required with completion; for text alone, use dataset.text")

    def with_usual_columns(self, spec: JobSpec, columns: Collection[str]) -> JobSpec:
        data = spec.dataset
        default_text = type(data).model_fields["text"].default
        if data.messages is not None or data.prompt is not None or data.text != default_text:
            return spec
        usual = next((names for names in USUAL_COLUMNS if set(columns).issuperset(names.values())), {})
        return spec.model_copy(update={"dataset": data.model_copy(update=usual)})

    def suggest(self, columns: Columns) -> Suggestion | None:
        """Find chats, else a prompt and its completion by their usual names, else texts of which nothing is said."""
        return self._suggest_chats(columns) or self._suggest_completions(columns) or self._suggest_texts(columns)

    def _suggest_chats(self, columns: Columns) -> Suggestion | None:
        found = columns.of_type("messages")
        if not found:
            return None
        column = next((name for name in columns.named(CHATS) if name in found), found[0])
        return Suggestion(self.name, None, {"messages": column}, len(found) == 1, 4, f"{column!r} holds chats")

    def _suggest_completions(self, columns: Columns) -> Suggestion | None:
        if any(columns.may_be_label(name) for name in columns.named(CLASSES_OF_TEXTS)):
            return None
        for names in PAIRS_TO_WRITE:
            both = columns.both_texts(names)
            if both is None or (names[1] in LABELS and columns.repeats(both[1])):
                continue
            reason = f"{both[0]!r} and {both[1]!r} are usual names of a prompt and its completion"
            mapping = dict(zip(("prompt", "completion"), both, strict=True))
            return Suggestion(self.name, None, mapping, not columns.repeats(both[1]), 2, reason)
        return None

    def _suggest_texts(self, columns: Columns) -> Suggestion | None:
        text = columns.text()
        if text is None:
            return None
        is_alone = len(columns.by_name) == 1
        reason = f"{text.column!r} holds text, and no other column says what to predict"
        return Suggestion(self.name, None, {"text": text.column}, is_alone and text.is_usual, 0, reason)

    def read(self, spec: JobSpec, cells: Cells) -> Cells:
        if "messages" in cells:
            _check_chat(cells["messages"])
            return cells
        texts = {field: "" if cell is None else str(cell) for field, cell in cells.items()}
        trained = "completion" if "completion" in texts else "text"
        if not texts[trained].strip():
            raise Unusable(f"without a {trained}")
        return texts

    def split_answer(self, cells: Cells) -> tuple[Cells, Any]:
        if "messages" not in cells:
            return super().split_answer(cells)
        *before, last = cells["messages"]
        return {"messages": before}, last["content"]

    def model_problem(self, spec: JobSpec, facts: ModelFacts) -> SpecProblem | None:
        if (problem := super().model_problem(spec, facts)) is not None:
            return problem
        if spec.dataset.messages is None or facts.has_chat_template:
            return None
        return missing_part(spec, CHAT_TEMPLATE, " Or use prompt and completion columns.")

    def packs(self, spec: JobSpec) -> bool:
        return spec.training.packing

    def head_activation_bytes(self, tokens: int, facts: ModelFacts) -> int:
        """Count scores of every token of the vocabulary, their gradient, and the softmax."""
        return 3 * LOGIT_BYTES * self.output_values(tokens, facts)

    def output_values(self, tokens: int, facts: ModelFacts) -> int:
        return tokens * (facts.vocab_size or 0)


class EncoderDecoderRecord(TextGeneration):
    """Text generation on encoder-decoders: the encoder reads the prompt, the decoder learns to write the completion."""

    training_half = "adamss_core.training.tasks.encoder_decoder_generation:EncoderDecoderGeneration"
    auto_model = "AutoModelForSeq2SeqLM"
    decodes_only = False
    has_two_stacks = True
    peft_type = "SEQ_2_SEQ_LM"

    def model_problem(self, spec: JobSpec, facts: ModelFacts) -> SpecProblem | None:
        if (problem := TaskRecord.model_problem(self, spec, facts)) is not None:
            return problem
        fields = self.columns(spec)
        if "completion" in fields:
            return None
        field = next(iter(fields))
        message = f"{needs_completions(spec.base_model, field)} {COMPLETIONS}"
        return SpecProblem(f"dataset.{field}", message, "needs_completions")

    def packs(self, spec: JobSpec) -> bool:
        return False


def needs_completions(base_model: str, field: str) -> str:
    """Say that an encoder-decoder cannot learn from the column of `field`, which is messages or text."""
    rows = {"messages": "chats", "text": "texts alone"}[field]
    return (
        f"'{base_model}' is an encoder-decoder, which reads a prompt and writes a completion: it cannot learn {rows}."
    )


ENCODER_DECODER = EncoderDecoderRecord()


def _check_chat(messages: Any) -> None:
    if not isinstance(messages, list) or not looks_like_chat(messages):
        raise Unusable("without messages")
    if (wrong := wrong_with_chat(messages)) is not None:
        raise Unusable(f"where the row {wrong}")


RECORDS = (TextGeneration(),)
