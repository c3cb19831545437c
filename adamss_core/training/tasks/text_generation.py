"""Text that goes on from a prompt, answers in a chat, or plain text."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from adamss_core.inspection import position_limit
from adamss_core.spec.cells import Cells, reader_of
from adamss_core.spec.generation import with_usual_columns
from adamss_core.training.batches import IGNORED, Collate, Encoded, Ids, Inputs
from adamss_core.training.data import Rows, read_rows
from adamss_core.training.errors import bad_data
from adamss_core.training.request import Reporter, Values
from adamss_core.training.tasks.base import Found, Usage
from adamss_core.training.tasks.text import TextTask
from adamss_core.training.tasks.text_generation_packing import PackedExamples, PaddedExamples, why_not_packed
from adamss_core.training.tasks.text_generation_samples import last, write
from adamss_core.training.tasks.text_generation_spans import (
    Example,
    Rendered,
    UnusableChat,
    render,
    render_prompt,
    tokenise_rendered,
)

PROBE_TOKENS = 32  # of each row; logits over a whole vocabulary are large
SHOWN = 5  # rows in an error
SAMPLE_TOKENS, SAMPLE_SECONDS, SAMPLE_CHARACTERS = 64, 20.0, 2_000  # of an evaluation's samples
OPENING_TOKENS = 16  # of a plain text, which is then to be continued


class TextGeneration(TextTask):
    """The next token, counted where it is to be learnt."""

    peft_type = "CAUSAL_LM"
    auto_model = AutoModelForCausalLM
    trains_head = False
    needs = "anything to learn"

    def read(self, path: Path) -> Rows:
        with path.open(encoding="utf-8") as file:
            first = next((line for line in file if line.strip()), "{}")
        try:
            columns = json.loads(first)
        except ValueError:  # said with its row number below
            columns = {}
        return read_rows(path, reader_of(with_usual_columns(self.spec, columns)))

    def head_options(self, classes: Sequence[str]) -> dict[str, Any]:
        return {}

    # --- examples ---------------------------------------------------------------------------------------------------

    def encode(self, rows: Rows, classes: list[str], processor: PreTrainedTokenizerBase, limit: int) -> Encoded:
        examples = tokenise_rendered(self._rendered(rows, processor), processor, limit)
        targets = [shifted(example) for example in examples]
        return Encoded(
            [{"input_ids": example.ids} for example in examples],
            targets,
            torch.tensor([len(example.ids) for example in examples]),
            torch.tensor([int((target != IGNORED).sum()) for target in targets]),
            [place for place, example in enumerate(examples) if example.cut],
        )

    def _rendered(self, rows: Rows, tokenizer: PreTrainedTokenizerBase) -> list[Rendered]:
        """Raises TrainingError bad_data, with the rows that cannot be rendered."""
        found, unusable = [], []
        for number, row in zip(rows.numbers, cells(rows), strict=True):
            try:
                found.append(render(row, tokenizer))
            except UnusableChat as problem:
                unusable.append(f"row {number} {problem}")
        if unusable:
            more = f" In all, {len(unusable)} rows cannot be used." if len(unusable) > 1 else ""
            raise bad_data(
                f"The data cannot be trained on: {'; '.join(unusable[:SHOWN])}.{more}",
                hint="Correct these rows, or take them out, and upload the data set again.",
                where="dataset.train",
            )
        return found

    def collator(self, processor: PreTrainedTokenizerBase, device: torch.device) -> PaddedExamples:
        return PaddedExamples(processor.pad_token_id, device)

    def training_collator(
        self, processor: Any, device: torch.device, model: Any, train: Encoded, limit: int, reporter: Reporter
    ) -> Collate:
        """Packed where the job wants it and the model can take it."""
        if not self.spec.training.packing:
            return self.collator(processor, device)
        if (reason := why_not_packed(model, train, processor.pad_token_id)) is not None:
            reporter.event(
                "packing_off", f"Examples are not packed: the model cannot take packed rows, as {reason}.", {}
            )
            return self.collator(processor, device)
        return PackedExamples(processor.pad_token_id, limit, device)

    # --- loss and metrics -------------------------------------------------------------------------------------------

    def losses(self, outputs: Any, targets: Tensor) -> Tensor:
        counted = targets != IGNORED
        terms = F.cross_entropy(outputs.logits[counted].float(), targets[counted], reduction="none")
        rows = counted.nonzero()[:, 0]
        return torch.zeros(len(targets), device=terms.device).index_add(0, rows, terms)

    def predictions(self, outputs: Any, targets: Tensor) -> Found:
        return {"terms": (targets != IGNORED).sum(1)}

    def metrics(self, found: Found, classes: list[str]) -> Values:
        return {"perplexity": perplexity(float(found["losses"].double().sum() / found["terms"].sum()))}

    def baseline(self, train: Encoded, evaluation: Encoded, classes: list[str]) -> dict[str, Any]:
        """Tokens by how often they are learnt from in the training data, one more for each token of the evaluation."""
        learnt, asked = (torch.from_numpy(np.concatenate(part.targets)).long() for part in (train, evaluation))
        learnt, asked = learnt[learnt != IGNORED], asked[asked != IGNORED]
        counts = torch.bincount(torch.cat([learnt, asked.unique()])).double()
        loss = float(-(counts[asked] / counts.sum()).log().mean())
        return {"predicts": "tokens by their frequency", "loss": loss, "perplexity": perplexity(loss)}

    # --- afterwards -------------------------------------------------------------------------------------------------

    def probe(self, processor: PreTrainedTokenizerBase, rows: Rows, limit: int) -> Inputs:
        encoded = self.encode(rows, [], processor, min(limit, PROBE_TOKENS))
        inputs, _ = self.collator(processor, torch.device("cpu"))(encoded, list(range(len(rows))))
        return inputs

    def samples(self, model: Any, processor: Any, rows: Rows, limit: int) -> list[dict[str, Any]]:
        chosen = rows.take(list(range(min(self.spec.training.sample_prompts, len(rows)))))
        if not len(chosen):
            return []
        found = []
        given = list(cells(chosen))
        prompts, expected = zip(*(self._opening(row, processor, limit) for row in given), strict=True)
        written = write(model, processor, prompts, max_new_tokens=SAMPLE_TOKENS, seconds=SAMPLE_SECONDS)
        for number, prompt, wanted, answer in zip(chosen.numbers, prompts, expected, written, strict=True):
            texts = {"prompt": processor.decode(prompt), "completion": answer.text, "expected": wanted}
            shown = {name: text[:SAMPLE_CHARACTERS] for name, text in texts.items()}
            found.append({"row": number, **shown, "tokens": answer.tokens, "ended": answer.ended})
        return found

    def _opening(self, row: Cells, tokenizer: PreTrainedTokenizerBase, limit: int) -> tuple[Ids, str]:
        """What is to be continued, and how the data goes on."""
        (example,) = tokenise_rendered([render_prompt(row, tokenizer)], tokenizer, 10**9, end=False)
        if "messages" in row:
            return last(example.ids, limit), row["messages"][-1]["content"]
        if "completion" in row:
            return last(example.ids, limit), row["completion"]
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
        """As in `Task`; a prompt of more than `limit` tokens loses its beginning.

        Raises:
            TrainingError: bad_data, for messages that the model's chat template refuses.
        """
        try:
            prompts = [render_prompt(row, processor) for row in inputs]
        except UnusableChat as problem:
            raise bad_data(f"An input {problem}.", hint="Correct its messages.", where="messages") from problem
        examples = tokenise_rendered(prompts, processor, 10**9, end=False)
        room = position_limit(model.config)
        count = max_new_tokens if room is None else min(max_new_tokens, room - 1)
        kept = limit if room is None else min(limit, room - count)
        written = write(
            model,
            processor,
            [last(example.ids, kept) for example in examples],
            max_new_tokens=count,
            temperature=temperature,
            seed=seed,
        )
        return [{"text": answer.text, "tokens": answer.tokens, "ended": answer.ended} for answer in written]

    def usage(self, manifest: dict[str, Any]) -> Usage:
        if manifest["spec"]["dataset"]["messages"] is not None:
            prompt = (
                'messages = [{"role": "user", "content": "A question."}]\n'
                "inputs = processor.apply_chat_template(\n"
                '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"\n)\n'
            )
        else:
            prompt = 'inputs = processor("A beginning", return_tensors="pt")\n'
        return Usage(
            auto_model="AutoModelForCausalLM",
            processor="AutoTokenizer",
            head="",
            setup="",
            lines=f"{prompt}made = model.generate(**inputs, max_new_tokens=100)[0]\n"
            'print(processor.decode(made[inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
        )


def cells(rows: Rows) -> list[Cells]:
    """Each row by itself."""
    names = list(rows.columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*rows.columns.values(), strict=True)]


def shifted(example: Example) -> Ids:
    """(tokens,) for each token the one that follows it, where that is learnt, else IGNORED."""
    targets = np.full(len(example.ids), IGNORED, np.int32)
    targets[:-1] = np.where(example.learnt[1:], example.ids[1:], IGNORED)
    return targets


def perplexity(loss: float) -> float | None:
    """exp of the mean loss over tokens; None where that is beyond any number."""
    return math.exp(loss) if loss < 700 else None
