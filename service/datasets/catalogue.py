"""List the kinds of files that are read, each with its reader or dialect and an example, for docs and tests.

`python -m service.datasets.catalogue` prints the table of docs/formats.md. A reader or dialect without an entry, and an
entry whose example is not understood, fail a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.datasets.conll import SUFFIXES as CONLL
from service.datasets.dialects.chats import Chats
from service.datasets.dialects.dialect import Dialect
from service.datasets.dialects.joined_chats import ChatPrompts, Preferences
from service.datasets.dialects.label_studio import LabelStudio
from service.datasets.dialects.list_texts import ListTexts
from service.datasets.dialects.nested import NestedColumns
from service.datasets.dialects.sentences import Sentences
from service.datasets.dialects.several_labels import SeveralLabels
from service.datasets.dialects.spans import Spans
from service.datasets.dialects.squad import Squad
from service.datasets.dialects.tag_texts import TagTexts
from service.datasets.dialects.tool_columns import Tools
from service.datasets.formats import SUFFIXES
from service.datasets.plain_text import MARKDOWN
from service.datasets.plain_text import SUFFIXES as TEXT
from service.datasets.rows import Format

Reader = Format | type[Dialect] | type[Sentences]
ANY = ("any table",)


@dataclass(frozen=True)
class Kind:
    """A kind of file, or of writing rows in one.

    Attributes:
        readers: formats whose reader takes it, or the dialect that rewrites its rows.
        suffixes: of its files.
        example: one or a few rows of it.
        becomes: what its rows are.
        task: that the example does for.
    """

    name: str
    readers: tuple[Reader, ...]
    suffixes: Sequence[str]
    example: str
    becomes: str
    task: str


def _suffixes(*formats: Format) -> tuple[str, ...]:
    return tuple(suffix for suffix, format_ in SUFFIXES.items() if format_ in formats)


KINDS = (
    Kind(
        "Table with separators",
        ("csv", "tsv"),
        _suffixes("csv", "tsv"),
        "text,label",
        "columns named by the first row; comma, semicolon, tab or bar, found from it",
        "text-classification",
    ),
    Kind(
        "JSON lines",
        ("jsonl",),
        _suffixes("jsonl"),
        '{"text": "…", "label": "…"}',
        "a row a line",
        "text-classification",
    ),
    Kind(
        "List of objects",
        ("json",),
        (".json",),
        '[{"text": "…", "label": "…"}]',
        "a row an object",
        "text-classification",
    ),
    Kind(
        "One object with a table",
        ("json",),
        (".json",),
        '{"text": ["…"], "label": ["…"]}, {"data": [{…}]}, or as pandas writes it',
        "its rows",
        "text-classification",
    ),
    Kind(
        "Spreadsheet",
        ("xlsx",),
        (".xlsx",),
        "a sheet with names in its first row",
        "the rows of the first sheet that has any: dates as ISO text, formulas by their value",
        "text-classification",
    ),
    Kind("Parquet", ("parquet",), (".parquet",), "columns text, label", "columns of its types", "text-classification"),
    Kind("Arrow", ("arrow",), (".arrow",), "columns text, label", "columns of its types", "text-classification"),
    Kind(
        "Plain text",
        ("text",),
        tuple(suffix for suffix in TEXT if suffix not in MARKDOWN),
        "A line of text.",
        "a column `text`: blocks between blank lines, or lines where hardly any is blank",
        "text-generation",
    ),
    Kind(
        "Markdown",
        ("text",),
        MARKDOWN,
        "# Title",
        "a column `text`: a heading with the text below it; without headings, as plain text",
        "text-generation",
    ),
    Kind(
        "CoNLL, CoNLL-U",
        ("conll",),
        CONLL,
        "Peter B-PER",
        "columns `tokens` and `tags`, a row a sentence",
        "token-classification",
    ),
    Kind(
        "Images in folders",
        ("images",),
        (".zip",),
        "cat/1.png, dog/2.png",
        "columns `image` and `label`, the folder's name",
        "image-classification",
    ),
    Kind(
        "Images with metadata",
        ("images",),
        (".zip",),
        "1.png, metadata.csv with file_name,label",
        "column `image`, and those of the metadata: a class, several classes or a number",
        "image-classification",
    ),
    Kind(
        "Images with COCO's annotations",
        ("images",),
        (".zip",),
        "1.png, annotations.json with images, annotations, categories",
        "columns `image` and `label`, where an image has one category; boxes are not learned",
        "image-classification",
    ),
    Kind(
        "Images in columns",
        ("images",),
        (".parquet", ".arrow"),
        "column image of bytes, or of structs of bytes and path",
        "column `image` and the others; names of classes from the metadata of `datasets`",
        "image-classification",
    ),
    Kind(
        "Chats",
        (Chats,),
        ANY,
        '{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}',
        "`messages` of ShareGPT, OpenAI and TRL, in a column of any name, also as JSON text",
        "text-generation",
    ),
    Kind(
        "Chats with a prompt apart",
        (ChatPrompts,),
        ANY,
        '{"prompt": [{"role": "user", …}], "completion": [{"role": "assistant", …}]}',
        "one chat",
        "text-generation",
    ),
    Kind(
        "Preferences",
        (Preferences,),
        ANY,
        '{"prompt": "…", "chosen": "…", "rejected": "…"}',
        "named as such: no task trains on them, but on the chosen answers",
        "text-generation",
    ),
    Kind(
        "Tools of chats",
        (Tools,),
        ANY,
        '{"tools": [{"type": "function", …}], "messages": […]}',
        "the functions that the chat template shows",
        "text-generation",
    ),
    Kind(
        "Questions on a passage",
        (Squad,),
        ANY,
        '{"context": "…", "question": "…", "answers": {"text": ["…"], "answer_start": [9]}}',
        "as SQuAD writes them: the first answer, in a column `answer`",
        "text-generation",
    ),
    Kind(
        "Spans of a text",
        (Spans,),
        ANY,
        '{"text": "Peter …", "entities": [{"start": 0, "end": 5, "label": "PER"}]}',
        "`tokens` and `tags`",
        "token-classification",
    ),
    Kind(
        "Tags as text",
        (TagTexts,),
        ANY,
        "Peter lives in Rome,B-PER O O B-LOC",
        "lists, where a text has as many tags as words",
        "token-classification",
    ),
    Kind(
        "One word a row",
        (Sentences,),
        ANY,
        "sentence_id,word,tag",
        "`tokens` and `tags`, a row a sentence",
        "token-classification",
    ),
    Kind(
        "Label Studio",
        (LabelStudio,),
        (".json",),
        '[{"data": {"text": "…"}, "annotations": [{"result": […]}]}]',
        "the text with its choice, or `tokens` and `tags`",
        "text-classification",
    ),
    Kind(
        "Lists as text",
        (ListTexts,),
        ANY,
        "\"['a', 'b']\"",
        "lists, as JSON, Python or NumPy print them",
        "text-classification",
    ),
    Kind(
        "Several labels in a cell",
        (SeveralLabels,),
        ANY,
        '"news,sport"',
        "a list, where labels recur in other combinations",
        "text-classification",
    ),
    Kind(
        "Decimal commas",
        ("csv", "tsv"),
        _suffixes("csv", "tsv"),
        "3,5 or 1.234,5",
        "numbers, where the comma can be nothing else",
        "text-classification",
    ),
    Kind(
        "Objects in cells",
        (NestedColumns,),
        ANY,
        '{"text": "…", "meta": {"lang": "en"}}',
        "columns such as `meta.lang`",
        "text-classification",
    ),
)


def table() -> str:
    """Write the kinds as a Markdown table."""
    lines = ["| kind | files | looks like | becomes |", "| --- | --- | --- | --- |"]
    for kind in KINDS:
        files = kind.suffixes[0] if kind.suffixes == ANY else ", ".join(f"`{suffix}`" for suffix in kind.suffixes)
        lines.append(f"| {kind.name} | {files} | `{kind.example}` | {kind.becomes} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
