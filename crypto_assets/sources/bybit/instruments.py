"""Bybit's instruments: /v5/market/instruments-info, 1,000 a page by cursor; spot has one page.

Contracts that trade come first, then those that have ended (`status=Closed`); ended pairs of spot are in the archive's
listing alone.
Amounts: base; inverse contracts are 1 USD each.
Life:    `launchTime` and `deliveryTime` in milliseconds, 0 for none; spot says neither. `deliveryTime` is also when a
         perpetual contract was delisted: `contractType` says whether the symbol has a date.
Source: bybit-exchange.github.io/docs/v5/market/instrument, and the API explorer for the values of `status`; a recorded spot
answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import InvalidOperation
from typing import Any

from crypto_assets.errors import BadContent
from crypto_assets.model import Instrument, unified_symbol
from crypto_assets.sources.bybit.answers import list_of, result_of
from crypto_assets.sources.bybit.symbols import exchange_name
from crypto_assets.sources.epoch import at_milliseconds
from crypto_assets.sources.feeds import Call
from crypto_assets.sources.instruments import above_zero, read_each
from crypto_assets.sources.limits import Endpoint

_PAGE = 1000
_WHAT = "instruments-info"
_ENDED = "Closed"


@dataclass(frozen=True, slots=True)
class BybitInstruments:
    """The instruments of one market type."""

    market_type: str

    ccxt_id = "bybit"
    key_advice = "Bybit's market endpoints need no key"

    def urls(self, rest_url: str) -> Mapping[str, Any]:
        return {"public": rest_url}

    def call(self) -> Call:
        return self._call({})

    def following(self, answer: Any) -> Call | None:
        """Return the request for the page after an answer, or for the ended contracts; None if it was the last."""
        result, rows = result_of(_WHAT, answer), list_of(_WHAT, answer)
        has_ended = any(isinstance(one, dict) and one.get("status") == _ENDED for one in rows)
        status: dict[str, str | int] = {"status": _ENDED} if has_ended else {}
        if cursor := result.get("nextPageCursor"):
            return self._call({**status, "cursor": str(cursor)})
        return self._call({"status": _ENDED}) if rows and not has_ended and self.market_type != "spot" else None

    def read(self, answer: Any) -> list[Instrument]:
        """Return the instruments of an answer, in its order.

        Left out are names that are not those of their assets and dates: another symbol has that name.
        """
        return self._each(answer)[0]

    def left_out(self, answer: Any) -> list[str]:
        return self._each(answer)[1]

    def _each(self, answer: Any) -> tuple[list[Instrument], list[str]]:
        return read_each(list_of(_WHAT, answer)[::-1], self._instrument, lambda one: one.get("symbol"))

    def _instrument(self, one: Any) -> Instrument | None:
        try:
            name, base, settle = str(one["symbol"]), str(one["baseCoin"]), self._settle(one)
            quote = settle if self.market_type == "linear" and settle else str(one["quoteCoin"])
            ends = None if self.market_type == "spot" else _instant(one["deliveryTime"])
            expiry = f"-{ends:%y%m%d}" if ends and not str(one.get("contractType")).endswith("Perpetual") else ""
            symbol = f"{base}/{quote}" + (f":{settle}" if settle else "") + expiry
            sizes = one["lotSizeFilter"]
            return Instrument(
                exchange="bybit",
                market_type=self.market_type,
                symbol=self._unified(symbol, name),
                exchange_symbol=name,
                base=base,
                quote=quote,
                settle=settle,
                inverse=self.market_type == "inverse",
                tick_size=above_zero(one["priceFilter"]["tickSize"]),
                lot_size=above_zero(sizes["basePrecision" if self.market_type == "spot" else "qtyStep"]),
                listed_at=None if self.market_type == "spot" else _instant(one["launchTime"]),
                delisted_at=ends,
                status=str(one["status"]),
            )
        except _OtherName:
            return None
        except (KeyError, TypeError, ValueError, InvalidOperation, OverflowError) as error:
            raise BadContent(
                f"bybit {self.market_type} {_WHAT}: expected a symbol with its assets, steps and dates, found "
                f"{str(one)[:200]} ({type(error).__name__}: {error})"
            ) from None

    def _settle(self, one: Mapping[str, Any]) -> str | None:
        return None if self.market_type == "spot" else str(one["settleCoin"])

    def _unified(self, text: str, name: str) -> str:
        try:
            symbol = unified_symbol(text, self.market_type)
        except ValueError:
            raise _OtherName from None
        if exchange_name(self.market_type, symbol) != name:
            raise _OtherName
        return symbol

    def _call(self, more: Mapping[str, str | int]) -> Call:
        page: dict[str, str | int] = {} if self.market_type == "spot" else {"limit": _PAGE}
        params = {"category": self.market_type, **page, **more}
        return Call("publicGetV5MarketInstrumentsInfo", params, Endpoint("bybit", "rest", "instruments"))


class _OtherName(Exception):  # never leaves this module
    """The exchange's name is not that of the assets."""


def _instant(milliseconds: Any) -> datetime | None:
    """Return an instant; 0 and an empty text are none."""
    return at_milliseconds(int(milliseconds)) if milliseconds != "" and int(milliseconds) else None
