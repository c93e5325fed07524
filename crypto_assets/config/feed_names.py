"""The names of news feeds: those that the sources know, and those of collection.yaml."""

from __future__ import annotations

from contextlib import suppress

from crypto_assets import sources
from crypto_assets.config.collection import load_collection
from crypto_assets.config.environment import settings
from crypto_assets.errors import ConfigError


def is_feed_name(word: str) -> bool:
    """Return whether a word is the name of a news feed, so that it can stand in the place of a symbol.

    A collection that is missing or cannot be read has none.
    """
    if word in sources.fixed_names():
        return True
    with suppress(ConfigError):
        path = settings().config
        return path.exists() and any(word in one.feeds for one in load_collection(path).exchanges.values())
    return False
