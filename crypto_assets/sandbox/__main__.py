"""`python -m crypto_assets.sandbox`: serve a synthetic archive of every known exchange, or a folder of real files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from crypto_assets.sandbox.archive import FolderArchive, Source, SyntheticArchive
from crypto_assets.sandbox.faults import catalogue_text, parse_fault
from crypto_assets.sandbox.request_limits import parse_rate
from crypto_assets.sandbox.server import HOST, serve
from crypto_assets.sandbox.world import named_for


def parser() -> argparse.ArgumentParser:
    """Return the argument parser; lists are separated by commas."""
    words = argparse.ArgumentParser("crypto_assets.sandbox", description=__doc__)
    words.add_argument("--host", default=HOST)
    words.add_argument("--port", type=int, default=0, help="0 takes a free port (default)")
    words.add_argument("--folder", type=Path, help="serve the files below this folder instead of synthetic ones")
    words.add_argument(
        "--symbols",
        default="BTCUSDT,ETHUSDT",
        help="pairs such as BTCUSDT, of every market type (inverse: BTCUSD_PERP), or dated contracts (%(default)s)",
    )
    words.add_argument("--market-types", default="spot,linear", help="of spot, linear and inverse (%(default)s)")
    words.add_argument("--from", dest="first", type=date.fromisoformat, default=date(2024, 1, 1), metavar="DAY")
    words.add_argument("--to", dest="last", type=date.fromisoformat, default=date(2024, 1, 31), metavar="DAY")
    words.add_argument("--trades-per-day", type=int, default=6_000, metavar="N")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument(
        "--fault",
        dest="faults",
        action="append",
        default=[],
        metavar="NAME[:PATTERN][:TIMES]",
        help="switch on a fault, may be repeated; `--fault help` lists all faults",
    )
    words.add_argument(
        "--limit",
        dest="limits",
        action="append",
        default=[],
        metavar="N/PERIOD",
        help="answer 429 beyond 20/s, 100/10s or listing:600/m, sliding, may be repeated; REST weights are always enforced",
    )
    words.add_argument(
        "--collection",
        type=Path,
        metavar="FILE",
        help="write `exchanges:` of a collection for all exchanges to FILE; it must not exist yet",
    )
    words.add_argument("--until-stdin-closes", action="store_true", help=argparse.SUPPRESS)
    return words


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted. Exit code 2 for invalid arguments."""
    words = parser()
    given = words.parse_args(arguments)
    if "help" in given.faults:
        sys.stdout.write(f"{catalogue_text()}\n")
        return
    source: Source
    try:
        faults = [parse_fault(text) for text in given.faults]
        rates = [parse_rate(text) for text in given.limits]
        if given.folder:
            source = FolderArchive(given.folder)
        else:
            markets = given.market_types.split(",")
            symbols = {market: named_for(market, given.symbols.split(",")) for market in markets}
            days = given.first, given.last
            source = SyntheticArchive(symbols, *days, given.seed, given.trades_per_day, delisted=False)
        serve(source, given.host, given.port, given.until_stdin_closes, faults, rates, given.collection)
    except (ValueError, NotADirectoryError, FileExistsError) as error:
        words.error(str(error))


if __name__ == "__main__":
    main()
