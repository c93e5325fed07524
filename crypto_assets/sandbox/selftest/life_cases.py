"""Cases of symbols that are listed, delisted, relisted, expire or do not trade; and of files that come weeks late.

Days without expected data are not missing: they are complete, or `no_data` with the reason. Days that only look so, because
files are missing, are checked again.
"""

from __future__ import annotations

from datetime import date

from crypto_assets.sandbox.selftest.case import AVAILABLE, MISSING, NO_DATA, PENDING, PROVISIONAL, Case, one_of
from crypto_assets.sandbox.selftest.scenes import (
    BUSY,
    DATED_FUTURE,
    FUNDING,
    HALF_A_YEAR,
    LONG_BARS,
    ONE_MONTH,
    SIX_WEEKS,
    THREE_DAYS,
    TWO_SYMBOLS,
    Scene,
)

_BTC = "BTCUSDT"

_LATE_SINCE = date(2024, 1, 20)
# Daily files, and monthly files for the same days.
_LATE = tuple(f"late:*/{_BTC}-*-2024-{part}.zip" for part in ("01-2[0-9]", "01-3[01]", "0[2-9]-[0-3][0-9]", "0[1-9]"))


def _life(name: str, scene: Scene, *faults: str, rest: bool = False) -> Case:
    """Days outside a symbol's life are `no_data`; its first and last day are complete with the rows they have."""
    return Case(name, faults, one_of(AVAILABLE), first=date.max, scene=scene, rest=rest)


def _still(name: str, fault: str, scene: Scene, *incidents: tuple[str, str]) -> Case:
    """Three hours without trades of one symbol, or of all; no row is missing in them."""
    fault = f"{fault}:start=2024-01-02T08:end=2024-01-02T11"
    return Case(name, (fault,), one_of(AVAILABLE), first=date.max, incidents=frozenset(incidents), scene=scene)


LIFE = (
    Case(
        "late, three weeks",
        _LATE,
        one_of(MISSING, PENDING),
        ("does not list", "last file", "not published yet"),
        first=_LATE_SINCE,
        fill=True,
        scene=SIX_WEEKS,
    ),
    Case(
        "late, three weeks, REST",  # the exchange says that the symbol trades, and has the rows
        _LATE,
        one_of(PROVISIONAL),
        first=_LATE_SINCE,
        rest=True,
        scene=SIX_WEEKS,
    ),
    Case(
        "late, half a year",  # so long that it counts as the end, until the files come
        _LATE,
        one_of(MISSING, NO_DATA),
        ("does not list", "last file", "not published yet"),
        first=_LATE_SINCE,
        fill=True,
        scene=HALF_A_YEAR,
    ),
    _life("listed", THREE_DAYS, f"listed:{_BTC}:at=2024-01-02T04"),
    _life("listed, REST", THREE_DAYS, f"listed:{_BTC}:at=2024-01-02T04", rest=True),
    # A month with a symbol's first or last day has daily files and a monthly one, which has no rows for the other days.
    _life("listed, days and month", ONE_MONTH, f"listed:{_BTC}:at=2024-01-12T04"),
    _life("listed, days and month, REST", ONE_MONTH, f"listed:{_BTC}:at=2024-01-12T04", rest=True),
    _life("listed, bars of weeks, REST", LONG_BARS, f"listed:{_BTC}:at=2024-01-18T04", rest=True),
    _life("delisted, bars of weeks, REST", LONG_BARS, f"delisted:{_BTC}:at=2024-02-08T04", rest=True),
    _life("listed, files of months", FUNDING, f"listed:{_BTC}:at=2024-01-12T08"),
    _life("delisted, REST", SIX_WEEKS, f"delisted:{_BTC}:at=2024-01-20T12", "late:data/spot/monthly/*", rest=True),
    _life("delisted, days and month, REST", ONE_MONTH, f"delisted:{_BTC}:at=2024-01-20T12", rest=True),
    _life("delisted, files of months, REST", FUNDING, f"delisted:{_BTC}:at=2024-02-15T10", rest=True),
    _life("relisted, REST", ONE_MONTH, f"relisted:{_BTC}:start=2024-01-10T06:end=2024-01-25T09", rest=True),
    _life("expired", DATED_FUTURE),
    _still("silence", f"silence:{_BTC}", TWO_SYMBOLS, ("unexplained", "BTC/USDT")),
    _still("silence of the only symbol", "outage", BUSY, ("unexplained", "BTC/USDT")),
    _life("silence, a day", TWO_SYMBOLS, f"silence:{_BTC}:start=2024-01-02:end=2024-01-03"),
    _still("outage, two symbols", "outage", TWO_SYMBOLS, ("exchange_outage", "")),
    _still("outage, without bars", "relisted:*", TWO_SYMBOLS, ("exchange_outage", "")),
)
