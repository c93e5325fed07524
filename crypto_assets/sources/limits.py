"""What an exchange allows, and what one request means to it. Facts only; `transport/limiter.py` keeps them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_FORM = re.compile(r"(\d+)\s*(weight|requests?|)\s*/\s*(\d+(?:\.\d+)?|)\s*(s|min|h)(\s+aligned)?", re.ASCII)
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_LONGEST_S = 3600


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` in any `window_s` seconds, counted in weights or in requests.

    `aligned` means that the exchange counts calendar windows (Binance: from second 0 to 59 of each minute, by its own
    clock); a limit that holds in every sliding window holds in these too.
    """

    amount: int
    window_s: float
    unit: Literal["weight", "requests"] = "weight"
    aligned: bool = False

    @property
    def pad_s(self) -> float:
        """How much longer than the window the limiter waits: as much as two requests may differ on their way.

        With 2 % of a second and 0.3 % of a minute at least 98 % of a limit can be used.
        """
        return max(0.02 * min(self.window_s, 1.0), 0.003 * self.window_s)

    def __str__(self) -> str:
        length = f"{self.window_s:g} s" if self.window_s % 60 else f"{self.window_s / 60:g} min"
        return f"{self.amount} {self.unit}/{length.removeprefix('1 ')}" + (" aligned" if self.aligned else "")


def parse_limit(text: str) -> Limit:
    """Return the limit of `20/s`, `100 requests/10s`, `6000 weight/min` or `6000 weight/min aligned`.

    Raises:
        ValueError: another form, an amount of nothing, or a window of no time or of more than an hour.
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
    """What a request counts as: `budget` names the limits and the cool-down that it shares, `kind` its circuit breaker.

    Budgets of Binance: `archive`, `listing`, and for REST `spot` and `linear`. Kinds: `archive`, `listing`, and for REST
    what is asked for: `klines`, `trades`.
    """

    exchange: str
    budget: str
    kind: str
    weight: int = 1
