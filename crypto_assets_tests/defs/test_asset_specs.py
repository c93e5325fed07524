"""What Dagster shows of an asset: description, tags, kinds, owners, address, code, lineage, freshness."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from crypto_assets import datasets
from crypto_assets.config.collection import parse_collection
from crypto_assets.defs.addresses import Addresses
from crypto_assets.defs.asset_specs import tag_value, tags_of
from crypto_assets.defs.freshness import freshness, goes_on
from crypto_assets.defs.source_assets import observations
from crypto_assets.engine.watch.outbox import Request
from crypto_assets.errors import ConfigError
from crypto_assets.model import Series, Track
from crypto_assets.sources.publication import publication
from crypto_assets_tests.project import entry, key

START = date(2024, 1, 1)
ENDED = "binance/spot/ohlcv_1h/BTC-USDT"
EXPIRED = "BTC/USDT:USDT-240628"
ENTRIES = [
    entry(["ohlcv_1m", "trades"], ["BTC/USDT", "币安人生/USDT"], START) | {"owners": ["ops@example.com"]},
    entry(["ohlcv_1h"], ["BTC/USDT"], START) | {"end": date(2024, 3, 1)},
    entry(["ohlcv_1m", "funding_rates"], ["BTC/USDT:USDT", EXPIRED], START, "linear"),
]
COLLECTION = parse_collection({"series": ENTRIES, "owners": ["team:research"]})
BARS, FUNDING = Series.named("binance", "spot", "ohlcv_1m"), Series.named("binance", "linear", "funding_rates")


@pytest.fixture(scope="module")
def specs(tmp_path_factory) -> dict[str, dg.AssetSpec]:
    from crypto_assets.definitions import build

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRYPTO_ASSETS_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("CRYPTO_ASSETS_LAKE_URL", "s3://bucket/history")
        patch.setenv("CRYPTO_ASSETS_POSTGRES_URL", "postgresql://me:secret@db.example.com:6543/market")
        found = build(COLLECTION).resolve_all_asset_specs()
    return {spec.key.to_user_string(): spec for spec in found}


def test_every_asset_says_what_it_is_and_where(specs):
    assert len(specs) > 20
    for name, spec in specs.items():
        assert len(spec.description) > 40, name
        assert 1 <= len(spec.kinds) <= 3, name
        assert spec.tags["exchange"] == "binance", name
        assert spec.owners, name
        uri = spec.metadata["dagster/uri"]
        assert uri.startswith(("s3://bucket/history/", "postgresql://db.example.com:6543/market#", "https://")), name
        assert "secret" not in repr(spec), name


def test_every_asset_is_linked_to_the_lines_that_make_it(specs):
    for name, spec in specs.items():
        links = spec.metadata["dagster/code_references"].code_references
        assert links, name
        for link in links:
            line = Path(link.file_path).read_text(encoding="utf-8").splitlines()[link.line_number - 1]
            assert line.startswith(("DATASET = Dataset(", "class Binance", "def ")), (name, link)
    code = {Path(link.file_path).name for link in specs[ENDED].metadata["dagster/code_references"].code_references}
    assert code == {"ohlcv.py", "__init__.py"}


def test_a_lake_asset_names_its_file_its_day_and_its_hours(specs):
    spec = specs["binance/spot/ohlcv_1m/BTC-USDT"]
    folder = "exchange=binance/market_type=spot/dataset=ohlcv_1m/symbol=BTC-USDT/"
    assert spec.metadata["dagster/uri"] == f"s3://bucket/history/{folder}"
    assert spec.kinds == {"parquet", "s3"}
    assert {name: spec.tags[name] for name in ("exchange", "market_type", "dataset", "symbol")} == {
        "exchange": "binance",
        "market_type": "spot",
        "dataset": "ohlcv_1m",
        "symbol": "BTC-USDT",
    }
    for words in (
        f"{folder}date=2024-01-01/data.parquet",
        "one UTC day by `open_time`",
        "from 04:00 UTC on, mostly by 12:00 UTC",
        "missing 3 days after",
    ):
        assert words in spec.description
    assert "REST" not in spec.description  # the entry does not ask it


def test_a_table_names_its_query_and_all_its_columns(specs):
    spec = specs["warehouse/binance/spot/ohlcv/BTC-USDT"]
    assert (
        "market.ohlcv WHERE exchange = 'binance' AND market_type = 'spot' AND symbol = 'BTC/USDT'" in spec.description
    )
    assert spec.metadata["dagster/table_name"] == "market.ohlcv"
    assert spec.metadata["dagster/storage_kind"] == "postgres"
    names = [column.name for column in spec.metadata["dagster/column_schema"].columns]
    assert names[:6] == ["exchange", "market_type", "symbol", "timeframe", "open_time", "open"]
    assert names[-1] == "source"


def test_owners_of_an_entry_replace_those_of_the_collection_and_a_source_has_all(specs):
    assert specs["binance/spot/trades/BTC-USDT"].owners == ["ops@example.com"]
    assert specs[ENDED].owners == ["team:research"]
    assert specs["binance/health"].owners == ["ops@example.com", "team:research"]
    assert specs["source/binance/spot/ohlcv_1m"].owners == ["ops@example.com"]
    nobody = parse_collection({"series": [ENTRIES[0] | {"owners": []}], "owners": ["team:research"]})
    assert nobody.owners_of(nobody.series[0]) == []


@pytest.mark.parametrize(
    "owner", ["research", "team:", "team: ", "team:a b", "team:привет", "team:a/b", "me@localhost", "a b@example.com"]
)
def test_an_owner_that_dagster_refuses_is_refused_with_its_place(owner):
    with pytest.raises(ConfigError, match=r"series\[0\]\.owners: expected an email address or a team"):
        parse_collection({"series": [ENTRIES[0] | {"owners": [owner]}]})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql://me:secret@db.example.com:6543/market?sslmode=require",
            "postgresql://db.example.com:6543/market",
        ),
        ("postgresql://me@/market?host=/run/pg&password=secret", "postgresql:///market?host=/run/pg"),
        (None, "file:///h/postgres"),
    ],
)
def test_the_address_of_the_database_has_no_user_and_no_password(url, shown, monkeypatch):
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", "/h")
    monkeypatch.delenv("CRYPTO_ASSETS_LAKE_URL", raising=False)
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", url or "")
    found = Addresses.configured()
    assert found == Addresses("file:///h/lake/", shown)
    assert found.table("market.ohlcv") == f"{shown}#market.ohlcv"


# ---- tags -------------------------------------------------------------------------------------------------------------


def test_symbols_of_any_letters_have_different_tags_that_dagster_accepts(specs):
    assert specs["binance/spot/trades/币安人生-USDT"].tags["symbol"] == "u5e01_u5b89_u4eba_u751f_-USDT"
    assert tags_of("binance", "linear", "ohlcv_1m", EXPIRED)["symbol"] == "BTC-USDT-240628"
    long = "币" * 30
    values = [tag_value(text) for text in (long, f"{long}安", "BTC-USDT", "1000SATS-USDT", "a/b:c", "")]
    assert len(set(values)) == len(values)
    dg.AssetSpec("x", tags={f"t{number}": value for number, value in enumerate(values)})


# ---- lineage ----------------------------------------------------------------------------------------------------------


def lineage(spec: dg.AssetSpec) -> dict[str, set[str]]:
    found = spec.metadata["dagster/column_lineage"].deps_by_column
    return {
        column: {f"{dep.asset_key.to_user_string()}.{dep.column_name}" for dep in deps}
        for column, deps in found.items()
    }


def test_the_bars_of_a_table_come_from_the_same_columns_of_all_its_feeders(specs):
    found = lineage(specs["warehouse/binance/spot/ohlcv/BTC-USDT"])
    assert set(found) == {column.name for column in datasets.get("ohlcv").columns}
    assert found["high"] == {f"binance/spot/{name}/BTC-USDT.high" for name in ("ohlcv_1m", "ohlcv_1h")}


def test_statistics_come_from_the_columns_of_trades_that_they_are_computed_of(specs):
    found = lineage(specs["warehouse/binance/spot/trade_statistics_1m/BTC-USDT"])
    trades = "binance/spot/trades/BTC-USDT"
    assert found["vwap"] == {f"{trades}.amount", f"{trades}.quote_amount"}
    assert found["buy_volume"] == {f"{trades}.amount", f"{trades}.side"}
    assert set(found) == {column.name for column in datasets.get("trade_statistics_1m").columns}


def test_every_column_of_a_lineage_exists(specs):
    checked = 0
    for spec in specs.values():
        if "dagster/column_lineage" in spec.metadata:
            for deps in spec.metadata["dagster/column_lineage"].deps_by_column.values():
                for dep in deps:
                    feeder = Series.named(*dep.asset_key.path[:3])
                    assert datasets.get(feeder.table).column(dep.column_name)
                    checked += 1
    assert checked > 50


def test_every_lake_asset_begins_at_the_source_of_its_series(specs):
    lakes = [spec for name, spec in specs.items() if name.startswith("binance/") and name.count("/") == 3]
    assert len(lakes) == 9
    for spec in lakes:
        assert [dep.asset_key.path for dep in spec.deps] == [["source", *spec.key.path[:3]]]


def test_a_source_says_what_is_published_where_and_when(specs):
    daily, monthly = specs["source/binance/spot/ohlcv_1m"], specs["source/binance/linear/funding_rates"]
    assert daily.metadata["dagster/uri"] == "https://data.binance.vision/data/spot/daily/klines/"
    assert "below `data/spot/daily/klines/`" in daily.description
    assert "A month's file appears from day 2 of the next month on, mostly by day 15." in monthly.description
    assert daily.kinds == {"binance", "source", "csv"}


def test_a_source_is_observed_with_what_the_listing_had_new():
    tracks = tuple(Track(BARS, symbol) for symbol in ("BTC/USDT", "ETH/USDT"))
    requests = [
        Request("a", ("new",), 10, date(2024, 1, 5), date(2024, 1, 6), tracks, "digest"),
        Request("b", ("republished",), 3, date(2024, 1, 1), date(2024, 1, 1), tracks[:1], "digest"),
    ]
    (found,) = observations(requests)
    assert found.asset_key == key("source/binance/spot/ohlcv_1m")
    assert {name: value.value for name, value in found.metadata.items()} == {
        "new or changed days": 5,
        "symbols": 2,
        "what": "new, republished",
        "newest day": "2024-01-06",
    }
    assert observations([]) == []


# ---- freshness --------------------------------------------------------------------------------------------------------


def test_only_what_goes_on_can_become_stale(specs):
    fresh = {name for name, spec in specs.items() if spec.freshness_policy}
    assert fresh == {
        name
        for name in specs
        if name.count("/") > 2 and not name.startswith("source/") and name != ENDED and "240628" not in name
    }


def test_freshness_follows_from_the_hours_of_publication(specs):
    daily, monthly = freshness(BARS), freshness(FUNDING)
    assert daily == dg.FreshnessPolicy.time_window(timedelta(days=4), timedelta(hours=36))
    assert monthly == dg.FreshnessPolicy.time_window(timedelta(days=66), timedelta(days=46))
    # The hourly bars of the table have ended; the minutes go on.
    assert specs["warehouse/binance/spot/ohlcv/BTC-USDT"].freshness_policy == daily


def test_an_entry_goes_on_until_its_last_day_and_a_contract_until_its_delivery():
    (ended,) = parse_collection({"series": [ENTRIES[1]]}).series
    assert goes_on(ended, "BTC/USDT", datetime(2024, 3, 1, 23, 59, tzinfo=UTC))
    assert not goes_on(ended, "BTC/USDT", datetime(2024, 3, 2, tzinfo=UTC))
    dated = COLLECTION.series[2]
    assert goes_on(dated, EXPIRED, datetime(2024, 6, 28, 7, 59, tzinfo=UTC))
    assert not goes_on(dated, EXPIRED, datetime(2024, 6, 28, 8, tzinfo=UTC))


def test_the_hours_of_publication_are_those_of_the_source():
    day, month = publication(BARS), publication(FUNDING)
    assert (day.period, month.period) == ("day", "month")
    assert day.earliest < day.mostly_by < day.missing_after == timedelta(days=3)
    assert month.earliest < month.mostly_by < month.missing_after == timedelta(days=35)
