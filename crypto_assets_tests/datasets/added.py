"""A dataset, an exchange that publishes it, and a check: one file each, as somebody would add them."""

DATASET = '''"""Open interest: contracts that are held, every hour."""

import pyarrow as pa

from crypto_assets.datasets.types import DECIMAL, INSTANT, UTC_US, WORD
from crypto_assets.model import Column, Dataset

DATASET = Dataset(
    table="open_interests",
    description="Open interest as the exchange publishes it.",
    row="hour",
    columns=(
        Column(name="interest_time", type=INSTANT, unit=UTC_US, doc="instant of the count"),
        Column(name="open_interest", type=DECIMAL, unit="base", at_least=0, doc="what is held, 'long' or 'short'"),
        Column(name="open_interest_quote", type=DECIMAL, unit="quote", at_least=0, nullable=True, doc="its worth"),
        Column(name="accounts", type=pa.int64(), above=0, nullable=True, doc="accounts that hold a position"),
        Column(name="leaning", type=WORD, words=("short", "long"), doc="the side of most accounts"),
    ),
    time_column="interest_time",
    key=("interest_time",),
    leaf="month",
    to_warehouse=True,
)
'''

SOURCE = '''"""An exchange with Binance's archive, and open interest."""

from crypto_assets.sources.binance import Binance


class Desk(Binance):
    name = "desk"

    def dataset_names(self, market_type):
        return ("open_interests",) if market_type == "linear" else ()


SOURCE = Desk()
'''

CHECK = '''"""Open interest changes."""

from crypto_assets.model import Check, Finding, Severity


def interest_moves(frame, partition, series):
    """Not every hour has the same open interest."""
    return Finding(frame["open_interest"].nunique() > 1, {"hours": len(frame)})


CHECK = Check(
    name="interest_moves",
    columns=("open_interest",),
    severity=Severity.WARN,
    description="Not every hour of a day has the same open interest.",
    run=interest_moves,
    words=lambda evidence, series: f"{evidence['hours']} hours",
)
'''
