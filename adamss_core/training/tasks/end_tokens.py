"""Check the end tokens by which encoder-decoders classify a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adamss_core.training.batches import Tokenised
from adamss_core.training.data import Rows
from adamss_core.training.errors import TrainingError, bad_data

SHOWN = 5  # rows in an error


@dataclass(frozen=True)
class EndTokens:
    """The end tokens of an example: transformers takes the state at the last one, and all rows must have as many.

    Attributes:
        token: id.
        text: the token as it would stand in a text.
        count: in an example whose text has none.
    """

    token: int
    text: str
    count: int

    @classmethod
    def of(cls, model: str, token: int, tokenizer: Any, is_pair: bool) -> EndTokens:
        """Count the end tokens that the tokenizer adds.

        Raises:
            TrainingError: tokenizer_mismatch, where it adds none, or pads with them.
        """
        count = tokenizer("a", "a" if is_pair else None)["input_ids"].count(token)
        text = str(tokenizer.convert_ids_to_tokens(token))
        if count and tokenizer.pad_token_id != token:
            return cls(token, text, count)
        problem = "adds no end token to a text" if not count else "pads with the end token"
        raise TrainingError(
            "tokenizer_mismatch",
            f"The tokenizer of '{model}' {problem} ('{text}'), but this model classifies a text by its end token.",
            hint="Use a tokenizer that ends each text with it, and has another padding token, or an encoder as base "
            "model.",
            where="base_model",
        )

    def check(self, texts: Tokenised, rows: Rows) -> None:
        """Raise TrainingError bad_data for rows whose text has an end token of its own."""
        counts = [int((feature["input_ids"] == self.token).sum()) for feature in texts.features]
        wrong = [number for number, count in zip(rows.numbers, counts, strict=True) if count != self.count]
        if wrong:
            shown = ", ".join(map(str, wrong[:SHOWN]))
            raise bad_data(
                f"{len(wrong)} rows have '{self.text}' in their text, such as row {shown}: by this token the "
                "model finds the end of a text.",
                hint="Take it out of the text, or use an encoder as base model.",
                where="dataset.train",
            )
