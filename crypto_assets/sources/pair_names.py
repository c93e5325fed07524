"""Reads exchanges' own names of symbols that do not say where the base ends: `AVAXUSD` is AVAX/USD or AVA/XUSD."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from crypto_assets.model import unified_symbol


def splits(name: str, quotes: Iterable[str]) -> list[tuple[str, str]]:
    """Return each way to split a name into a base and one of the quote assets, the longest quote first."""
    found = [(name.removesuffix(quote), quote) for quote in quotes if name.endswith(quote) and name != quote]
    return sorted(found, key=lambda one: len(one[1]), reverse=True)


def faithful(market_type: str, name: str, texts: Iterable[str], name_of: Callable[[str], str]) -> tuple[str, ...]:
    """Return those texts that are symbols of a market type and have this own name; `name_of` returns a symbol's own name.

    So no name can stand for a symbol whose files and answers have another name, and letters of every script are judged by
    the one rule of `unified_symbol`.
    """
    found = []
    for text in texts:
        try:
            symbol = unified_symbol(text, market_type)
        except ValueError:
            continue
        if symbol == text and name_of(symbol) == name:
            found.append(symbol)
    return tuple(found)
