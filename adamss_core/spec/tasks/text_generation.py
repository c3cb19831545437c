"""Text generation: the next token of a chat's answers, of a completion, or of plain text.

Encoder-decoders learn completions only, and have a record of their own, which `TextGeneration.for_model` returns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from adamss_core.spec.adamss import FieldError, StrictInt
from adamss_core.spec.cells import Cells, Unusable
from adamss_core.spec.chat import trained_turns
from adamss_core.spec.facts import ModelFacts
from adamss_core.spec.instructions import is_instruction
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.spec_model import Column, SpecModel
from adamss_core.spec.suggestion import Columns, Suggestion
from adamss_core.spec.tasks.answer import AnswerColumn
from adamss_core.spec.tasks.base import CHAT_TEMPLATE, FieldKind, TaskRecord, missing_part
from adamss_core.spec.tasks.columns import TextColumn
from adamss_core.spec.tasks.metrics import LOSS, PERPLEXITY, TOKEN_ACCURACY
from adamss_core.spec.tasks.preset import Block, Preset
from adamss_core.spec.tasks.text_generation_rows import instruction_as_text, read_chat, read_instruction
from adamss_core.spec.tasks.text_generation_suggestion import suggest_writing
from adamss_core.spec.tools import TOOLS, answer_text

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec

NAME = "text-generation"
USUAL_COLUMNS: tuple[dict[str, str], ...] = (
    {"messages": "messages"},
    {"prompt": "prompt", "completion": "completion"},
)
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
    prompt: Column | Annotated[list[Column], Field(min_length=1, max_length=8)] | None = None
    """Column with the prompt, a text that `completion` continues; or a list of columns that are an instruction. Their
    texts are joined by a blank line, empty ones left out. Models with a chat template read an instruction as a turn of
    the user and the completion as the answer, others read text. With `system` or `history`, any prompt is one."""
    completion: Column | None = None
    """Column with the text to train on for the prompt. Encoder-decoders (T5, BART) learn from prompts only."""
    system: Column | None = None
    """Column with a system message, for rows of `prompt` or `messages`; a chat's own comes before it."""
    history: Column | None = None
    """Column with the turns before the `prompt`, as a chat; they are shown and not trained on."""
    messages: Column | None = None
    """Column with a chat, a list of {role, content}. The assistant's messages are trained on, its `tool_calls` too; one
    with `weight` 0 is shown and not trained on. With neither messages nor prompt, the columns are found by the usual
    names."""
    tools: Column | None = None
    """Column with the functions that the assistant of `messages` may call, JSON lists, for the chat template's `tools`.
    Where it is left out, a column of that name is taken."""


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
    optional_fields: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "messages": ("system", "tools"),
        "prompt": ("system", "history"),
    }
    field_kinds: ClassVar[Mapping[str, FieldKind]] = {
        "messages": "chat",
        "prompt": "text",
        "completion": "text",
        "system": "text",
        "history": "chat",
        "tools": "tools",
        "text": "text",
    }
    field_titles: ClassVar[Mapping[str, str]] = {"messages": "Chat", "system": "System message"}
    answers = frozenset({"completion"})
    training_fields = ("packing", "sample_prompts")
    needs = "anything to learn"
    metrics = (LOSS, PERPLEXITY, TOKEN_ACCURACY)
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
        for field, beside in (("tools", "messages"), ("history", "prompt")):
            if getattr(data, field) is not None and getattr(data, beside) is None:
                raise FieldError(f"dataset.{field}", f"goes with {beside}: name that column, or leave {field} out")
        if data.system is not None and data.messages is None and data.prompt is None:
            raise FieldError("dataset.system", "goes with prompt or messages: name that column, or leave system out")

    def with_usual_columns(self, spec: JobSpec, columns: Collection[str]) -> JobSpec:
        data = spec.dataset
        default_text = type(data).model_fields["text"].default
        found: dict[str, str] = {}
        if data.messages is None and data.prompt is None and data.text == default_text:
            found = dict(next((names for names in USUAL_COLUMNS if set(columns).issuperset(names.values())), {}))
        has_chats = data.messages is not None or "messages" in found
        if has_chats and "tools" not in data.model_fields_set and TOOLS in columns:
            found["tools"] = TOOLS
        return spec.model_copy(update={"dataset": data.model_copy(update=found)}) if found else spec

    def suggest(self, columns: Columns) -> Suggestion | None:
        return suggest_writing(self.name, columns)

    def read_fields(self, spec: JobSpec) -> tuple[str, ...]:
        if spec.dataset.messages is None and is_instruction(spec.dataset):
            return ("messages",)
        return tuple(field for field in self.columns(spec) if field != "system")

    def read(self, spec: JobSpec, cells: Cells) -> Cells:
        if "messages" in cells:
            return read_chat(cells)
        if is_instruction(spec.dataset):
            return read_instruction(cells)
        texts = {field: "" if cell is None else str(cell) for field, cell in cells.items()}
        trained = "completion" if "completion" in texts else "text"
        if not texts[trained].strip():
            raise Unusable(f"without a {trained}")
        return texts

    def split_answer(self, cells: Cells) -> tuple[Cells, Any]:
        if "messages" not in cells:
            return super().split_answer(cells)
        messages = cells["messages"]
        last = trained_turns(messages)[-1]
        return cells | {"messages": messages[:last]}, answer_text(messages[last])

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

    def read_fields(self, spec: JobSpec) -> tuple[str, ...]:
        fields = super().read_fields(spec)
        return ("prompt", "completion") if fields == ("messages",) and spec.dataset.messages is None else fields

    def read(self, spec: JobSpec, cells: Cells) -> Cells:
        found = super().read(spec, cells)
        return instruction_as_text(found) if spec.dataset.messages is None and "messages" in found else found


def needs_completions(base_model: str, field: str) -> str:
    """Say that an encoder-decoder cannot learn from the column of `field`, which is messages or text."""
    rows = {"messages": "chats", "text": "texts alone"}[field]
    return (
        f"'{base_model}' is an encoder-decoder, which reads a prompt and writes a completion: it cannot learn {rows}."
    )


ENCODER_DECODER = EncoderDecoderRecord()


RECORDS = (TextGeneration(),)
