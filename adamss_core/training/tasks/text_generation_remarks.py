"""Report what a chat template did to the rows: parts that it hides, ends that it lacks, turns that it changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from adamss_core.spec.chat import list_parts
from adamss_core.training.batches import Note
from adamss_core.training.data import Rows
from adamss_core.training.tasks.base import Remark
from adamss_core.training.tasks.text_generation_chats import Rendered

HIDDEN = "hidden"
_EOS, _NO_END, _OTHER_PROMPT = ("ending", "eos"), ("ending", "none"), ("prompt", "differs")
_JOINED = ("turns", "joined")
# Note -> type of the event, and the remark in words.
_REMARKS: dict[Note, tuple[str, str]] = {
    _EOS: (
        "answers_ended_with_eos",
        "The model's chat template writes no token at the end of an answer, so the tokenizer's end-of-text token is "
        "put there, and trained on, in {rows:,} {which} rows.",
    ),
    _NO_END: (
        "answers_without_end",
        "The answers of {rows:,} {which} rows end with no token, as neither the model's chat template nor its "
        "tokenizer has one: the model does not learn where to stop.",
    ),
    _OTHER_PROMPT: (
        "prompts_differ",
        "In {rows:,} {which} rows an answer does not follow the words with which the model's chat template prompts for "
        "it, as where these open a thought that the answer does not have: the model is trained on another beginning "
        "than it will be given.",
    ),
    _JOINED: (
        "turns_joined",
        "In {rows:,} {which} rows neighbouring turns of one role are joined by a blank line, as the model's chat "
        "template takes turns of user and assistant in alternation only.",
    ),
}


def notes_of(examples: Sequence[Rendered]) -> dict[Note, list[int]]:
    """Return for each hidden part, each ending that is not the template's own, and other prompts: their examples."""
    notes: dict[Note, list[int]] = {}
    for position, example in enumerate(examples):
        found: list[Note] = [(HIDDEN, part) for part in sorted(example.hidden)]
        if example.ending != "template":
            found.append(("ending", example.ending))
        if not example.prompted:
            found.append(_OTHER_PROMPT)
        if example.joined:
            found.append(_JOINED)
        for note in found:
            notes.setdefault(note, []).append(position)
    return notes


def remarks_on_chats(rows: Rows, notes: Mapping[Note, Sequence[int]], which: str) -> list[Remark]:
    """Put notes into words.

    Args:
        rows: an entry for each example.
        which: rows, such as "training".
    """
    counts = {note: len({rows.numbers[position] for position in positions}) for note, positions in notes.items()}
    facts = {"data": which, "of": rows.row_count}
    remarks = [
        Remark(code, words.format(rows=counts[note], which=which), facts | {"rows": counts[note]})
        for note, (code, words) in _REMARKS.items()
        if note in counts
    ]
    if parts := {part: count for (kind, part), count in counts.items() if kind == HIDDEN}:
        message = (
            f"The model's chat template does not show parts of the {which} rows, so nothing is learnt from them: "
            f"{list_parts(parts.items())}."
        )
        remarks.append(Remark("parts_not_shown", message, facts | {"parts": parts}))
    if split := sum(count > 1 for count in Counter(rows.numbers).values()):
        message = (
            f"{split:,} {which} rows with several answers become several examples each, {len(rows):,} in all: the "
            "model's chat template shows an answer otherwise once others follow, and each is trained on as the model "
            "will see it."
        )
        remarks.append(Remark("rows_split", message, facts | {"rows": split, "examples": len(rows)}))
    return remarks
