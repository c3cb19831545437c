"""Report what a chat template did to the rows: parts that it hides, ends that it lacks, turns that it changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from adamss_core.spec.chat import list_parts
from adamss_core.training.batches import Note
from adamss_core.training.data import Rows
from adamss_core.training.tasks.base import Remark
from adamss_core.training.tasks.text_generation_chats import Rendered

HIDDEN, ENDING = "hidden", "ending"


def notes_of(examples: Sequence[Rendered]) -> dict[Note, list[int]]:
    """Return for each hidden part, and each ending that is not the template's own, the positions of its examples."""
    notes: dict[Note, list[int]] = {}
    for position, example in enumerate(examples):
        for part in sorted(example.hidden):
            notes.setdefault((HIDDEN, part), []).append(position)
        if example.ending != "template":
            notes.setdefault((ENDING, example.ending), []).append(position)
    return notes


def remarks_on_chats(rows: Rows, notes: Mapping[Note, Sequence[int]], which: str) -> list[Remark]:
    """Put notes into words.

    Args:
        rows: an entry for each example.
        which: rows, such as "training".
    """
    counts = {note: len({rows.numbers[position] for position in positions}) for note, positions in notes.items()}
    facts = {"data": which, "of": rows.row_count}
    remarks = []
    if parts := {part: count for (kind, part), count in counts.items() if kind == HIDDEN}:
        message = (
            f"The model's chat template does not show parts of the {which} rows, so nothing is learnt from them: "
            f"{list_parts(parts.items())}."
        )
        remarks.append(Remark("parts_not_shown", message, facts | {"parts": parts}))
    if count := counts.get((ENDING, "eos")):
        message = (
            f"The model's chat template writes no token at the end of an answer, so the end-of-text token of the "
            f"tokenizer is put there, and trained on, in {count:,} {which} rows."
        )
        remarks.append(Remark("answers_ended_with_eos", message, facts | {"rows": count}))
    if count := counts.get((ENDING, "none")):
        message = (
            f"The answers of {count:,} {which} rows end with no token, as neither the model's chat template nor its "
            "tokenizer has one: the model does not learn where to stop."
        )
        remarks.append(Remark("answers_without_end", message, facts | {"rows": count}))
    if split := sum(count > 1 for count in Counter(rows.numbers).values()):
        message = (
            f"{split:,} {which} rows with several answers become several examples each, {len(rows):,} in all: the "
            "model's chat template shows an answer otherwise once others follow, and each is trained on as the model "
            "will see it."
        )
        remarks.append(Remark("rows_split", message, facts | {"rows": split, "examples": len(rows)}))
    return remarks
