"""Text files as lines of bounded length: gzip and encodings."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from service.datasets.rows import MAX_ROW_BYTES, MEBIBYTE, Notice, refuse, too_large

CHUNK = MEBIBYTE
SAMPLE_BYTES = 64 * 1024
MARKS = (  # UTF-32's before UTF-16's, which is its prefix
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# A guess is accepted only for coherent text: with single accents only, half a dozen encodings are equally likely.
ENOUGH_COHERENCE = 20.0
SIMILAR_COHERENCE = 5.0


@dataclass(frozen=True)
class TextFile:
    """A text file with a verified encoding.

    Attributes:
        line_ends: at least as many as the file has lines, those within quotes included.
    """

    file: IO[bytes]
    encoding: str
    notices: tuple[Notice, ...]
    line_ends: int

    def lines(self) -> Iterator[str]:
        """Yield the lines, line ends included.

        Raises:
            InvalidRequest: a line is too long.
        """
        number = 0
        with self._reader() as reader:
            while line := reader.readline(MAX_ROW_BYTES + 1):
                number += 1
                if len(line) > MAX_ROW_BYTES:
                    raise refuse(
                        "line_too_long",
                        f"Line {number} is longer than {MAX_ROW_BYTES // MEBIBYTE} MiB. Split its text into rows.",
                    )
                yield line

    def chunks(self) -> Iterator[str]:
        with self._reader() as reader:
            while text := reader.read(CHUNK):
                yield text

    def beginning(self, signs: int) -> str:
        """Return so many signs from the start, fewer where the text is shorter."""
        with self._reader() as reader:
            return reader.read(signs)

    @contextmanager
    def _reader(self) -> Iterator[io.TextIOWrapper]:
        self.file.seek(0)
        reader = io.TextIOWrapper(self.file, self.encoding, newline="")
        try:
            yield reader
        finally:
            with suppress(ValueError):  # the file is already closed
                reader.detach()  # otherwise closing the reader closes the file


class Unpacked(io.RawIOBase):
    """A gzip file's content, up to a limit.

    Raises on reading:
        InvalidRequest: the file is damaged.
        TooLarge: the content exceeds the limit.
    """

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file, self._limit = gzip.GzipFile(fileobj=file), limit

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._file.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise refuse("damaged_gzip", "The gzip file is damaged or cut off. Pack and upload it again.") from error
        if self._file.tell() > self._limit:
            raise too_large(
                "unpacks_too_large",
                f"The gzip file unpacks to more than the {self._limit:,} bytes that the service accepts. Split it.",
            )
        buffer[: len(data)] = data
        return len(data)


def unpack(file: IO[bytes], limit: int) -> IO[bytes]:
    file.seek(0)
    return io.BufferedReader(Unpacked(file, limit), CHUNK)


def open_text(file: IO[bytes]) -> TextFile:
    """Detect the encoding by reading the whole file once.

    Raises:
        InvalidRequest: the encoding is ambiguous.
    """
    file.seek(0)
    head = file.read(4)
    for mark, encoding in MARKS:
        if head.startswith(mark):
            if encoding != "utf-8-sig":
                line_ends = check_encoding(file, encoding)
                return TextFile(file, encoding, (_converted(encoding.upper(), None),), line_ends)
            break
    else:
        encoding = "utf-8"
    bad_byte, line_ends = _first_bad_byte(file, "utf-8")
    if bad_byte is None:
        return TextFile(file, encoding, (), line_ends)
    line, byte = bad_byte
    guess = _guess(_non_ascii_lines(file))
    if guess is None:
        raise refuse(
            "not_utf8",
            f"Line {line} is not UTF-8 (byte {byte} of the line), and its encoding cannot be determined. Save the file "
            "as UTF-8 and upload it again.",
        )
    line_ends = check_encoding(file, guess)
    return TextFile(file, guess, (_converted(guess, line),), line_ends)


def check_encoding(file: IO[bytes], encoding: str) -> int:
    """Return the number of line ends.

    Raises:
        InvalidRequest: some byte cannot be decoded.
    """
    bad_byte, line_ends = _first_bad_byte(file, encoding)
    if bad_byte is not None:
        raise refuse(
            "bad_encoding",
            f"The file looks like {encoding}, but line {bad_byte[0]} cannot be decoded. Save the file as UTF-8 and "
            "upload it again.",
        )
    return line_ends


def _converted(encoding: str, line: int | None) -> Notice:
    reason = "by its byte order mark" if line is None else f"line {line} is not UTF-8; look at the preview"
    return Notice("converted_encoding", None, f"The file was read as {encoding} ({reason}) and is stored as UTF-8.")


def _first_bad_byte(file: IO[bytes], encoding: str) -> tuple[tuple[int, int] | None, int]:
    """Find the first byte that cannot be decoded, as line and byte of the line; None if every byte can.

    Returns:
        The byte, and the number of bytes before it that may end a line.
    """
    file.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)()
    lines, since_line, line_ends = 1, 0, 0
    while True:
        chunk = file.read(CHUNK)
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            # The decoder counts from the bytes of the previous chunk that it still holds.
            good = chunk[: max(0, error.start - pending)]
            lines += good.count(b"\n")
            last = good.rfind(b"\n")
            return (lines, (since_line + len(good) if last < 0 else len(good) - last - 1) + 1), line_ends
        if not chunk:
            return None, line_ends
        line_ends += chunk.count(b"\n") + chunk.count(b"\r")
        lines += chunk.count(b"\n")
        last = chunk.rfind(b"\n")
        since_line = since_line + len(chunk) if last < 0 else len(chunk) - last - 1


def _non_ascii_lines(file: IO[bytes]) -> bytes:
    """Sample the lines beyond ASCII: only they distinguish encodings."""
    file.seek(0)
    sample, size = [], 0
    while size < SAMPLE_BYTES and (line := file.readline(SAMPLE_BYTES)):
        if not line.isascii():
            sample.append(line)
            size += len(line)
    return b"".join(sample)


def _guess(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes

    matches = [match for match in from_bytes(sample) if not match.encoding.startswith("utf")]
    if not matches or matches[0].percent_coherence < ENOUGH_COHERENCE:
        return None
    best = matches[0].percent_coherence
    # Western and Central European code pages share most letters; the Western one is by far the commoner.
    western = next((match for match in matches if match.encoding == "cp1252"), None)
    if western is not None and western.percent_coherence >= best - SIMILAR_COHERENCE:
        return "cp1252"
    return str(matches[0].encoding)
