"""The symbols of the synthetic market: tick, lot, usual price, and the size of a contract."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

MINUTES_A_DAY = 1_440
INVERSE_DECIMALS = 8  # of base amounts of inverse contracts (83 contracts of 100 USD at 78526.1: 0.10569734)

MOST_TRADES_PER_DAY = 20_000_000  # every order needs its own millisecond of the day

# Base asset: price in ticks, decimals of the price.
_PRICES = {
    "BTC": (4_200_000, 2),
    "ETH": (230_000, 2),
    "BNB": (31_000, 2),
    "SOL": (10_000, 2),
    "XRP": (5_500, 4),
    "ADA": (5_200, 4),
    "DOGE": (8_900, 5),
    "LTC": (7_100, 2),
}


@dataclass(frozen=True, slots=True)
class Instrument:
    """One symbol of one market. `price` is its usual price in ticks, `lots` the size of a usual trade."""

    market: str
    symbol: str
    price: int
    price_decimals: int
    amount_decimals: int
    lots: int
    trades_per_day: int
    contract_size: int = 0
    """Quote units of one contract of an inverse symbol, whose amounts are contracts; 0: amounts are in lots of the base."""

    @property
    def quote_decimals(self) -> int:
        """Decimals of `quote_amount`; of inverse symbols those of the base amount, which stands in its place."""
        return INVERSE_DECIMALS if self.contract_size else self.price_decimals + self.amount_decimals

    @property
    def aggregates_per_day(self) -> int:
        return max(self.trades_per_day * 3 // 5, min(self.trades_per_day, MINUTES_A_DAY))


def digest(*parts: object) -> int:
    """Return a number of 128 bits that depends on the parts alone."""
    # Not hash(): it changes with every process.
    return int.from_bytes(hashlib.sha256("|".join(map(str, parts)).encode()).digest()[:16], "big")


def instrument(market: str, symbol: str, trades_per_day: int) -> Instrument:
    """Return tick, lot and usual price of a symbol; for an unknown one they are derived from its name."""
    if market not in ("spot", "linear", "inverse"):
        raise ValueError(f"market {market!r}: the sandbox has 'spot', 'linear' and 'inverse'")
    if not 2 <= trades_per_day <= MOST_TRADES_PER_DAY:
        raise ValueError(f"trades_per_day is {trades_per_day}: expected 2 to {MOST_TRADES_PER_DAY}")
    known = next((value for base, value in _PRICES.items() if symbol.startswith(base)), None)
    if known is None:
        chance = digest("instrument", symbol)
        known = 10_000 + chance % 90_000, 2 + (chance >> 32) % 4
    price, price_decimals = known
    if market == "inverse":
        size = 100 if symbol == "BTCUSD_PERP" else 10
        return Instrument(market, symbol, price, price_decimals, 0, 500 // size, trades_per_day, size)
    # Decimals chosen so that a trade of 500 quote units has at least this many lots: BTC 5 on spot and 3 on futures, as
    # on the exchange. Sums stay below 2**63 even for a month of the busiest day.
    lots_wanted = 500 if market == "spot" else 10
    amount_decimals = 0
    while 500 * 10 ** (price_decimals + amount_decimals) // price < lots_wanted:
        amount_decimals += 1
    lots = 500 * 10 ** (price_decimals + amount_decimals) // price
    return Instrument(market, symbol, price, price_decimals, amount_decimals, lots, trades_per_day)
