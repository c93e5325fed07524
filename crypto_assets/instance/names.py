"""Names for the inputs and outputs of assets whose keys have letters other than A to Z.

Dagster makes these names from asset keys and accepts A-Z, a-z, 0-9 and _ only; keys themselves may have any letter
(`binance/spot/ohlcv_1m/币安人生-USDT`). The names are internal: other letters are written as their code points.
"""

from __future__ import annotations

import re

from dagster import AssetKey

_OTHER = re.compile(r"[^A-Za-z0-9_]")

_stock = AssetKey.to_python_identifier


def identifier(key: AssetKey, suffix: str | None = None) -> str:
    """Return Dagster's own name of a key; each refused letter becomes `u` and its code point: 币 → `u5e01_`."""
    return plain(_stock(key, suffix), _OTHER)


def plain(text: str, refused: re.Pattern[str]) -> str:
    """Return a text with each refused letter as `u` and its code point."""
    return refused.sub(lambda match: f"u{ord(match[0]):x}_", text)


def allow_every_letter() -> None:
    """Make Dagster use these names from now on; keys of plain letters keep their usual names."""
    AssetKey.to_python_identifier = identifier  # type: ignore[method-assign, assignment]
