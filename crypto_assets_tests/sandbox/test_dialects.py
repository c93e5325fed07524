"""The frame of dialects: one server, one market, and faults, limits, bans and records for each exchange by itself.

The second exchange is `Example`, of the docstring of `sandbox/dialects/__init__.py`: what it shows works.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from functools import partial

import httpx
import pytest
import yaml
from starlette.responses import JSONResponse, Response

from crypto_assets.sandbox import dialects
from crypto_assets.sandbox.allowances import Allowance
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.damage import Table
from crypto_assets.sandbox.dialects import Dialect, Endpoint
from crypto_assets.sandbox.faults import ANSWERS, FaultError, parse_fault
from crypto_assets.sandbox.market import Instrument, days_between, instant
from crypto_assets.sandbox.published import Numbers, PublishedFile, PublishedFiles, gzip_member
from crypto_assets.sandbox.server import SandboxProcess, SandboxServer
from crypto_assets.sandbox.text import Integer, csv_rows
from crypto_assets.sandbox.world import World, assets

KEY = "trading/BTCUSDT/BTCUSDT2024-01-02.csv.gz"
BINANCE_KEY = "data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2024-01-02.zip"
LIMITS = {"example.rest": Allowance(3, 5.0, patience=0, first_ban_s=600)}


class Example(Dialect):
    """An exchange with gzip files, an S3 listing, one REST route, and a ban that is a 403."""

    name = "example"
    limits = LIMITS

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.archive = PublishedFiles(world, self.name, self._files)

    def _files(self) -> Iterator[PublishedFile]:
        for (_, symbol), (item, first, last) in self.world.listed.items():
            for day in days_between(first, last):
                key = f"trading/{symbol}/{symbol}{day}.csv.gz"
                yield PublishedFile(key, instant(day + timedelta(days=1), 8), partial(self._trades, item, day))

    def _trades(self, item: Instrument, day: date) -> bytes | None:
        trades = self.world.market.trades(item, day)
        write = Numbers(item)
        columns = [Integer(trades.time // 1_000), write.price(trades.price), write.amount(trades.amount)]
        return gzip_member(csv_rows(columns), header="time,price,size") if len(trades) else None

    def rest(self) -> Mapping[str, Endpoint]:
        return {"/rest/v5/time": lambda request: JSONResponse({"retCode": 0})}

    def refused(self, status: int, wait_s: int, budget: str, allowed: int | None) -> Response:
        return Response("access too frequent", 403 if status == 418 else status)

    def table(self, key: str) -> Table:
        return Table("trades", time=0, price=1, amount=2, header="time,price,size", pack="gzip")


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    real = dialects.known()
    with pytest.MonkeyPatch.context() as patch:
        for module in ("dialects", "app", "request_limits", "server"):
            patch.setattr(f"crypto_assets.sandbox.{module}.known", lambda: {**real, "example": Example})
        world = SyntheticArchive({"linear": ["BTCUSDT"]}, last_day=date(2024, 1, 3), trades_per_day=300)
        with SandboxServer(world) as server:
            yield server


@pytest.fixture
def server(running: SandboxServer) -> Iterator[SandboxServer]:
    yield running
    running.app.state.faults.off()
    running.app.state.limits.forget()
    running.app.state.overrides_of["example"].clear()
    running.forget_requests()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=5) as made:
        yield made


def rows(content: bytes) -> list[list[str]]:
    return [line.split(",") for line in gzip.decompress(content).decode().splitlines()]


def test_both_exchanges_say_the_same_market(server, client):
    urls = server.urls("example")
    answer = client.get(f"{urls['archive_url']}/{KEY}")
    header, *found = rows(answer.content)
    assert header == ["time", "price", "size"]
    source = server.app.state.source
    trades = source.market.trades(source.listed["linear", "BTCUSDT"][0], date(2024, 1, 2))
    assert [int(cells[0]) for cells in found] == [int(time) // 1_000 for time in trades.time]
    assert [cells[1] for cells in found] == [f"{int(price) / 100:.2f}" for price in trades.price]
    listed = client.get(urls["listing_url"], params={"prefix": "trading/BTCUSDT/BTCUSDT2024-01-0"}).text
    assert [f"2024-01-0{n}.csv.gz" in listed for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert f"<Size>{len(answer.content)}</Size>" in listed
    assert client.get(f"{urls['archive_url']}/nothing").status_code == 404
    assert client.get(f"{server.archive_url}/{BINANCE_KEY}").status_code == 200
    assert client.get(f"{server.archive_url}/{KEY}").status_code == 404, "a key of another exchange"


def test_addresses_of_all_exchanges_are_told_for_a_collection(server, client, tmp_path):
    told = client.get(f"{server.archive_url}/_sandbox/exchanges").json()
    assert told["binance"] == {
        "archive_url": server.archive_url,
        "listing_url": f"{server.archive_url}/listing",
        "rest_url": server.archive_url,
    }
    assert told["example"] == server.urls("example")
    file = tmp_path / "collection.yaml"
    with SandboxProcess("--collection", str(file), "--trades-per-day", "300") as process:
        block = yaml.safe_load(file.read_text())["exchanges"]
        assert set(block) == set(dialects.known()) - {"example"}
        assert block["binance"]["archive_url"] == process.archive_url


def test_requests_are_recorded_with_their_exchange(server, client):
    client.get(f"{server.urls('example')['archive_url']}/{KEY}")
    client.get(f"{server.urls('example')['rest_url']}/v5/time?a=1")
    client.get(f"{server.archive_url}/{BINANCE_KEY}")
    told = client.get(f"{server.archive_url}/_sandbox/requests", params={"exchange": "example"}).json()
    assert [(one["kind"], one["path"], one["query"]) for one in told["requests"]] == [
        ("object", f"/example/archive/{KEY}", ""),
        ("rest", "/example/rest/v5/time", "a=1"),
    ]
    assert told["counts"] == {"object": 1, "rest": 1}
    assert [one.exchange for one in server.app.state.requests] == ["example", "example", "binance"]


@pytest.mark.parametrize("name", [name for name in ANSWERS if name.startswith("http-")])
def test_a_status_concerns_one_exchange(server, client, name):
    here, there = f"{server.urls('example')['archive_url']}/{KEY}", f"{server.archive_url}/{BINANCE_KEY}"
    server.app.state.faults.on(name, exchange="example")
    assert (client.get(here).status_code, client.get(there).status_code) == (int(name.split("-")[1]), 200)
    server.app.state.faults.off()
    server.app.state.faults.on(name, exchange="binance")
    assert (client.get(here).status_code, client.get(there).status_code) == (200, int(name.split("-")[1]))


@pytest.mark.parametrize("name", ["hang", "reset"])
def test_one_exchange_never_answers_and_the_other_does(server, client, name):
    server.app.state.faults.on(name, exchange="example")
    with pytest.raises(httpx.TransportError):
        client.get(f"{server.urls('example')['archive_url']}/{KEY}", timeout=0.3)
    assert client.get(f"{server.archive_url}/{BINANCE_KEY}").status_code == 200


def test_faults_of_content_are_made_in_the_files_of_the_exchange(server, client):
    here = f"{server.urls('example')['archive_url']}/{KEY}"
    true, other = rows(client.get(here).content), client.get(f"{server.archive_url}/{BINANCE_KEY}").content

    def under(fault: str) -> list[list[str]]:
        server.app.state.faults.on(fault, exchange="example")
        content = client.get(here).content
        assert client.get(f"{server.archive_url}/{BINANCE_KEY}").content == other
        server.app.state.faults.off()
        return rows(content)

    assert under("duplicate-rows") == [*true[:151], true[151], *true[151:]]
    assert under("descending-rows") == [true[0], *true[:0:-1]]
    assert under("header") == true[1:]
    assert [cells[1] for cells in under("inconsistent-values")].count(f"-{true[151][1]}") == 1
    changed = under("republished")
    assert [n for n, (a, b) in enumerate(zip(true, changed, strict=True)) if a != b] == [151]


def test_a_ban_is_said_as_the_exchange_says_it_and_is_its_own(server, client):
    url = f"{server.urls('example')['rest_url']}/v5/time"
    answers = [client.get(url) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 403, 403]
    assert answers[-1].text == "access too frequent"
    assert client.get(f"{server.archive_url}/fapi/v1/ping").status_code == 200
    told = client.get(f"{server.archive_url}/_sandbox/limits", params={"budget": "example.rest"}).json()
    assert (told["requests"], told["refused"]) == (5, {"418": 2})
    server.app.state.limits.forget()
    server.app.state.faults.on("http-418", exchange="example", kinds=("rest",))
    assert (client.get(url).status_code, client.get(url).text) == (403, "access too frequent")


def test_overrides_are_of_one_exchange(server, client):
    server.app.state.overrides_of["example"][KEY] = b"other"
    assert client.get(f"{server.urls('example')['archive_url']}/{KEY}").content == b"other"
    assert client.get(f"{server.archive_url}/{KEY}").status_code == 404


def test_a_change_of_the_market_reaches_the_files_of_every_exchange(server, client):
    here = f"{server.urls('example')['archive_url']}/{KEY}"
    server.app.state.faults.on("silence", start="2024-01-02", end="2024-01-03")
    assert client.get(here).status_code == 404
    server.app.state.faults.off()
    assert client.get(here).status_code == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hang:exchange=exmaple", "expected one of the sandbox"),
        ("listed:at=2024-01-02:exchange=binance", "the market, which is one for all exchanges"),
    ],
)
def test_a_fault_of_an_unknown_exchange_or_of_its_market_is_refused(text, expected):
    with pytest.raises(FaultError, match=expected):
        parse_fault(text)


def test_assets_of_a_symbol():
    assert [assets(name) for name in ("BTCUSDT", "BTCUSDT_240628", "BTCUSD_PERP", "ETHBTC")] == [
        ("BTC", "USDT"),
        ("BTC", "USDT"),
        ("BTC", "USD"),
        ("ETH", "BTC"),
    ]
    with pytest.raises(ValueError, match="expected a quote asset"):
        assets("USDT")
