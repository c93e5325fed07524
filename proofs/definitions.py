"""Prove that the code location of 2,000 assets loads in at most 3 CPU seconds, and without ccxt.

    python -m proofs.definitions [--symbols 1000] [--runs 3]

Each symbol has 1m bars in the lake and a table in Postgres: two assets. A process of its own imports
`crypto_assets.definitions` and builds the repository, as Dagster's code server does. The smallest of the runs counts: other
load only adds. Exit code 1 if it is above the limit, scaled to the number of assets above that of the import alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from proofs.world import say

MOST_S = 3.0

_LOAD = """
import json, sys, time
from crypto_assets.definitions import defs
repository = defs.get_repository_def()
assets = sum(node.is_materializable for node in repository.asset_graph.asset_nodes)
print(json.dumps([time.process_time(), assets, len(list(repository.asset_graph.asset_check_keys)), "ccxt" in sys.modules]))
"""


def load(symbols: int) -> tuple[float, int, int, bool]:
    """Return the CPU seconds of a process that loads the definitions, its assets, its checks, and whether it has ccxt."""
    entry = {"exchange": "binance", "market_type": "spot", "datasets": ["ohlcv_1m"], "start": "2024-01-01"}
    content = {"series": [entry | {"symbols": [f"A{number}B/USDT" for number in range(symbols)]}]}
    with tempfile.TemporaryDirectory() as home:
        config = Path(home) / "collection.yaml"
        config.write_text(yaml.safe_dump(content))
        ours = {"CRYPTO_ASSETS_HOME": home, "CRYPTO_ASSETS_CONFIG": str(config)}
        done = subprocess.run(
            [sys.executable, "-c", _LOAD], env=os.environ | ours, capture_output=True, text=True, check=True
        )
    cpu_s, assets, checks, has_ccxt = json.loads(done.stdout)
    return cpu_s, assets, checks, has_ccxt


def main() -> None:
    """Load the definitions some times; print the figures."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--symbols", type=int, default=1_000)
    words.add_argument("--runs", type=int, default=3)
    given = words.parse_args()
    runs = [load(given.symbols) for _ in range(given.runs)]
    cpu_s, assets, checks, has_ccxt = min(runs)
    alone_s = load(1)[0]
    say(
        f"{assets:,} assets with {checks:,} checks: {cpu_s:.2f} CPU s; one symbol: {alone_s:.2f} CPU s; ccxt: {has_ccxt}"
    )
    most_s = alone_s + (MOST_S - alone_s) * assets / 2_000
    if cpu_s > most_s or has_ccxt:
        sys.exit(f"expected at most {most_s:.2f} CPU s and no ccxt")


if __name__ == "__main__":
    main()
