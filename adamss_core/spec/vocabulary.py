"""Compare the tokens of a tokenizer with the rows of a model's embeddings."""

from __future__ import annotations


def tokens_without_row(model: str, token_ids: int | None, rows: int | None) -> tuple[str, str] | None:
    """Return why a model cannot embed all tokens of its tokenizer, and a remedy; None where it can or nothing is known.

    A token without a row ends the training at the first text that has it. The padding token is often one, added to the
    tokenizer of a model that came without.

    Args:
        model: its name.
        token_ids: ids that the tokenizer may give, from 0 to the largest.
        rows: of the embeddings.
    """
    if token_ids is None or rows is None or token_ids <= rows:
        return None
    return (
        f"The tokenizer of '{model}' gives {token_ids:,} token ids, but the model's embeddings have {rows:,} rows.",
        f"Add the missing rows with model.resize_token_embeddings({token_ids}) and save the model again, or take the "
        "added tokens out of the tokenizer's files.",
    )
