"""A process that sends requests to a hostile exchange as the product does, many at once, and measures its peak memory.

Its argument is the URL of a Postgres for its guard. Each line of its input is JSON with `kind`, `times` and the URL `base`;
each line of its output has `errors` and `peak_mb`.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from crypto_assets import sources
from crypto_assets.engine.archive.download import download
from crypto_assets.engine.archive.listing import list_objects
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.engine.rest.ccxt_client import RestApi
from crypto_assets.errors import CryptoAssetsError
from crypto_assets.model import ArchiveObject, Series
from crypto_assets.sources.listings import Wanted
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard

AT_ONCE = 12
PREFIX = "data/spot/daily/klines/BTCUSDT/1m/"
KEY = f"{PREFIX}BTCUSDT-1m-2024-01-02.zip"


def ask(client: Client, kind: str, base: str) -> None:
    bars = Series("binance", "spot", "ohlcv", "1m")
    feed = sources.archives(bars)[0]
    site = ArchiveSite(client, sources.get("binance"), f"{base}/listing", base)
    if kind == "listing":
        assert feed.listing is not None
        for _ in list_objects(site, feed.listing, Wanted(PREFIX)):
            pass
    elif kind == "rest":
        asked = sources.query(bars)
        assert asked is not None
        call = asked.latest_row("BTC/USDT")
        assert call is not None
        RestApi(client, asked, base).ask(call)
    else:
        download(site, feed, ArchiveObject(KEY, 50_000, "", None))


def failure(client: Client, kind: str, base: str) -> str:
    try:
        ask(client, kind, base)
    except CryptoAssetsError as error:
        return f"{type(error).__name__}: {error}"[:300]
    return ""


def resident_mb(name: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{name}:")[2].split()[0]) / 1024


def main() -> None:
    import ccxt  # loaded before the measurement: 100 MB of code

    assert ccxt
    with (
        # One address for each process, and a breaker that never opens: each fault is requested as often as ordered.
        Guard(sys.argv[1], egress=uuid4().hex, limits={}, failures=1_000_000) as guard,
        Client(guard, AT_ONCE, timeout_s=20, attempts=2) as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        start_mb = resident_mb("VmRSS")
        for line in sys.stdin:
            asked = json.loads(line)
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            found = pool.map(
                lambda _, asked=asked: failure(client, asked["kind"], asked["base"]), range(asked["times"])
            )
            errors = sorted(set(found))
            peak_mb = round(resident_mb("VmHWM") - start_mb)
            sys.stdout.write(json.dumps({"errors": errors, "peak_mb": peak_mb}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
