"""How much one budget of an exchange allows a client, and how the exchange bans who goes beyond."""

from __future__ import annotations

from dataclasses import dataclass

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `amount` of weight in a window, for one address.

    Args:
        amount: weight; of requests that cost 1 each it is their number.
        window_s: seconds; `calendar` windows begin at its multiples (Binance's minutes), others end now and slide.
        patience: requests refused in one window before the address is banned; None: this budget never bans.
        first_ban_s, longest_ban_s: each ban is twice as long as the one before.
        raw: also at most (requests, seconds) of any weight, sliding; None: no such limit.
    """

    amount: int
    window_s: float = MINUTE_S
    calendar: bool = False
    patience: int | None = None
    first_ban_s: float = 120.0
    longest_ban_s: float = 259_200.0
    raw: tuple[int, float] | None = None
