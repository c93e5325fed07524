"""Market history that is complete, or that says exactly what is missing and why.

import crypto_assets
bars = crypto_assets.read("binance", "BTC/USDT", "ohlcv_1m", "2024-01-01", "2024-01-31")
"""

from typing import TYPE_CHECKING, Any

from crypto_assets.version import __version__

if TYPE_CHECKING:
    from crypto_assets.client import read

__all__ = ["__version__", "read"]


def __getattr__(name: str) -> Any:
    # Reading needs pyarrow, half a second to import; `crypto-assets --help` must not wait for it.
    if name == "read":
        from crypto_assets.client import read

        return read
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
