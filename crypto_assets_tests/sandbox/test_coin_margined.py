"""COIN-M in Binance's dialect: contracts as amounts, base where others have quote, sizes, and 200 days of klines at most."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import httpx
import pytest

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer

PERP, DATED, OTHER = "BTCUSD_PERP", "BTCUSD_240112", "ETHUSD_PERP"
DAY_MS = 86_400_000
START_MS = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1_000)
CONTRACTS = {PERP: 100, DATED: 10, OTHER: 10}


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    world = SyntheticArchive(
        {"inverse": list(CONTRACTS)},
        last_day=date(2024, 1, 31),
        trades_per_day=2_000,
        now=datetime(2024, 1, 10, 9, tzinfo=UTC),
    )
    with SandboxServer(world) as running:
        yield running


@pytest.fixture
def client(server: SandboxServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.archive_url, trust_env=False, timeout=10) as made:
        yield made


def lines(client: httpx.Client, key: str) -> list[list[str]]:
    answer = client.get(f"/data/futures/cm/{key}")
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return [line.split(",") for line in archive.read(archive.infolist()[0]).decode().splitlines()]


def trades(client: httpx.Client, symbol: str) -> list[list[str]]:
    return lines(client, f"daily/trades/{symbol}/{symbol}-trades-2024-01-02.zip")


def in_base(symbol: str, contracts: str, price: str) -> Decimal:
    exact = Decimal(contracts) * CONTRACTS[symbol] / Decimal(price)
    return exact.quantize(Decimal("1e-8"), ROUND_HALF_UP)


@pytest.mark.parametrize("symbol", CONTRACTS)
def test_trades_have_contracts_and_their_amount_in_base(client, symbol):
    header, *rows = trades(client, symbol)
    assert ",".join(header) == "id,price,qty,base_qty,time,is_buyer_maker"
    assert len(rows) == 2_000
    assert all(Decimal(row[3]) == in_base(symbol, row[2], row[1]) for row in rows)
    assert all(row[2].endswith(".0") for row in rows)


@pytest.mark.realdata
def test_the_notation_is_that_of_a_published_file(client, realdata):
    folder = realdata / "exchanges" / "binance_coinm" / "archive"
    for dataset, name in (("trades", "2026-09-01"), ("aggTrades", "2023-06-25")):
        real = (folder / f"quoted_{PERP}-{dataset}-{name}.csv").read_text().splitlines()
        header, first, *_ = lines(client, f"daily/{dataset}/{PERP}/{PERP}-{dataset}-2024-01-02.zip")
        assert ",".join(header) == real[0]
        cells = real[1].split(",")
        assert [cell.count(".") for cell in first] == [cell.count(".") for cell in cells]
        assert len(first[2].partition(".")[2]) == len(cells[2].partition(".")[2])
    price, contracts, base = (
        (folder / f"quoted_{PERP}-trades-2026-09-01.csv").read_text().splitlines()[1].split(",")[1:4]
    )
    assert in_base(PERP, contracts, price) == Decimal(base), "the same arithmetic as the exchange's"


def test_bars_have_contracts_as_volume_and_base_under_the_name_of_quote_volume(client):
    header, *bars = lines(client, f"daily/klines/{PERP}/1m/{PERP}-1m-2024-01-02.zip")
    assert header[7] == "quote_volume"
    _, *rows = trades(client, PERP)
    inside: dict[int, list[list[str]]] = {}
    for row in rows:
        inside.setdefault(int(row[4]) // 60_000 * 60_000, []).append(row)
    for bar in bars:
        mine = inside.get(int(bar[0]), [])
        assert Decimal(bar[5]) == sum(Decimal(row[2]) for row in mine)
        assert Decimal(bar[7]) == sum(Decimal(row[3]) for row in mine)
        assert Decimal(bar[9]) == sum(Decimal(row[2]) for row in mine if row[5] == "false")
        assert "." not in bar[5]


def test_funding_rates_and_aggregates_are_there(server, client):
    server.app.state.source.now, before = datetime(2024, 2, 4, tzinfo=UTC), server.app.state.source.now
    header, *rates = lines(client, f"monthly/fundingRate/{PERP}/{PERP}-fundingRate-2024-01.zip")
    server.app.state.source.now = before
    assert header == ["calc_time", "funding_interval_hours", "last_funding_rate"]
    assert len(rates) == 31 * 3
    _, *merged = lines(client, f"daily/aggTrades/{PERP}/{PERP}-aggTrades-2024-01-02.zip")
    assert sum(Decimal(row[2]) for row in merged) == sum(Decimal(row[2]) for row in trades(client, PERP)[1:])


def asked(client: httpx.Client, name: str, **query: Any) -> Any:
    return client.get(f"/dapi/v1/{name}", params={"symbol": PERP, **query}).json()


def test_rest_says_what_the_files_say(client):
    midnight = START_MS + DAY_MS
    _, *bars = lines(client, f"daily/klines/{PERP}/1h/{PERP}-1h-2024-01-02.zip")
    told = asked(client, "klines", interval="1h", startTime=midnight, endTime=midnight + DAY_MS - 1)
    assert [[str(cell) for cell in row] for row in told] == bars
    _, first, *_ = trades(client, PERP)
    (row,) = asked(client, "historicalTrades", fromId=first[0], limit=1)
    assert row["baseQty"] == first[3]
    assert (row["qty"], str(row["time"])) == (first[2].removesuffix(".0"), first[4])


def test_klines_of_more_than_200_days_are_refused(client):
    end = START_MS + 9 * DAY_MS
    assert isinstance(asked(client, "klines", interval="1d", startTime=end - 200 * DAY_MS, endTime=end), list)
    answer = asked(client, "klines", interval="1d", startTime=end - 200 * DAY_MS - 1, endTime=end)
    assert answer == {"code": -4088, "msg": "Maximum time interval is 200 days."}


def test_instruments_have_their_contract_size(client):
    told = {one["symbol"]: one for one in client.get("/dapi/v1/exchangeInfo").json()["symbols"]}
    assert {name: one["contractSize"] for name, one in told.items()} == CONTRACTS
    perp, dated = told[PERP], told[DATED]
    assert (perp["baseAsset"], perp["quoteAsset"], perp["marginAsset"], perp["pair"]) == ("BTC", "USD", "BTC", "BTCUSD")
    assert (perp["contractStatus"], perp["contractType"]) == ("TRADING", "PERPETUAL")
    assert dated["deliveryDate"] == int(datetime(2024, 1, 12, 8, tzinfo=UTC).timestamp() * 1_000)
    assert perp["deliveryDate"] > dated["deliveryDate"]


def test_weights_are_counted_by_themselves(server, client):
    server.app.state.limits.forget()
    answer = client.get("/dapi/v1/klines", params={"symbol": PERP, "interval": "1h", "limit": 1_000})
    assert answer.headers["x-mbx-used-weight-1m"] == "5"
    assert {a.budget for a in server.app.state.limits.arrivals()} == {"inverse"}
