"""Write texts token by token: drawn as a request asks, reported as they grow, and stopped when nobody reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase
from transformers.generation.stopping_criteria import MaxTimeCriteria, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from adamss_core.training.batches import Ids
from adamss_core.training.errors import TrainingError
from adamss_core.training.tasks.text_generation_packing import filled

INCOMPLETE = "�"  # ends the text of tokens that hold a part of a character
Piece = dict[str, Any]


@dataclass(frozen=True)
class Writing:
    """How texts are drawn.

    Attributes:
        max_tokens: of each text; None for as many as fit, up to `MOST_TOKENS` of the task.
        is_clipped: whether a text gets fewer tokens than `max_tokens` where no more fit, instead of being refused.
        temperature: 0 takes the likeliest token each time.
        top_p: draw from the likeliest tokens that have this share of the probability.
        seed: of the first text; each further one has the next.
        stop: texts that end a text and do not belong to it.
        choices: number of texts.
        top_logprobs: likeliest tokens to report beside each token; None reports no probabilities.
        seconds: for all texts together; what is not written by then is left out.
    """

    max_tokens: int | None = None
    is_clipped: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    stop: list[str] = field(default_factory=list)
    choices: int = 1
    top_logprobs: int | None = None
    seconds: float | None = None


def write_stream(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Ids,
    writing: Writing,
    *,
    endings: Sequence[int],
    max_tokens: int,
    report: Callable[[Piece], None],
    stopped: Callable[[], bool],
) -> None:
    """Continue a prompt, (tokens,), one text after another.

    Args:
        endings: tokens that end a text.
        report: called with {"choice", "text", "logprobs"} while a text grows, and with {"choice", "finish", "tokens"}
            at its end, where `finish` is "stop" or "length".
        stopped: asked at each token; the text under way is the last one then.
    """
    ids = filled([prompt], len(prompt), 0).to(model.device)
    ends = None if writing.seconds is None else monotonic() + writing.seconds  # of all texts together
    with torch.random.fork_rng(enabled=writing.temperature > 0), torch.no_grad():
        for choice in range(writing.choices):
            if stopped():
                return
            torch.manual_seed(writing.seed + choice)
            scores = None if writing.top_logprobs is None else TokenScores(tokenizer, writing.top_logprobs)
            text = GrowingText(tokenizer, choice, writing.stop, endings, report, scores)
            limits: list[StoppingCriteria] = [_Either(lambda text=text: text.ended or stopped())]  # type: ignore[misc]
            if ends is not None:
                limits.append(MaxTimeCriteria(max_time=max(0.0, ends - monotonic())))
            model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=_config(writing, tokenizer, endings, max_tokens),
                stopping_criteria=StoppingCriteriaList(limits),
                logits_processor=LogitsProcessorList([] if scores is None else [scores]),
                streamer=text,
            )
            text.finish()


def too_long(prompt: int, max_tokens: int | None, positions: int, where: str) -> TrainingError:
    """Make the error of a prompt that leaves no room for its answer."""
    is_chat, is_full = where == "messages", prompt >= positions
    what = "conversation" if is_chat else "prompt"
    asked = "" if max_tokens is None or is_full else f", and {max_tokens:,} tokens are asked for"
    remedy = f"Shorten the {what}" if not is_chat else "Leave out earlier messages"
    return TrainingError(
        "context_length_exceeded",
        f"The model has {positions:,} positions; the {what}{' alone' * is_full} takes {prompt:,} tokens{asked}.",
        hint=f"{remedy}." if is_full else f"{remedy}, or ask for fewer tokens.",
        where=where,
    )


def _config(
    writing: Writing, tokenizer: PreTrainedTokenizerBase, endings: Sequence[int], max_tokens: int
) -> GenerationConfig:
    drawn = {"do_sample": True, "temperature": writing.temperature, "top_p": writing.top_p, "top_k": 0}
    sampling = drawn if writing.temperature > 0 else {"do_sample": False}
    return GenerationConfig(
        max_new_tokens=max_tokens, eos_token_id=list(endings), pad_token_id=tokenizer.pad_token_id, **sampling
    )


class _Either(StoppingCriteria):
    """Stop where a function says so."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        return torch.full((input_ids.shape[0],), self._stopped(), dtype=torch.bool, device=input_ids.device)


class TokenScores(LogitsProcessor):
    """Log probabilities of each step before temperature and top_p change them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, top: int) -> None:
        self._tokenizer, self._top = tokenizer, top
        self._row: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._row = torch.log_softmax(scores[0].float(), dim=-1)  # (vocabulary,)
        return scores

    def of(self, token: int) -> dict[str, Any]:
        """Return the log probability of the token that was taken at the last step, and those of the likeliest."""
        assert self._row is not None
        values, ids = self._row.topk(self._top) if self._top else (self._row[:0], self._row[:0])
        likeliest = [self._entry(int(one), float(value)) for one, value in zip(ids, values, strict=True)]
        return self._entry(token, float(self._row[token])) | {"top_logprobs": likeliest}

    def _entry(self, token: int, value: float) -> dict[str, Any]:
        return {"token": str(self._tokenizer.decode([token])), "logprob": max(value, -9999.0)}


class GrowingText(BaseStreamer):
    """One text under way: what is certain of it is reported at each token.

    Attributes:
        ended: whether the model, or a text of `stop`, has ended it.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        choice: int,
        stop: Sequence[str],
        endings: Sequence[int],
        report: Callable[[Piece], None],
        scores: TokenScores | None,
    ) -> None:
        self._tokenizer, self._choice, self._stop = tokenizer, choice, [text for text in stop if text]
        self._endings, self._report, self._scores = frozenset(endings), report, scores
        self._ids: list[int] = []
        self._logprobs: list[dict[str, Any]] = []
        self._shown, self._tokens, self._begun, self._is_cut = 0, 0, False, False
        self.ended = False

    def put(self, value: Tensor) -> None:
        """Take the prompt, at the first call, or the next token."""
        if not self._begun:
            self._begun = True
            return
        token = int(value.reshape(-1)[0])
        self._tokens += 1
        if token in self._endings:
            self.ended = True
            return
        self._ids.append(token)
        if self._scores is not None:
            self._logprobs.append(self._scores.of(token))
        self._grow()

    def end(self) -> None:
        """Do nothing: `finish` is called after an exception, too."""

    def finish(self) -> None:
        """Report what was held back, and how the text has ended."""
        text = self._text()
        if not self._is_cut:
            self._show(text, len(text))
        finish = "stop" if self.ended else "length"
        self._report({"choice": self._choice, "finish": finish, "tokens": self._tokens})

    def _grow(self) -> None:
        text = self._text()
        places = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        if places:
            self.ended = self._is_cut = True
            self._show(text, min(places))
        else:
            whole = text.rstrip(INCOMPLETE)
            self._show(text, len(whole) - self._held_back(whole))

    def _text(self) -> str:
        return str(self._tokenizer.decode(self._ids, skip_special_tokens=True))

    def _held_back(self, text: str) -> int:
        """Return the characters at the end that may begin a text of `stop`."""
        lengths = (length for stop in self._stop for length in range(min(len(stop) - 1, len(text)), 0, -1))
        found = [length for length in lengths if any(stop.startswith(text[-length:]) for stop in self._stop)]
        return max(found, default=0)

    def _show(self, text: str, end: int) -> None:
        new, logprobs = text[self._shown : end], self._logprobs
        if not new and not logprobs:
            return
        self._shown, self._logprobs = max(self._shown, end), []
        piece: Piece = {"choice": self._choice, "text": new}
        self._report(piece | ({"logprobs": logprobs} if self._scores is not None else {}))
