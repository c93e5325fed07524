"""The demo: the sandbox exchange with its own collection and home, so that synthetic rows never meet real ones."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import yaml

from crypto_assets.config.environment import DEMO_MARK, settings
from crypto_assets.config.home_folders import make_home
from crypto_assets.config.project_folder import COLLECTION
from crypto_assets.errors import NothingCollected
from crypto_assets.machine.private_folder import write_private
from crypto_assets.storage.embedded_postgres import is_made

FIRST, LISTED, LAST = date(2023, 12, 31), date(2024, 1, 1), date(2024, 1, 10)
"""The collection starts a day before the sandbox's first file, so that the demo shows an explained day."""

_SANDBOX_LAST = date(2024, 1, 31)
"""The sandbox has whole months, because monthly files (funding rates) need them; the collection ends on LAST."""

_MARK_TEXT = (
    "The rows in this folder come from the sandbox exchange of `crypto-assets demo`. None of the prices is real.\n"
)


def demo_home() -> Path:
    """Return the folder of the demo: below the home of this environment, or that home if it is already a demo's."""
    now = settings()
    return now.home if now.is_demo else now.home / "demo"


@contextmanager
def demo_environment(home: Path | None = None) -> Iterator[Path]:
    """Run the sandbox during the block, with the environment set to the demo's home; yields that home.

    CRYPTO_ASSETS_POSTGRES_URL and CRYPTO_ASSETS_LAKE_URL are unset: the demo never writes to a real store.
    """
    # Every command asks whether this is a demo; few run the exchange: importing its server costs 0.1 CPU seconds.
    from crypto_assets.sandbox.server import SandboxProcess

    home = home or demo_home()
    make_home(home, private=home.parent == settings().home)
    write_private(home / DEMO_MARK, _MARK_TEXT)
    # In this process's own file: another demo next to `up --demo` has another exchange, which ends earlier.
    config = home / f"collection-{os.getpid()}.yaml"
    before = {name: os.environ.get(name) for name in _VARIABLES}
    with SandboxProcess(
        "--symbols", "BTCUSDT,ETHUSDT,SOLUSDT", "--from", LISTED.isoformat(), "--to", _SANDBOX_LAST.isoformat()
    ) as sandbox:
        content = _collection(sandbox.archive_url, sandbox.listing_url)
        # The second file stays and describes the collected demo to later readers. Its addresses do not answer then.
        for path in (config, home / COLLECTION):
            write_private(path, content)
        os.environ["CRYPTO_ASSETS_HOME"] = str(home)
        os.environ["CRYPTO_ASSETS_CONFIG"] = str(config)
        os.environ["CRYPTO_ASSETS_POSTGRES_DURABLE"] = "false"
        os.environ.pop("CRYPTO_ASSETS_POSTGRES_URL", None)
        os.environ.pop("CRYPTO_ASSETS_LAKE_URL", None)
        try:
            yield home
        finally:
            config.unlink(missing_ok=True)
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


_VARIABLES = (
    "CRYPTO_ASSETS_HOME",
    "CRYPTO_ASSETS_CONFIG",
    "CRYPTO_ASSETS_POSTGRES_DURABLE",
    "CRYPTO_ASSETS_POSTGRES_URL",
    "CRYPTO_ASSETS_LAKE_URL",
)


def require_demo() -> None:
    """Raise NothingCollected if `crypto-assets demo` has not collected anything for this home."""
    home = demo_home()
    if not is_made(home):
        raise NothingCollected(
            f"nothing was collected by the demo here: no database under {home} (CRYPTO_ASSETS_HOME decides where); "
            "run `crypto-assets demo` first"
        )


def _collection(archive_url: str, listing_url: str) -> str:
    content = {
        "exchanges": {"binance": {"archive_url": archive_url, "listing_url": listing_url, "rest_url": archive_url}},
        "series": [
            {
                "exchange": "binance",
                "market_type": "spot",
                "datasets": ["ohlcv_1m", "trades", "agg_trades"],
                "symbols": ["BTC/USDT", "ETH/USDT", "SOL/USDT"],
                "start": FIRST,
                "end": LAST,
            },
            {
                "exchange": "binance",
                "market_type": "linear",
                "datasets": ["ohlcv_1m", "ohlcv_1h", "funding_rates"],
                "symbols": ["BTC/USDT:USDT", "ETH/USDT:USDT"],
                "start": FIRST,
                "end": LAST,
            },
        ],
        # `crypto-assets demo` collects all of its days; `up --demo` shows them.
        "automation": False,
    }
    return "# Written by `crypto-assets demo`: a synthetic exchange on this machine.\n" + yaml.safe_dump(
        content, sort_keys=False
    )
