"""The API as a program sees it: a real server on loopback over a real ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date

import httpx
import pytest
import yaml

from crypto_assets.causes.incidents import refresh_incidents
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.pauses import Controls
from crypto_assets.ledger.progress import ProgressWriter, RunState
from crypto_assets.quality.score_store import refresh_scores
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.database import Database
from crypto_assets_tests.api.served import get, refused, serving
from crypto_assets_tests.engine.running import Running
from crypto_assets_tests.workbench import Workbench, entry

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 6)
HOLE = date(2024, 1, 3)
ENTRY = entry("spot", ["ohlcv_1h"], ["BTC/USDT", "ETH/USDT"], FIRST)
RUN = "0a1b2c3d-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    archive = SyntheticArchive({"spot": {"BTCUSDT": (FIRST, LAST), "ETHUSDT": (FIRST, LAST)}})
    with SandboxServer(archive) as server:
        yield server


@pytest.fixture(scope="module")
def work(
    sandbox: SandboxServer, module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workbench]:
    """Six days of two symbols; a day of one of them is refused."""
    folder = tmp_path_factory.mktemp("api")
    made = Workbench(sandbox, module_postgres_url, folder / "lake", ENTRY)
    (folder / "collection.yaml").write_text(yaml.safe_dump(made.collection.model_dump(mode="json")))
    sandbox.app.state.faults.on("empty", pattern=f"*BTCUSDT*{HOLE}*")
    with Running(made, FIRST, LAST, RUN, kind="a test") as run:
        run.ended()
    sandbox.app.state.faults.off()
    return made


@pytest.fixture(scope="module")
def client(work: Workbench, module_postgres_url: str) -> Iterator[httpx.Client]:
    with serving(module_postgres_url, work.folder.parent / "collection.yaml") as made:
        yield made


@pytest.fixture
def nothing_paused(module_postgres_url: str) -> Iterator[None]:
    yield
    with Database(module_postgres_url) as database:
        for one in Controls(database).read():
            Controls(database).resume(one.scope)


# ---- reading --------------------------------------------------------------------------------------------------------


def test_the_index_names_every_path_and_health_says_that_the_database_answers(client: httpx.Client) -> None:
    paths = get(client, "/v1")["paths"]
    assert "GET /v1/partitions" in paths
    assert "POST /v1/pause" in paths
    found = get(client, "/healthz")
    assert (found["ok"], found["postgres"], found["lake"]) == (True, "answers", "answers")
    assert (found["up"], found["code_server"]) == ("not running", "not running")


def test_the_status_counts_the_days_of_each_symbol_by_state(client: httpx.Client) -> None:
    series = {(one["symbol"], one["dataset"]): one for one in get(client, "/v1/status")["series"]}
    assert series["ETH/USDT", "ohlcv_1h"]["states"] == {"available": 6}
    assert series["BTC/USDT", "ohlcv_1h"]["states"] == {"available": 5, "missing": 1}
    assert series["BTC/USDT", "ohlcv_1h"]["rows"] == 5 * 24


def test_gaps_name_the_day_and_the_reason(client: httpx.Client) -> None:
    (gap,) = get(client, "/v1/gaps", to=str(LAST))["items"]
    assert (gap["symbol"], gap["day"], gap["state"]) == ("BTC/USDT", str(HOLE), "missing")
    assert "expected a zip, found an empty file" in gap["reason"]
    assert (gap["cause"], gap["cause_evidence"]["error"]) == ("upstream_bad_file", "BadContainer")
    assert gap["minutes"] == []
    later = get(client, "/v1/gaps", **{"from": "2024-01-07", "to": "2024-01-08", "symbol": "ETH/USDT"})["items"]
    assert [(one["day"], one["state"]) for one in later] == [("2024-01-07", None), ("2024-01-08", None)]


def test_gaps_are_acknowledged_and_withdrawn(client: httpx.Client) -> None:
    day = {"exchange": "binance", "market_type": "spot", "symbol": "BTC/USDT", "dataset": "ohlcv_1h", "from": str(HOLE)}
    answer = client.post("/v1/gaps/acknowledge", json={**day, "reason": "it stays empty", "who": "ann"})
    assert answer.status_code == 200, answer.text
    (kept,) = answer.json()["items"]
    assert (kept["day"], kept["by"], kept["reason"], kept["state"]) == (str(HOLE), "ann", "it stays empty", "missing")
    (gap,) = get(client, "/v1/gaps", to=str(LAST))["items"]
    assert gap["acknowledged"] == kept
    assert get(client, "/v1/acknowledgements")["items"] == [kept]
    assert client.post("/v1/gaps/withdraw", json={**day, "who": "bob"}).status_code == 200
    (gap,) = get(client, "/v1/gaps", to=str(LAST))["items"]
    assert gap["acknowledged"]["withdrawn"] == "bob withdrew it"
    assert get(client, "/v1/acknowledgements")["items"] == []
    assert len(get(client, "/v1/acknowledgements", withdrawn="true", symbol="BTC/USDT")["items"]) == 1

    nothing = refused(client.post("/v1/gaps/withdraw", json=day), 409)
    assert "found none" in nothing["found"]
    whole = refused(client.post("/v1/gaps/acknowledge", json={**day, "from": str(LAST), "reason": "x"}), 409)
    assert f"{LAST}: complete" in whole["found"]
    assert "--reason" in refused(client.post("/v1/gaps/acknowledge", json=day), 409)["found"]
    assert refused(client.post("/v1/gaps/acknowledge", json={**day, "symbol": "DOGE/USDT"}), 404)["found"].count("DOGE")
    assert refused(client.post("/v1/gaps/acknowledge", json={**day, "from": "monday"}), 400)["error"] == "not a day"
    assert refused(client.post("/v1/gaps/acknowledge", json={"symbol": "BTC/USDT"}), 400)["found"] == "no exchange"


def test_incidents_are_filtered_and_say_what_they_rest_on(client: httpx.Client, module_postgres_url: str) -> None:
    outage = date(2020, 2, 19)
    with Ledger(module_postgres_url) as ledger:
        refresh_incidents(ledger, ("binance", "spot"), outage, outage)
    (one,) = get(client, "/v1/incidents", **{"from": str(outage), "to": str(outage), "symbol": "BTC/USDT"})["items"]
    assert (one["kind"], one["symbol"], one["source"]) == ("exchange_outage", None, "known")
    assert (one["start_time"], one["end_time"]) == ("2020-02-19T11:35:33+00:00", "2020-02-19T17:30:00+00:00")
    assert one["reference"] == one["evidence"]["source"] == "https://github.com/binance/binance-public-data/issues/84"
    assert get(client, "/v1/incidents", **{"from": "2020-02-20", "to": "2020-02-21"})["items"] == []
    assert get(client, "/v1/incidents", kind="illiquid", to=str(outage))["items"] == []
    answer = client.get("/v1/incidents", params={"kind": "holiday"})
    assert (answer.status_code, answer.json()["error"], answer.json()["found"]) == (400, "unknown kind", "holiday")
    assert "exchange_outage" in answer.json()["expected"]


def test_partitions_are_filtered_and_come_in_pages_that_name_the_next(client: httpx.Client) -> None:
    everything = get(client, "/v1/partitions")
    assert len(everything["items"]) == 12
    assert everything["next"] is None
    seen, path = [], "/v1/partitions?symbol=BTC/USDT&state=available&limit=2"
    while path:
        page = get(client, path)
        assert len(page["items"]) <= 2
        seen += [one["day"] for one in page["items"]]
        path = page["next"]
    assert seen == ["2024-01-01", "2024-01-02", "2024-01-04", "2024-01-05", "2024-01-06"]
    (one,) = get(client, "/v1/partitions", symbol="ETH/USDT", **{"from": "2024-01-02", "to": "2024-01-02"})["items"]
    assert one["rows"] == 24
    assert (
        one["path"] == "exchange=binance/market_type=spot/dataset=ohlcv_1h/symbol=ETH-USDT/date=2024-01-02/data.parquet"
    )
    assert f"sha256:{one['source_sha256']}" == one["source_published_digest"]


def test_objects_are_found_by_their_beginning(client: httpx.Client) -> None:
    prefix = "data/spot/daily/klines/ETHUSDT/1h/"
    keys = [one["key"] for one in get(client, "/v1/objects", prefix=prefix)["items"]]
    assert keys == [f"{prefix}ETHUSDT-1h-2024-01-0{number}.zip" for number in range(1, 7)]


def test_a_run_is_found_by_the_beginning_of_its_id_with_its_progress(client: httpx.Client) -> None:
    run = get(client, f"/v1/runs/{RUN[:8]}")
    assert (run["run_id"], run["state"], run["kind"]) == (RUN, "failed", "a test")
    assert (run["total"], run["done"], run["failed"], run["remaining"]) == (12, 12, 1, 0)
    assert run["rows"] == 11 * 24
    assert [one["run_id"] for one in get(client, "/v1/runs", state="failed")["items"]] == [RUN]
    assert get(client, "/v1/runs", state="running")["items"] == []


def test_quality_and_delays_have_the_days_that_are_stored(client, work, module_postgres_url: str) -> None:
    with Ledger(module_postgres_url) as ledger:
        refresh_scores(ledger, work.collection, FIRST, LAST)
    assert {one["symbol"]: one["days"] for one in get(client, "/v1/quality")["items"]} == {"BTC/USDT": 6, "ETH/USDT": 6}
    for by in ("partition", "series", "exchange"):
        assert get(client, "/v1/quality", by=by)["items"]
        assert get(client, "/v1/quality", by=by, trend="true")["items"]
    (one,) = get(client, "/v1/delays")["items"]
    assert (one["dataset"], one["period"], one["objects"]) == ("ohlcv_1h", "day", 12)


def test_breakers_limits_and_corrections_are_lists(client: httpx.Client) -> None:
    for path in ("/v1/breakers", "/v1/limits", "/v1/corrections"):
        assert isinstance(get(client, path)["items"], list)


def test_an_open_breaker_and_the_cool_down_of_a_budget_are_shown(
    client: httpx.Client, module_postgres_url: str
) -> None:
    from crypto_assets.transport import limit_state
    from crypto_assets.transport.breaker import Breakers, Key

    with Database(module_postgres_url) as database:
        breakers = Breakers(database, "default", failures=1, first_open_s=60, probe_s=5)
        key = Key("binance", "archive", "data.example")
        for _ in range(2):
            breakers.failed(key, "refused", 10.0, probe=False)
        budget = limit_state.budget_id(database, "binance", "default", "spot", [])
        limit_state.cool_down(database, budget, 30.0, 429, "it answered 429")
    (breaker,) = [one for one in get(client, "/v1/breakers")["items"] if one["host"] == "data.example"]
    assert breaker["last_error"] == "refused"
    (cool,) = get(client, "/v1/limits")["cool_downs"]
    assert (cool["budget"], cool["status"]) == ("spot", 429)


@pytest.mark.parametrize(
    ("path", "status", "found"),
    [
        ("/v1/partitions?symbl=BTC/USDT", 400, "symbl"),
        ("/v1/partitions?state=gone", 400, "gone"),
        ("/v1/partitions?from=2024-13-01", 400, "2024-13-01"),
        ("/v1/partitions?limit=0", 400, "0"),
        ("/v1/partitions?offset=-1", 400, "-1"),
        ("/v1/runs/ffffffff", 404, "ffffffff"),
        ("/v1/nothing", 404, "/v1/nothing"),
        ("/v1/pause", 405, "GET"),
    ],
)
def test_what_cannot_be_answered_says_what_was_expected_and_found(client, path, status, found) -> None:
    assert refused(client.get(path), status)["found"] == found


@pytest.mark.parametrize(
    "path", ["gaps", "partitions", "incidents", "corrections", "quality", "quality?by=partition", "acknowledgements"]
)
def test_days_in_the_wrong_order_are_refused(client: httpx.Client, path: str) -> None:
    days = f"{'&' if '?' in path else '?'}from=2024-01-05&to=2024-01-01"
    found = refused(client.get(f"/v1/{path}{days}"), 400)
    assert (found["error"], found["found"]) == ("days in the wrong order", "from 2024-01-05 to 2024-01-01")
    assert client.get(f"/v1/{path}{days.replace('01-05', '01-01')}").status_code == 200


def test_days_of_a_change_in_the_wrong_order_are_refused(client: httpx.Client) -> None:
    track = {"exchange": "binance", "market_type": "spot", "symbol": "BTC/USDT", "dataset": "ohlcv_1h"}
    for change in ("acknowledge", "withdraw"):
        asked = client.post(f"/v1/gaps/{change}", json={**track, "from": str(LAST), "to": str(FIRST)})
        assert refused(asked, 400)["error"] == "days in the wrong order"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("partitions?from=2024-01-01&from=2024-01-02", "2024-01-01, 2024-01-02"),
        ("partitions?limit=1&limit=2", "1, 2"),
        ("gaps?to=2024-01-01&to=2024-01-01", "2024-01-01, 2024-01-01"),
        ("quality?by=symbol&by=series", "symbol, series"),
        ("quality?trend=true&trend=false", "true, false"),
        ("objects?prefix=a&prefix=b", "a, b"),
        ("acknowledgements?withdrawn=true&withdrawn=false", "true, false"),
    ],
)
def test_a_parameter_of_one_value_is_refused_if_it_has_several(client: httpx.Client, query: str, found: str) -> None:
    answer = refused(client.get(f"/v1/{query}"), 400)
    assert (answer["error"], answer["found"]) == ("repeated parameter", found)


def test_every_filter_may_be_repeated(client: httpx.Client) -> None:
    for path in ("partitions", "gaps", "acknowledgements"):
        both = get(client, f"/v1/{path}?exchange=binance&exchange=binance")
        assert both["items"] == get(client, f"/v1/{path}")["items"]
    assert {item["symbol"] for item in get(client, "/v1/partitions?symbol=BTC/USDT&symbol=ETH/USDT")["items"]} == {
        "BTC/USDT",
        "ETH/USDT",
    }


@pytest.mark.parametrize(
    "query",
    [
        *("partitions?limit=٣", "partitions?offset=٣", "partitions?limit=1_0", "partitions?limit=+1"),
        *("quality?below=٠.5", "quality?below=0_1", "quality?below= 0.5", "quality?below=nan", "quality?below=-0"),
    ],
)
def test_a_number_has_the_digits_from_0_to_9(client: httpx.Client, query: str) -> None:
    assert refused(client.get(f"/v1/{query}"), 400)["error"] == "not a number in range"


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/v1", "/v1/status", "/v1/pauses", "/v1/breakers", "/v1/limits", "/v1/delays", f"/v1/runs/{RUN}"],
)
def test_a_path_without_parameters_says_so(client: httpx.Client, path: str) -> None:
    found = refused(client.get(path, params={"symbol": "BTC/USDT"}), 400)
    assert (found["error"], found["found"]) == ("unknown parameter", "symbol")
    assert found["expected"] == f"no parameters: GET {path} takes none"


# ---- pause, resume, cancel ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_paused")
def test_a_pause_through_the_api_holds_a_run_until_it_is_resumed_there(client, work) -> None:
    answer = client.post("/v1/pause", json={"exchange": "binance", "reason": "they asked us to", "who": "ann"})
    (pause,) = answer.json()["items"]
    assert (pause["scope"], pause["who"], pause["reason"]) == ("exchange:binance", "ann", "they asked us to")
    with Running(work, FIRST, LAST, "held") as run:
        run.until(RunState.PAUSED)
        (held,) = get(client, "/v1/status")["runs"]
        assert held["reason"] == "exchange:binance by ann: they asked us to"
        assert client.post("/v1/resume", json={"exchange": "binance"}).json() == {"items": []}
        run.ended()
    assert get(client, "/v1/runs/held")["done"] == 12
    assert refused(client.post("/v1/resume", json={"exchange": "binance"}), 409)["found"] == "exchange:binance"


@pytest.mark.usefixtures("nothing_paused")
def test_a_scope_must_be_one_that_exists(client: httpx.Client) -> None:
    assert refused(client.post("/v1/pause", json={}), 400)["error"] == "no scope"
    assert refused(client.post("/v1/pause", json={"exchange": "bnance"}), 404)["found"] == "bnance"
    assert refused(client.post("/v1/pause", json={"run": "nobody"}), 404)["found"] == "nobody"
    assert refused(client.post("/v1/pause", json={"scope": "everything"}), 400)["found"] == "everything"
    assert refused(client.post("/v1/pause", json={"scope": "all", "resaon": "x"}), 400)["found"] == "resaon"
    assert refused(client.post("/v1/pause", json=["all"]), 400)["error"] == "not an object of texts"
    for empty in ({"reason": ""}, {"who": ""}, {"reason": " ", "who": "ann"}):
        found = refused(client.post("/v1/pause", json={"scope": "all", **empty}), 400)
        assert (found["error"], found["expected"].split()[0]) == ("empty text", next(iter(empty)))
    assert get(client, "/v1/pauses") == {"items": []}


def test_a_run_is_cancelled_and_one_that_has_ended_cannot_be(client, work, sandbox, monkeypatch, tmp_path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    sandbox.app.state.faults.on("hang")
    work.publish(work.key(work.targets(FIRST, LAST)[0].series, "BTC/USDT", FIRST), b"another")
    with Running(work, FIRST, LAST, "hanging") as run:
        run.until(RunState.RUNNING)
        answer = client.post("/v1/runs/hanging/cancel", json={"who": "ann", "reason": "enough"})
        assert (answer.status_code, answer.json()) == (202, {"run_id": "hanging", "cancelling": True})
        run.ended(5)
        assert get(client, "/v1/runs/hanging")["state"] == "cancelled"
    sandbox.app.state.faults.off()
    assert refused(client.post("/v1/runs/hanging/cancel", json={}), 409)["found"] == "cancelled"


@pytest.mark.parametrize("path", ["gaps", "partitions", "incidents", "corrections", "quality"])
@pytest.mark.parametrize(
    ("name", "value", "there"),
    [
        ("symbol", "BTCUSDT", "BTC/USDT"),
        ("symbol", "BTC/USDD", "BTC/USDT"),
        ("exchange", "binanse", "binance"),
        ("market_type", "spto", "spot"),
        ("dataset", "ohlcv_1x", "ohlcv_1"),
    ],
)
def test_a_filter_that_nobody_knows_is_an_error_and_no_empty_answer(client, path, name, value, there) -> None:
    found = refused(client.get(f"/v1/{path}", params={name: value}), 400)
    assert (found["error"], found["found"]) == (f"unknown {name}", value)
    assert there in found["expected"]


# ---- who may ask ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_paused")
def test_a_web_page_from_elsewhere_can_neither_read_nor_change_anything(client: httpx.Client) -> None:
    for host in ("evil.example", "user@127.0.0.1", "evil@localhost:1", "127.0.0.1/x", "localhost?x", "127.0.0.1:1:1"):
        rebound = client.get("/v1/status", headers={"host": host})
        assert refused(rebound, 403)["error"] == "foreign Host"
    assert client.get("/v1/status", headers={"host": "[::1]:3001"}).status_code == 200
    foreign = client.post("/v1/pause", json={"scope": "all"}, headers={"origin": "https://evil.example"})
    assert refused(foreign, 403)["error"] == "foreign Origin"
    form = client.post("/v1/pause", content=json.dumps({"scope": "all"}), headers={"content-type": "text/plain"})
    assert refused(form, 415)["found"] == "text/plain"
    assert get(client, "/v1/pauses") == {"items": []}
    assert client.get("/v1/status", headers={"host": "localhost:3001"}).status_code == 200
    own = f"{client.base_url.host}:{client.base_url.port}"
    assert client.get("/v1/status", headers={"origin": f"http://{own}"}).status_code == 200
    # A page of another server on this machine is foreign too, and so is what only looks like ours.
    for origin in (
        *("http://localhost:8000", "http://127.0.0.1:3000", f"http://localhost:{own.partition(':')[2]}", "null", ""),
        *(f"http://{own}@evil.example", f"http://{own}.evil.example", f"ftp://{own}", own, f"http://{own}/", "http://"),
    ):
        for answer in (
            client.get("/v1/status", headers={"origin": origin}),
            client.post("/v1/pause", json={"scope": "all"}, headers={"origin": origin}),
        ):
            assert refused(answer, 403)["error"] == "foreign Origin"
    assert get(client, "/v1/pauses") == {"items": []}


# ---- runs that die --------------------------------------------------------------------------------------------------


def test_a_run_that_no_longer_writes_is_shown_as_stalled(client: httpx.Client, module_postgres_url: str) -> None:
    with Database(module_postgres_url) as database:
        ProgressWriter(database, "dead", "a test", "binance", 10).begin()
        with database.transaction() as connection:
            connection.execute(
                "UPDATE collection.progress SET updated_at = now() - interval '31 s' WHERE run_id = 'dead'"
            )
    assert get(client, "/v1/runs/dead")["state"] == "stalled"
    assert "dead" in [run["run_id"] for run in get(client, "/v1/status")["runs"]]
