"""OKX's instruments: those that cannot be read do not cost the others."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from crypto_assets.errors import BadContent
from crypto_assets.sources.okx.instruments import OkxInstruments


def data(*rows: Any) -> dict[str, Any]:
    return {"code": "0", "msg": "", "data": list(rows)}


def swap(name: str, **more: str) -> dict[str, str]:
    base = name.partition("-")[0]
    texts = {"instType": "SWAP", "instId": name, "ctType": "linear", "ctVal": "0.01", "ctMult": "1", "ctValCcy": base}
    life = {
        "settleCcy": "USDT",
        "tickSz": "0.1",
        "lotSz": "1",
        "listTime": "1548133413000",
        "expTime": "",
        "state": "live",
    }
    return {**texts, **life, **more}


@pytest.mark.parametrize(
    "odd", [{"ctVal": ""}, {"ctVal": "0"}, {"ctVal": "0.00"}, {"ctVal": "-1"}, {"ctMult": "0"}, {"listTime": "soon"}]
)
def test_an_odd_instrument_is_left_out_by_name_and_the_others_stay(odd: dict[str, str]) -> None:
    query = OkxInstruments("linear")
    answer = data(swap("ETH-USDT-SWAP", **odd), swap("BTC-USDT-SWAP"))
    assert [(one.symbol, one.contract_size) for one in query.read(answer)] == [("BTC/USDT:USDT", Decimal("0.01"))]
    assert query.left_out(answer) == ["ETH-USDT-SWAP"]
    with pytest.raises(BadContent, match="expected instId"):
        query.read(data(swap("ETH-USDT-SWAP", **odd)))
