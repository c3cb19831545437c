"""Keep tables of measurements in documents, each between two marks, so that a benchmark replaces its own alone."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report import Section, cell


def as_markdown(section: Section) -> str:
    """Return a section as a table in Markdown."""
    lines = [section.columns, ["---"] * len(section.columns), *(list(map(cell, row)) for row in section.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replace_table(document: Path, name: str, table: str) -> None:
    """Replace what stands between the marks of a name.

    Raises:
        ValueError: the document has no such marks.
    """
    begin, end = f"<!-- {name}: written by its benchmark -->\n", f"<!-- {name}: end -->\n"
    text = document.read_text(encoding="utf-8")
    if begin not in text or end not in text.partition(begin)[2]:
        raise ValueError(f"{document} has no marks '{begin.strip()}' and '{end.strip()}'.")
    head, _, rest = text.partition(begin)
    document.write_text(f"{head}{begin}{table}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
