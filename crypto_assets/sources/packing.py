"""How an exchange packs the text of a file: in a zip with one CSV, in gzip, or not at all.

A long text comes in pieces that end with a line, so that memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from crypto_assets.errors import BadContent
from crypto_assets.model.content import Content
from crypto_assets.sources.formats_gzip import gzip_blocks
from crypto_assets.sources.formats_zip import zip_blocks

__all__ = ["CSV_IN_ZIP", "GZIP", "PLAIN", "Packing", "Text"]

Text = bytes | bytearray

MOST_WHOLE_BYTES = 32 << 20
"""The longest text that is one piece: some 400,000 trades."""

PIECE_BYTES = 16 << 20

LONGEST_LINE = 1 << 16


class Packing(Protocol):
    """A way of packing."""

    def texts(self, key: str, content: Content) -> Iterator[Text]:
        """Yield the text of a file; one of at most `MOST_WHOLE_BYTES` at once, a longer one in pieces.

        Raises:
            BadContainer: the bytes are not packed this way, or are cut or damaged (for a long text perhaps at its end).
            BadContent: a long text is without line ends.
            OutOfResources: this process has too little memory; the file was not judged.
        """


@dataclass(frozen=True, slots=True)
class _CsvInZip:
    """A zip with one member, named like the zip, with .csv."""

    def texts(self, key: str, content: Content) -> Iterator[Text]:
        return in_pieces(key, zip_blocks(key, content, MOST_WHOLE_BYTES))


@dataclass(frozen=True, slots=True)
class _Gzip:
    """Gzip, in one or more members."""

    def texts(self, key: str, content: Content) -> Iterator[Text]:
        return in_pieces(key, gzip_blocks(key, content))


@dataclass(frozen=True, slots=True)
class _Plain:
    """The text itself."""

    def texts(self, key: str, content: Content) -> Iterator[Text]:
        if len(content) <= MOST_WHOLE_BYTES:
            return iter((content[:],))
        return in_pieces(key, (content[start : start + PIECE_BYTES] for start in range(0, len(content), PIECE_BYTES)))


CSV_IN_ZIP, GZIP, PLAIN = _CsvInZip(), _Gzip(), _Plain()


def in_pieces(key: str, blocks: Iterable[Text]) -> Iterator[Text]:
    """Yield the text that blocks make together, at once or in pieces, as `Packing.texts` does."""
    text: Text = bytearray()
    blocks = iter(blocks)
    for block in blocks:
        text = block if not text else _joined(text, block)
        if len(text) > MOST_WHOLE_BYTES:
            break
    else:
        yield text
        return
    piece, text = _whole_lines(key, text)
    yield piece
    for block in blocks:
        text += block
        if len(text) > PIECE_BYTES:
            piece, text = _whole_lines(key, text)
            yield piece
    if text:
        yield text


def _joined(text: Text, block: Text) -> bytearray:
    text = text if isinstance(text, bytearray) else bytearray(text)
    text += block
    return text


def _whole_lines(key: str, text: Text) -> tuple[Text, bytearray]:
    """Return the text up to its last line end, and the rest; raises BadContent for a line that is too long."""
    end = text.rfind(b"\n") + 1
    if len(text) - end > LONGEST_LINE:
        raise BadContent(
            f"{key}: expected lines of a CSV, found {len(text) - end} bytes without a line end; look at it in quarantine/"
        )
    return text[:end], bytearray(text[end:])
