"""Describe an exchange's rate limits and the weight of a request. `transport/limiter.py` keeps the limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_FORM = re.compile(r"(\d+)\s*(weight|requests?|)\s*/\s*(\d+(?:\.\d+)?|)\s*(s|min|h)(\s+aligned)?", re.ASCII)
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_LONGEST_S = 3600

FIRST_BAN_S = 120.0
"""The usual length of a first ban: Binance bans from two minutes to three days (rest-api.md, "IP Limits")."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` in any `window_s` seconds, counted in weights or in requests.

    `aligned`: the exchange counts calendar windows (Binance: second 0 to 59 of each minute, by its own clock). A limit kept
    in every sliding window is also kept in these.
    """

    amount: int
    window_s: float
    unit: Literal["weight", "requests"] = "weight"
    aligned: bool = False

    @property
    def pad_s(self) -> float:
        """Extra seconds that the limiter adds to the window: the possible difference in travel time of two requests.

        With 2 % of a second and 0.3 % of a minute, at least 98 % of a limit can be used.
        """
        return max(0.02 * min(self.window_s, 1.0), 0.003 * self.window_s)

    def __str__(self) -> str:
        length = f"{self.window_s:g} s" if self.window_s % 60 else f"{self.window_s / 60:g} min"
        return f"{self.amount} {self.unit}/{length.removeprefix('1 ')}" + (" aligned" if self.aligned else "")


def parse_limit(text: str) -> Limit:
    """Return the limit of `20/s`, `100 requests/10s`, `6000 weight/min` or `6000 weight/min aligned`.

    Raises:
        ValueError: another form, an amount below 1, or a window of zero or more than an hour.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a limit such as 20/s, 100 requests/10s or 6000 weight/min aligned, found {text!r}")
    amount, window_s = int(match[1]), float(match[3] or 1) * _SECONDS[match[4]]
    if not amount or not 0 < window_s <= _LONGEST_S:
        raise ValueError(f"expected a limit of 1 or more in an hour or less, found {text!r}")
    return Limit(amount, window_s, "weight" if match[2] == "weight" else "requests", bool(match[5]))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The class of a request: `budget` selects the limits and the cool-down it shares, `kind` its circuit breaker.

    Budgets of Binance: `archive`, `listing`, and for REST `spot` and `linear`. Kinds: `archive`, `listing`, and for REST the
    requested data: `klines`, `trades`.
    """

    exchange: str
    budget: str
    kind: str
    weight: int = 1
