"""Texts that are written token by token: where they end, and how long they may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch

from adamss_core.training.tasks import text_generation_stream
from adamss_core.training.tasks.text_generation_stream import GrowingText, Writing, write_stream

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Bytes:
    """Tokenizer of which each token is a byte, so that a character may take several."""

    pad_token_id = 0

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        return bytes(ids).decode(errors="replace")


BYTES = cast("PreTrainedTokenizerBase", Bytes())


@pytest.mark.parametrize(
    ("text", "stop"), [("Yes.\n用户: more", "\n用户"), ("abc###é next", "###é"), ("abc###e next", "###e")]
)
def test_nothing_of_a_stop_text_is_shown(text: str, stop: str) -> None:
    pieces: list[dict[str, Any]] = []
    growing = GrowingText(BYTES, 0, [stop], [], pieces.append, None)
    growing.put(torch.tensor([0]))
    for byte in text.encode():
        if not growing.ended:
            growing.put(torch.tensor([byte]))
    growing.finish()
    assert "".join(piece.get("text", "") for piece in pieces) == text[: text.find(stop)]
    assert pieces[-1]["finish"] == "stop"


class Slow:
    """Model that takes a second for each text, by a clock that it moves itself."""

    device = torch.device("cpu")

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.allowed = 0.0, list[float]()
        monkeypatch.setattr(text_generation_stream, "monotonic", lambda: self.now)

    def generate(self, *, stopping_criteria: Any, **_: Any) -> None:
        self.allowed.append(stopping_criteria[-1].max_time)
        self.now += 1


def test_several_texts_share_the_time_that_one_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompt = Slow(monkeypatch), np.array([1], np.int32)
    writing = Writing(choices=4, seconds=2.5)
    write_stream(
        model, BYTES, prompt, writing, endings=[0], max_tokens=9, report=lambda piece: None, stopped=lambda: False
    )
    assert model.allowed == [2.5, 1.5, 0.5, 0.0]
