"""Text that continues a prompt, answers in a chat, or plain text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import GenerationConfig, PreTrainedTokenizerBase

from adamss_core.inspection import position_limit
from adamss_core.spec.cells import Cells
from adamss_core.spec.instructions import as_prompt, is_instruction, prompting_chat, with_system
from adamss_core.spec.tools import answer_text
from adamss_core.training.batches import IGNORED, Collate, Encoded, Ids, Inputs
from adamss_core.training.data import Rows, read_rows
from adamss_core.training.errors import bad_data
from adamss_core.training.request import Reporter, Values
from adamss_core.training.tasks.base import Answered, Predictions, Remark, Usage
from adamss_core.training.tasks.text import TextTask
from adamss_core.training.tasks.text_generation_answers import TOKENS, answer_report
from adamss_core.training.tasks.text_generation_chats import Rendered
from adamss_core.training.tasks.text_generation_endings import endings, published_config
from adamss_core.training.tasks.text_generation_packing import PackedExamples, PaddedExamples, why_not_packed
from adamss_core.training.tasks.text_generation_remarks import notes_of, remarks_on_chats
from adamss_core.training.tasks.text_generation_samples import Written, last, write
from adamss_core.training.tasks.text_generation_spans import (
    Example,
    render,
    render_prompt,
    split_chats,
    template_of,
    tokenise_rendered,
    without_template,
)
from adamss_core.training.tasks.text_generation_stream import Piece, Writing, too_long, write_stream
from adamss_core.training.tasks.text_generation_template import UnusableChat

PROBE_TOKENS = 32  # of each row; logits over a whole vocabulary are large
SHOWN_ROWS = 5  # in an error
SAMPLE_TOKENS, SAMPLE_SECONDS, SAMPLE_CHARACTERS = 64, 20.0, 2_000  # of an evaluation's samples
OPENING_TOKENS = 16  # of a plain text, which the model then continues
MOST_PROMPT = 10**9  # tokens: a prompt that is too long is refused, not cut
MOST_TOKENS = 1_024  # of an answer where the request leaves that open
UNCOUNTED_TOKENS = 32_768  # of prompt and answer, for models that have no limit of positions


class TextGeneration(TextTask):
    """Cross-entropy of the next token, where that is trained on."""

    def read(self, path: Path) -> Rows:
        with path.open(encoding="utf-8") as file:
            first = next((line for line in file if line.strip()), "{}")
        try:
            columns = json.loads(first)
        except ValueError:  # read_rows reports it with its row number
            columns = {}
        return read_rows(path, self.record.reader(self.record.with_usual_columns(self.spec, columns)))

    def head_options(self, classes: Sequence[str]) -> dict[str, Any]:
        return {}

    # --- examples ---------------------------------------------------------------------------------------------------

    def split_rows(self, rows: Rows, processor: PreTrainedTokenizerBase) -> Rows:
        if "messages" in rows.columns and self._reads_as_text(processor):
            return without_template(rows)
        return split_chats(rows, processor)

    def encode(self, rows: Rows, classes: list[str], processor: PreTrainedTokenizerBase, limit: int) -> Encoded:
        rendered = self._rendered(rows, processor)
        examples = tokenise_rendered(rendered, processor, limit)
        targets = [shifted(example) for example in examples]
        return Encoded(
            [{"input_ids": example.ids} for example in examples],
            targets,
            torch.tensor([len(example.ids) for example in examples]),
            torch.tensor([int((target != IGNORED).sum()) for target in targets]),
            [index for index, example in enumerate(examples) if example.cut],
            notes_of(rendered),
        )

    def _reads_as_text(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """Return whether the job's rows are instructions, and the model has no chat template to render them with."""
        data = self.spec.dataset
        return tokenizer.chat_template is None and data.messages is None and is_instruction(data)

    def remarks(self, rows: Rows, encoded: Encoded, which: str) -> list[Remark]:
        return remarks_on_chats(rows, encoded.notes, which)

    def _rendered(self, rows: Rows, tokenizer: PreTrainedTokenizerBase) -> list[Rendered]:
        """Render each row as text; raises TrainingError bad_data, with the rows that cannot be rendered."""
        template = template_of(rows, tokenizer)
        rendered, unusable = [], []
        for number, row in zip(rows.numbers, rows.cells(), strict=True):
            try:
                rendered.append(render(row, template))
            except UnusableChat as problem:
                unusable.append(f"row {number} {problem}")
        if unusable:
            more = f" In all, {len(unusable)} rows cannot be used." if len(unusable) > 1 else ""
            raise bad_data(
                f"The data cannot be trained on: {'; '.join(unusable[:SHOWN_ROWS])}.{more}",
                hint="Correct these rows, or take them out, and upload the data set again.",
                where="dataset.train",
            )
        return rendered

    def collator(self, processor: PreTrainedTokenizerBase, device: torch.device) -> Collate:
        return PaddedExamples(processor.pad_token_id, device)

    def training_collator(
        self, processor: Any, device: torch.device, model: Any, train: Encoded, limit: int, reporter: Reporter
    ) -> Collate:
        """Pack rows where the job asks for it and the model can take it."""
        if not self.spec.training.packing:
            return self.collator(processor, device)
        if (reason := why_not_packed(model, train, processor.pad_token_id)) is not None:
            reporter.event(
                "packing_off", f"Examples are not packed: the model cannot take packed rows, as {reason}.", {}
            )
            return self.collator(processor, device)
        return PackedExamples(processor.pad_token_id, limit, device)

    def trained_tokens(self, encoded: Encoded, index: int) -> list[bool]:
        """Return (tokens,) whether a token is trained on; a target stands one position before its token."""
        return [False, *(int(target) != IGNORED for target in encoded.targets[index][:-1])]

    # --- loss and metrics -------------------------------------------------------------------------------------------

    def losses(self, outputs: Any, targets: Tensor) -> Tensor:
        counted = targets != IGNORED
        terms = F.cross_entropy(outputs.logits[counted].float(), targets[counted], reduction="none")
        rows = counted.nonzero()[:, 0]
        return torch.zeros(len(targets), device=terms.device).index_add(0, rows, terms)

    def predictions(self, outputs: Any, targets: Tensor) -> Predictions:
        return {"terms": (targets != IGNORED).sum(1), "hits": (outputs.logits.argmax(-1) == targets).sum(1)}

    def metrics(self, predictions: Predictions, classes: list[str]) -> Values:
        terms = predictions["terms"].sum()
        return {
            "perplexity": perplexity(float(predictions["losses"].double().sum() / terms)),
            "token_accuracy": float(predictions["hits"].sum() / terms),
        }

    def baseline(self, train: Encoded, evaluation: Encoded, classes: list[str]) -> None:
        """Leave it to the base model, which writes texts already."""
        return

    # --- afterwards -------------------------------------------------------------------------------------------------

    def probe(self, processor: PreTrainedTokenizerBase, rows: Rows, limit: int) -> Inputs:
        encoded = self.encode(rows, [], processor, min(limit, PROBE_TOKENS))
        inputs, _ = self.collator(processor, torch.device("cpu"))(encoded, list(range(len(rows))))
        return inputs

    def samples(self, model: Any, processor: Any, rows: Rows, limit: int) -> list[dict[str, Any]]:
        chosen = rows.take(list(range(min(self.spec.training.sample_prompts, len(rows)))))
        if not len(chosen):
            return []
        openings = [self._opening(row, processor, limit) for row in chosen.cells()]
        prompts, continuations = zip(*openings, strict=True)
        written = write(
            model,
            processor,
            prompts,
            endings=endings(model, processor, chat="messages" in rows.columns),
            max_new_tokens=SAMPLE_TOKENS,
            seconds=SAMPLE_SECONDS,
        )
        samples = []
        for number, prompt, expected, answer in zip(chosen.numbers, prompts, continuations, written, strict=True):
            texts = {"prompt": processor.decode(prompt), "completion": answer.text, "expected": expected}
            shortened = {name: text[:SAMPLE_CHARACTERS] for name, text in texts.items()}
            samples.append({"row": number, **shortened, "tokens": answer.tokens, "ended": answer.ended})
        return samples

    def evaluation(self, answered: Answered) -> dict[str, Any]:
        """Compare answers to some rows with the data's, unless the job writes no texts at all; plain text has none."""
        if not self.spec.training.sample_prompts or "text" in answered.rows.columns:
            return {}
        model, tokenizer = answered.model, answered.processor
        ends = endings(model, tokenizer, chat="messages" in answered.rows.columns)

        def answer(row: Cells, seconds: float) -> tuple[str, Written]:
            prompt, expected = self._opening(row, tokenizer, answered.limit)
            usual = 2 * len(tokenizer(expected, add_special_tokens=False)["input_ids"]) + 16
            (written,) = write(
                model, tokenizer, [prompt], endings=ends, max_new_tokens=min(TOKENS, usual), seconds=seconds
            )
            return expected, written

        return answer_report(answered.rows, answer)

    def _opening(self, row: Cells, tokenizer: PreTrainedTokenizerBase, limit: int) -> tuple[Ids, str]:
        """Return the tokens to continue, and the data's own continuation."""
        (example,) = tokenise_rendered([render_prompt(row, tokenizer)], tokenizer, 10**9, end=False)
        if "messages" in row:
            return last(example.ids, limit, tokenizer), answer_text(row["messages"][-1])
        if "completion" in row:
            return last(example.ids, limit, tokenizer), row["completion"]
        opening = example.ids[: max(1, min(OPENING_TOKENS, len(example.ids) // 2))]
        return opening, str(tokenizer.decode(example.ids[len(opening) :]))

    def predict(
        self,
        model: Any,
        processor: Any,
        inputs: Sequence[Cells],
        limit: int,
        *,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[dict[str, Any]]:
        """Return the answers as `Task` says; a prompt of more than `limit` tokens loses its beginning, and half of the
        model's positions at most are kept free of it for the answer.

        Raises:
            TrainingError: bad_data, for messages that the model's chat template refuses.
        """
        positions = position_limit(model.config)
        room = None if positions is None else positions - min(max_new_tokens, positions // 2)
        written = write(
            model,
            processor,
            self._prompts(inputs, processor, limit, room),
            endings=endings(model, processor, chat=any("messages" in self.asked(row, processor) for row in inputs)),
            max_new_tokens=max_new_tokens,
            positions=positions,
            temperature=temperature,
            seed=seed,
        )
        return [{"text": answer.text, "tokens": answer.tokens, "ended": answer.ended} for answer in written]

    def write_stream(
        self,
        model: Any,
        processor: Any,
        cells: Cells,
        limit: int,
        writing: Writing,
        report: Callable[[Piece], None],
        stopped: Callable[[], bool],
    ) -> None:
        """Continue one prompt or chat as `text_generation_stream.write_stream` does; `report` first takes
        {"prompt_tokens"}.

        Raises:
            TrainingError: bad_data, for messages that the chat template refuses; context_length_exceeded.
        """
        (prompt,) = self._prompts([cells], processor, MOST_PROMPT, None)
        # Where the model has no positions to count, as many tokens as the job was trained with are certain to work.
        positions = position_limit(model.config) or max(limit, UNCOUNTED_TOKENS)
        room = positions if model.config.is_encoder_decoder else positions - len(prompt)
        needed = 1 if writing.max_tokens is None or writing.is_clipped else writing.max_tokens
        if len(prompt) >= positions or needed > room:
            raise too_long(len(prompt), writing.max_tokens, positions, "messages" if "messages" in cells else "prompt")
        report({"prompt_tokens": len(prompt)})
        write_stream(
            model,
            processor,
            prompt,
            writing,
            endings=endings(model, processor, chat="messages" in self.asked(cells, processor)),
            max_tokens=min(room, writing.max_tokens or MOST_TOKENS),
            report=report,
            stopped=stopped,
        )

    def _prompts(
        self, inputs: Sequence[Cells], tokenizer: PreTrainedTokenizerBase, limit: int, room: int | None
    ) -> list[Ids]:
        """Return the tokens to continue, at most `limit` and what the answer leaves room for."""
        try:
            prompts = [render_prompt(self.asked(row, tokenizer), tokenizer) for row in inputs]
        except UnusableChat as problem:
            raise bad_data(f"An input {problem}.", hint="Correct its messages.", where="messages") from problem
        examples = tokenise_rendered(prompts, tokenizer, 10**9, end=False)
        most = limit if room is None else min(limit, room)
        return [last(example.ids, most, tokenizer) for example in examples]

    def asked(self, row: Cells, tokenizer: PreTrainedTokenizerBase) -> Cells:
        """Return an input as it is rendered: an instruction as a chat, or as text where there is no chat template."""
        data = self.spec.dataset
        if "messages" in row:
            return row | {"messages": with_system(row["messages"], row.get("system"))}
        if "prompt" not in row or not is_instruction(data):
            return row
        chat = prompting_chat(row)
        return {"prompt": as_prompt(chat)} if self._reads_as_text(tokenizer) else {"messages": chat}

    def input_facts(self, processor: Any) -> dict[str, Any]:
        is_chat = self.spec.dataset.messages is not None or (
            is_instruction(self.spec.dataset) and not self._reads_as_text(processor)
        )
        return {"is_chat": is_chat}

    def generation_config(self, model: Any, processor: Any, rows: Rows, reporter: Reporter) -> GenerationConfig:
        config, left_out = published_config(model, processor, chat="messages" in rows.columns)
        if left_out:
            names = ", ".join(left_out)
            reporter.event(
                "warning",
                f"The base model's generation_config.json contradicts itself: {names} cannot go with its other "
                "settings, and the published one lacks them.",
                {"left_out": left_out},
            )
        return config

    def usage(self, manifest: dict[str, Any]) -> Usage:
        if manifest["is_chat"]:
            # A list of their JSON schemas, in the place of None.
            tools = "tools=None, " if manifest["spec"]["dataset"]["tools"] is not None else ""
            prompt = (
                'messages = [{"role": "user", "content": "A question."}]\n'
                "inputs = processor.apply_chat_template(\n"
                f'    messages, {tools}add_generation_prompt=True, return_dict=True, return_tensors="pt"\n)\n'
            )
        else:
            prompt = 'inputs = processor("A beginning", return_tensors="pt")\n'
        return Usage(
            auto_model="AutoModelForCausalLM",
            processor="AutoTokenizer",
            head="",
            setup="",
            names=("GenerationConfig",),
            lines=f"{prompt}"
            'endings = GenerationConfig.from_pretrained(".")  # with every token that may end an answer\n'
            "made = model.generate(**inputs, generation_config=endings, max_new_tokens=100)[0]\n"
            'print(processor.decode(made[inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
        )


def shifted(example: Example) -> Ids:
    """Return for each token the one that follows it, where that is trained on, else IGNORED; (tokens,)."""
    targets = np.full(len(example.ids), IGNORED, np.int32)
    targets[:-1] = np.where(example.trained[1:], example.ids[1:], IGNORED)
    return targets


def perplexity(loss: float) -> float | None:
    """Return exp of the mean loss over tokens; None beyond any number."""
    return math.exp(loss) if loss < 700 else None
