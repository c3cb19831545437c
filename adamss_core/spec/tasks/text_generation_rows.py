"""Read the rows of text generation that are rendered as chats."""

from __future__ import annotations

from adamss_core.spec.cells import Cells, Unusable
from adamss_core.spec.chat import WEIGHT, looks_like_chat, wrong_with_chat
from adamss_core.spec.instructions import as_prompt, join_texts, prompting_chat, with_system
from adamss_core.spec.tools import read_tools


def read_chat(cells: Cells) -> Cells:
    """Return the messages of a row, and its tools where the job names a column of them; raises Unusable."""
    messages = cells["messages"]
    if not isinstance(messages, list) or not looks_like_chat(messages):
        raise Unusable("without messages")
    if (wrong := wrong_with_chat(messages)) is not None:
        raise Unusable(f"where the row {wrong}")
    found: Cells = {"messages": with_system(messages, cells.get("system"))}
    if "tools" in cells:
        try:
            found["tools"] = read_tools(cells["tools"])
        except ValueError as error:
            raise Unusable(f"whose tools {error}") from error
    return found


def read_instruction(cells: Cells) -> Cells:
    """Return the chat that a row's instruction, its system message, history and completion are; raises Unusable."""
    prompt = join_texts(cell for field, cell in cells.items() if field.partition("[")[0] == "prompt")
    completion = join_texts([cells["completion"]])
    if not completion:
        raise Unusable("without a completion")
    if not prompt:
        raise Unusable("without a prompt")
    history = cells.get("history") or []
    if not isinstance(history, list) or (history and not looks_like_chat(history)):
        raise Unusable("whose history is not a chat")
    shown = [message | {WEIGHT: 0} if message["role"] == "assistant" else message for message in history]
    before = prompting_chat({**cells, "prompt": prompt, "history": shown})
    return {"messages": [*before, {"role": "assistant", "content": completion}]}


def instruction_as_text(cells: Cells) -> Cells:
    """Return an instruction as prompt and completion, for models without a chat template."""
    *before, answer = cells["messages"]
    return {"prompt": as_prompt(before), "completion": answer["content"]}
