"""Parses the pieces of a text so that each gives what it gives within its file.

What the beginning of a file decides (its header, the number of columns, the unit of its times) holds for all of it. So every
later piece is parsed behind the first lines of the file, and the row that these give is left out again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from crypto_assets.errors import BadContainer, BadContent, NoRows
from crypto_assets.sources.formats import has_header

if TYPE_CHECKING:
    import pyarrow as pa

    from crypto_assets.sources.packing import Text

Parse = Callable[["Text"], "pa.Table"]


MOST_JOINED_BYTES = 256 << 20
"""The longest text of a file that must not be cut: memory has to hold it with its rows."""


def one_piece(key: str, texts: Iterable[Text]) -> Iterator[Text]:
    """Yield the pieces of a text as one; raises BadContent if it is too long, and what `texts` raises."""
    joined = bytearray()
    for text in texts:
        joined += text
        if len(joined) > MOST_JOINED_BYTES:
            raise BadContent(
                f"{key}: expected a text of at most {MOST_JOINED_BYTES} bytes, because its rows depend on each other, "
                "found a longer one; look at it in quarantine/"
            )
    yield joined


class Pieces:
    """The rows of the pieces of one text, one after the other; they can be read once."""

    def __init__(self, texts: Iterator[Text], parse: Parse) -> None:
        self._texts, self._parse = texts, parse
        self._first_lines = b""
        self._rows_of_first_lines: int | None = None
        self._lines = self._rows = 0
        self._empty: NoRows | None = None

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield the rows of each piece that has any.

        Raises:
            MalformedFile: the text is not what it should be; NoRows: no piece has a row.
        """
        for text in self._texts:
            try:
                rows = self._rows_of(text)
            except NoRows as error:
                self._empty = error
                continue
            except BadContent:
                self._read_to_the_end()
                raise
            finally:
                self._lines += text.count(b"\n")
            self._rows += rows.num_rows
            yield rows
        if self._empty is not None and not self._rows:
            raise self._empty

    def _rows_of(self, text: Text) -> pa.Table:
        if not self._lines:
            self._first_lines = _first_lines(text)
            return self._parse(text)
        if self._rows_of_first_lines is None:
            self._rows_of_first_lines = self._count(self._first_lines)
        try:
            found = self._parse(self._first_lines + text)
        except NoRows:
            raise
        except BadContent as error:
            raise self._as_in_file(error) from None
        return found.slice(self._rows_of_first_lines)

    def _count(self, text: bytes) -> int:
        try:
            return self._parse(text).num_rows
        except NoRows:
            return 0

    def _as_in_file(self, error: BadContent) -> BadContent:
        """Return an error about a piece with the number of the line in the file.

        Only the first number is one of a line: what follows it is text of the file.
        """
        before = self._lines - self._first_lines.count(b"\n")

        def in_file(found: re.Match[str]) -> str:
            return f"line {int(found[1]) + before}"

        error.args = (re.sub(r"\bline (\d+)\b", in_file, str(error), count=1),)
        if isinstance(line := error.evidence.get("line"), int):
            error.evidence["line"] = line + before
        return error

    def _read_to_the_end(self) -> None:
        """Raise BadContainer if the file is damaged: then its text is not to blame."""
        try:
            for _ in self._texts:
                pass
        except BadContainer:
            raise
        except BadContent:
            return


def _first_lines(text: Text) -> bytes:
    """Return the first line of a text, and the second if the first has column names."""
    end = 0
    for _ in range(2 if has_header(text) else 1):
        end = text.find(b"\n", end) + 1 or len(text)
    return bytes(text[:end])
