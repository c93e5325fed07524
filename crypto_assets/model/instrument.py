"""An `Instrument` is what an exchange says about one symbol: its own name, its parts, its contract size, its life."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Instrument:
    """One symbol of a market type, as the exchange describes it at one moment.

    `contract_size` is the amount of one contract: in base, or in quote if `inverse` (100 USD); 1 on spot. `tick_size` is the
    step of prices (quote per base), `lot_size` the step of amounts (base, or contracts if `contract_size` is not 1); None:
    not said. `listed_at` and `delisted_at` are UTC, None if the exchange does not say. `status` is its own word.
    """

    exchange: str
    market_type: str
    symbol: str
    exchange_symbol: str
    base: str
    quote: str
    settle: str | None = None
    contract_size: Decimal = Decimal(1)
    inverse: bool = False
    tick_size: Decimal | None = None
    lot_size: Decimal | None = None
    listed_at: datetime | None = None
    delisted_at: datetime | None = None
    status: str = ""
    renamed_from: str | None = None
