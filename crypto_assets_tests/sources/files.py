"""Zips as an exchange publishes them, and broken ones, for the tests of this folder."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Sequence

KLINES_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def zipped(name: str, text: str | bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip with one member."""
    return zipped_all([(name, text)], method)


def zipped_all(members: Sequence[tuple[str, str | bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, text in members:
            archive.writestr(zipfile.ZipInfo(name), text, method)
    return buffer.getvalue()


def in_directory(content: bytes, offset: int, form: str, value: int) -> bytes:
    """Return a zip whose only directory entry has another value at an offset (APPNOTE 4.3.12: 8 flags, 24 size)."""
    changed = bytearray(content)
    struct.pack_into(form, changed, content.rindex(b"PK\x01\x02") + offset, value)
    return bytes(changed)
