"""Prove that a thousand clean days fail no check, and that every check judged them.

    python -m proofs.clean [--days 125]

Collects bars of 1m, 1h and 1d, trades and aggregate trades of four spot and four linear symbols from the sandbox,
through the command, then checks all of it again with `crypto-assets validate`. Exit code 1 if any check failed on any
day, or if a check that can be judged there was not.
"""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta

from proofs.world import COINS, FIRST, Home, sandbox, say, show

_FINDINGS = """
SELECT f.key, count(*), count(*) FILTER (WHERE f.value->>'passed' = 'false'),
    count(*) FILTER (WHERE f.value ? 'not_judged')
FROM collection.partitions p, jsonb_each(p.findings) f GROUP BY 1 ORDER BY 1
"""

_STATES = "SELECT state, count(*) FROM collection.partitions GROUP BY 1 ORDER BY 1"

_FAILED = """
SELECT p.symbol, p.dataset, p.day, f.key, f.value FROM collection.partitions p, jsonb_each(p.findings) f
WHERE f.value->>'passed' = 'false' ORDER BY 1, 2, 3 LIMIT 20
"""

_INCIDENTS = "SELECT kind, count(*) FROM collection.incidents WHERE source = 'found' GROUP BY 1"


def main() -> None:
    """Run the proof and print the results."""
    words = argparse.ArgumentParser("proofs.clean", description=__doc__)
    words.add_argument("--days", type=int, default=125, help="of each of the eight symbols")
    days = words.parse_args().days
    coins, last = COINS[:4], FIRST + timedelta(days=days - 1)
    spot = ["ohlcv_1m", "ohlcv_1h", "ohlcv_1d", "trades", "agg_trades"]
    with sandbox(coins, last, trades_per_day=3_000, linear=True) as exchange, Home(exchange, coins) as home:
        home.configure(spot=spot, linear=["ohlcv_1m", "ohlcv_1h", "trades"])
        for arguments in (("collect", "--from", FIRST.isoformat(), "--to", last.isoformat()), ("validate", "--strict")):
            say(f"crypto-assets {' '.join(arguments)}")
            code = home.run(*arguments, timeout_s=3_600)
            if code:
                say(home.said())
            found = home.query(_FINDINGS)
            failed = home.query(_FAILED)
            states = dict(home.query(_STATES))
            rows = [(name, f"{count} days, {wrong} failed, {open_} not judged") for name, count, wrong, open_ in found]
            rows += [("states", str(states)), ("incidents found", str(dict(home.query(_INCIDENTS))))]
            rows += [
                (f"FAILED {symbol} {dataset} {day}", f"{name}: {value}") for symbol, dataset, day, name, value in failed
            ]
            show(f"crypto-assets {arguments[0]}: {sum(states.values())} clean days", rows)
            silent = [name for name, count, _, open_ in found if count == open_ and name not in _ASKED]
            if code or failed or silent or set(states) != {"available"}:
                sys.exit(f"exit code {code}; failed: {len(failed)}; never judged: {', '.join(silent) or 'none'}")


_ASKED = {"agrees_with_monthly", "agrees_with_rest", "published_in_time"}
"""Never judged here: the other sources are not asked, and history was not observed."""


if __name__ == "__main__":
    main()
