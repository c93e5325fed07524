"""Market history that is complete, or that says exactly what is missing and why.

    import crypto_assets

    bars = crypto_assets.read("binance", "BTC/USDT", "ohlcv_1m", "2024-01-01", "2024-01-31")

read        rows of one or several symbols, as pandas, polars or Arrow; longer bars built from shorter ones
catalog     what is stored and what is configured, a row for each symbol of each dataset
coverage    the state of every day of some symbols, and why
gaps        every day that is not complete, and why
instruments what exchanges say about their symbols: contract sizes, steps, lives
latest      the newest stored row of symbols
universe    which symbols traded on a day

`help(crypto_assets.read)` and docs/reference/python.md say more. Importing this package costs nothing: what a
function needs is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

from crypto_assets.version import __version__

if TYPE_CHECKING:
    from crypto_assets.client import catalog, coverage, gaps, instruments, latest, read, universe

__all__ = ["__version__", "catalog", "coverage", "gaps", "instruments", "latest", "read", "universe"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    # Reading needs pyarrow, half a second to import; `crypto-assets --help` must not wait for it.
    if name in __all__:
        from crypto_assets import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
