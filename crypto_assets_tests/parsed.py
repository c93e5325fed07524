"""The text and the rows of a whole file."""

from mmap import mmap

import pyarrow as pa

from crypto_assets import sources
from crypto_assets.model import Instrument, Track
from crypto_assets.sources import ArchiveFeed
from crypto_assets.sources.packing import CSV_IN_ZIP, GZIP


def parsed(feed: ArchiveFeed, symbol: str, key: str, content: bytes, instrument: Instrument | None = None) -> pa.Table:
    """Return all rows of one symbol in a file; raises as the feed."""
    texts = feed.packing.texts(key, content)
    return pa.concat_tables([feed.parse(symbol, key, text, instrument) for text in texts])


def rows_of_file(track: Track, key: str, content: bytes, instrument: Instrument | None = None) -> pa.Table:
    """Return all rows of a symbol in a file, as the engine reads them; raises as `sources.pieces`."""
    return pa.concat_tables(sources.pieces(*track, key, content, instrument))


def unzipped(key: str, content: bytes | mmap) -> bytes:
    """Return the text of a zip with one CSV."""
    return b"".join(CSV_IN_ZIP.texts(key, content))


def gunzipped(key: str, content: bytes | mmap) -> bytes:
    """Return the text of a gzip file."""
    return b"".join(GZIP.texts(key, content))
