"""The only way from a command to the terminal: text of others is shown, never obeyed.

Names, columns, cells, labels, logs and error messages come from whoever uploaded or submitted them. Control characters
could recolour, overwrite or retitle the reader's terminal, and bidirectional ones reorder a line, so that both are
written as escapes; markup of rich is never interpreted. `tests/service/cli/test_terminal.py` forbids other ways.
"""

from __future__ import annotations

import codecs
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from adamss_core.visible import UNSAFE, visible

if TYPE_CHECKING:
    from rich.console import Console

# Signs that the commands themselves draw, one column wide on either side.
_IN_ASCII = str.maketrans("…→·▁▂▃▄▅▆▇█░▒▓", ".>.__--==##.:+")
_ERRORS = "adamss.ascii"


def put(*lines: str, err: bool = False) -> None:
    """Print each argument as one line, whatever it holds."""
    stream = sys.stderr if err else sys.stdout
    for line in lines:
        print(visible(line), file=stream)
    stream.flush()


def put_cells(cells: Sequence[str]) -> None:
    """Print one line of cells, separated by tabs; a cell holds neither tab nor line break."""
    print("\t".join(map(visible, cells)), flush=True)


def put_piece(text: str) -> None:
    """Print a piece of a longer text, such as a log, with its line breaks."""
    sys.stdout.write(visible(text, kept="\n\t"))
    sys.stdout.flush()


def put_json(value: Any, indent: int | None = 2) -> None:
    """Print JSON; unsafe characters are JSON escapes, so that readers get the same value."""
    text = json.dumps(value, indent=indent, ensure_ascii=not _speaks_unicode(sys.stdout))
    print(UNSAFE.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text), flush=True)


def on_terminal() -> bool:
    return sys.stdout.isatty()


def console() -> Console:
    """Make a console that interprets no markup, and shows control characters of whatever it renders."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class SafeConsole(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                # Controls are rich's own: they move the cursor of a live display.
                yield segment if segment.control else Segment(visible(segment.text, kept="\n"), segment.style)

    return SafeConsole(markup=False, emoji=False, highlight=False)


@contextmanager
def data_output() -> Iterator[TextOutput]:
    """Yield standard output for a file's content: as it is, in UTF-8, to a pipe or file; visible on a terminal."""
    if on_terminal():
        yield _VisibleText(sys.stdout)
    else:
        if isinstance(sys.stdout, io.TextIOWrapper) and not _speaks_unicode(sys.stdout):
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
    sys.stdout.flush()


class TextOutput(Protocol):
    """A text file, as far as rows are written to it."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...


class _VisibleText:
    """A text file that shows control characters."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.flush = stream.flush

    def write(self, text: str) -> int:
        return self._stream.write(visible(text, kept="\n"))


def prepare_streams() -> None:
    """Let no character end a command that the terminal's encoding lacks, as ASCII lacks most."""
    codecs.register_error(_ERRORS, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return lacking.translate(_IN_ASCII).encode("ascii", "backslashreplace").decode(), error.end


def _speaks_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().startswith("utf")
