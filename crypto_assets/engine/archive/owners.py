"""Finds the series and symbols that a file of an archive belongs to, from its key alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

from crypto_assets import sources
from crypto_assets.engine.archive.files import file_name, span_of
from crypto_assets.model import Span, Track
from crypto_assets.sources import ArchiveFeed

_DATE = re.compile(r"\d{4}-?\d{2}(-?\d{2})?.*", re.ASCII)


class Owners:
    """The feeds of some tracks by the folder of their files; where folders do not tell symbols apart, by the files' names."""

    def __init__(self, tracks: Iterable[Track]) -> None:
        self._found: dict[tuple[str, str], list[tuple[Track, ArchiveFeed]]] = {}
        for track in tracks:
            name, exchange = sources.name_of(*track), track.series.exchange
            for feed in sources.archives(track.series):
                folder, by_name, _ = feed.prefix(name).partition("#")
                stem = _stem(feed.keys(name, feed.since)[0]) if by_name and feed.since else folder
                self._found.setdefault((exchange, stem), []).append((track, feed))

    def of(self, exchange: str, key: str) -> list[tuple[Track, ArchiveFeed, Span]]:
        """Return the tracks that a file may belong to, with its feed and the span that it covers; empty for other keys."""
        folders = [key[: place + 1] for place in range(len(key) - 1, -1, -1) if key[place] == "/"]
        for place in (_stem(key), *folders):
            owners = self._found.get((exchange, place), ())
            found = [(track, feed, span) for track, feed in owners if (span := span_of(feed, key)) is not None]
            if found:
                return found
        return []


def _stem(key: str) -> str:
    """Return the name of a file up to its date: `BTC-USDT-SWAP-trades-`."""
    return _DATE.sub("", file_name(key))
