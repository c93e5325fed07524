"""Filter stored or configured data by exchange, market type, symbol and dataset.

An unknown value is an error, because an empty answer would be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from crypto_assets.errors import ConfigError
from crypto_assets.ledger.coverage import Coverage
from crypto_assets.model.symbols import similar_symbols, unified_symbol

_SHOWN = 12


def chosen(
    found: Sequence[Coverage], symbols: Sequence[str] | None, where: str, **filters: Sequence[str] | None
) -> list[Coverage]:
    """Return the items that match all filters; a filter that is None matches everything.

    Args:
        symbols: `BTC/USDT` is that pair in every market type, `BTC/USDT:USDT` only the contract.
        where: the other place of known values, in words: the file of the collection.
        filters: `exchange`, `market_type`, `dataset`.

    Raises:
        ConfigError: a value is unknown, or nothing matches all of them.
    """
    for name, values in filters.items():
        _require_known(name, values, {str(getattr(one, name)) for one in found}, where)
    meant = _meant(symbols, {(one.market_type, one.symbol) for one in found}, where)
    kept = [
        one
        for one in found
        if (meant is None or (one.market_type, one.symbol) in meant)
        and all(values is None or getattr(one, name) in values for name, values in filters.items())
    ]
    if given := {name: values for name, values in {**filters, "symbol": symbols}.items() if values and not kept}:
        words = ", ".join(f"{name} {' or '.join(values)}" for name, values in given.items())
        raise ConfigError(f"nothing matches {words} together: each is known, but not with the others")
    return kept


def _require_known(name: str, values: Sequence[str] | None, known: set[str], where: str) -> None:
    for value in values or ():
        if value not in known:
            close = similar_symbols(value, known) if name == "symbol" else get_close_matches(value, known, n=1)
            there = ", ".join(sorted(known)[:_SHOWN]) or "nothing"
            hint = f"did you mean {close[0]}?" if close else f"known: {there}"
            raise ConfigError(f"{name} {value!r}: neither collected nor in {where}; {hint}")


def _meant(values: Sequence[str] | None, known: set[tuple[str, str]], where: str) -> set[tuple[str, str]] | None:
    if values is None:
        return None
    found: Mapping[str, set[tuple[str, str]]] = {
        value: {one for one in known if _means(value, *one)} for value in values
    }
    for value, mine in found.items():
        if not mine:
            _require_known("symbol", [value], {symbol for _, symbol in known} - {value}, where)
    return set().union(*found.values())


def _means(value: str, market_type: str, symbol: str) -> bool:
    try:
        return unified_symbol(value, market_type) == symbol
    except ValueError:
        return False
