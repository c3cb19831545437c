"""Find in a data set what a model could learn to write: chats, instructions, completions, else texts."""

from __future__ import annotations

from adamss_core.spec.suggestion import LABELS, TEXTS, Columns, Suggestion

# Usual names of chats, and of a prompt and its completion, the most telling first.
CHATS = ("messages", "conversations", "conversation")
INSTRUCTIONS = (
    *(("instruction", "output"), ("instruction", "response"), ("instruction", "answer"), ("instruction", "completion")),
    *(("question", "answer"), ("question", "response"), ("query", "answer"), ("query", "response")),
    *(("prompt", "response"), ("prompt", "output"), ("prompt", "answer"), ("input", "output"), ("input", "response")),
)
CONTINUED = (
    *(("prompt", "completion"), ("source", "target"), ("article", "highlights"), ("document", "summary")),
    *(("dialogue", "summary"), ("text", "summary")),
)
WRITTEN = ("integer", "float", "boolean")  # types of completions beside text
INPUTS = ("input", "context")  # what an instruction is about
SYSTEMS = ("system", "system_prompt")
HISTORY, TOOLS = ("history",), ("tools", "functions")
PROMPTS = ("prompt", "question", "instruction", "input", "query")  # of preferences
CHOSEN, REJECTED = "chosen", "rejected"
# Beside a prompt and its completion, a column under one of these names says that texts are to be classified.
CLASSES_OF_TEXTS = ("label", "labels", "class", "sentiment")


def suggest_writing(task: str, columns: Columns) -> Suggestion | None:
    """Find preferences, else chats, else a prompt and its completion by their usual names, else texts of which nothing
    else is said."""
    completion = _completion(task, columns)
    if completion is not None and "history" in completion.dataset:
        return completion  # the history is a chat too, but not the one to learn from
    return _preferences(task, columns) or _chats(task, columns) or completion or _texts(task, columns)


def _preferences(task: str, columns: Columns) -> Suggestion | None:
    if not columns.named([CHOSEN]) or not columns.named([REJECTED]):
        return None
    reason = "the rows are preferences, on which no task trains yet: this trains on the chosen answers"
    chosen = columns.named([CHOSEN])[0]
    if chosen in columns.of_type("messages"):
        return Suggestion(task, None, {"messages": chosen}, False, 4, reason)
    for name in PROMPTS:
        if both := columns.both_texts((name, CHOSEN)):
            return Suggestion(task, None, {"prompt": both[0], "completion": both[1]}, False, 4, reason)
    return None


def _chats(task: str, columns: Columns) -> Suggestion | None:
    found = columns.of_type("messages")
    if not found:
        return None
    column = next((name for name in columns.named(CHATS) if name in found), found[0])
    mapping = {"messages": column, **_beside(columns, system=SYSTEMS, tools=TOOLS)}
    return Suggestion(task, None, mapping, len(found) == 1, 4, f"{column!r} holds chats")


def _completion(task: str, columns: Columns) -> Suggestion | None:
    if any(columns.may_be_label(name) for name in columns.named(CLASSES_OF_TEXTS)):
        return None
    for names in (*INSTRUCTIONS, *CONTINUED):
        both = columns.both_texts(names, *(() if names[1] in LABELS else WRITTEN))
        if both is not None and not (names[1] in LABELS and columns.repeats(both[1])):
            return _answered(task, columns, both, is_instruction=names in INSTRUCTIONS)
    return None


def _answered(task: str, columns: Columns, both: tuple[str, str], *, is_instruction: bool) -> Suggestion:
    """Return the mapping of a prompt and its completion, with what stands beside an instruction."""
    prompt, completion = both
    mapping: dict[str, str | list[str]] = {"prompt": prompt, "completion": completion}
    reason = "{} are usual names of a prompt and its completion"
    if not is_instruction:
        is_certain = not columns.repeats(completion)
        return Suggestion(task, None, mapping, is_certain, 2, reason.format(f"{prompt!r} and {completion!r}"))
    texts, chats = columns.of_type("string"), columns.of_type("messages")
    inputs = [name for name in columns.named(INPUTS) if name in texts and name not in both]
    mapping |= {"prompt": [prompt, *inputs], **_beside(columns, system=SYSTEMS)}
    if history := [name for name in columns.named(HISTORY) if name in chats]:
        mapping["history"] = history[0]
    named = " and ".join(map(repr, (prompt, *inputs, completion)))
    # Answers may repeat where an instruction has an input of its own: its names say that they are to be written.
    is_certain = bool(inputs) or not columns.repeats(completion)
    return Suggestion(task, None, mapping, is_certain, len(mapping) + len(inputs), reason.format(named))


def _beside(columns: Columns, **usual: tuple[str, ...]) -> dict[str, str]:
    """Return field -> column, where one of the field's usual names is that of a column with text."""
    texts = columns.of_type("string")
    found = {field: [name for name in columns.named(names) if name in texts] for field, names in usual.items()}
    return {field: names[0] for field, names in found.items() if names}


def _texts(task: str, columns: Columns) -> Suggestion | None:
    is_alone = len(columns.by_name) == 1
    alone = "no other column says what to predict" if is_alone else "the other columns are not read"
    reason = f"{{!r}} holds text, and {alone}"
    if is_alone and (only := [name for name in columns.named(TEXTS) if name in columns.of_type("string")]):
        return Suggestion(task, None, {"text": only[0]}, True, 0, reason.format(only[0]))
    text = columns.text()
    if text is None:
        return None
    reason = reason.format(text.column)
    return Suggestion(task, None, {"text": text.column}, is_alone and text.is_usual, 0, reason)
