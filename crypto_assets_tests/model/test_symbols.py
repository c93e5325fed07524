"""Symbols in letters of every script: which are accepted, how they are written, and one such symbol through all steps."""

from __future__ import annotations

import unicodedata
from datetime import date
from decimal import Decimal

import dagster as dg
import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

import crypto_assets
from crypto_assets.config.collection import parse_collection
from crypto_assets.config.selection import select
from crypto_assets.definitions import build
from crypto_assets.instance.names import identifier
from crypto_assets.model.symbols import path_symbol, similar_symbols, unified_symbol
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.workbench import Workbench, entry

DAY = date(2024, 1, 2)


@pytest.mark.parametrize(
    ("text", "unified"),
    [
        ("币安人生/USDT", "币安人生/USDT"),
        ("币安人生-usdt", "币安人生/USDT"),
        ("рубль/usdt", "РУБЛЬ/USDT"),
        ("1000sats/usdt", "1000SATS/USDT"),
        ("ελληνικά/usdt", "ΕΛΛΗΝΙΚΆ/USDT"),
        (unicodedata.normalize("NFD", "É/USDT"), "É/USDT"),
        ("straße/usdt", "STRAßE/USDT"),
        ("ıx/usdt", "ıX/USDT"),
        ("비트/USDT", "비트/USDT"),
        ("٣/USDT", "٣/USDT"),
        ("हिन्दी/USDT", "हिन्दी/USDT"),
    ],
)
def test_letters_of_every_script_are_letters(text, unified):
    assert unified_symbol(text, "spot") == unified
    assert unified_symbol(path_symbol(unified), "spot") == unified


@pytest.mark.parametrize(
    "text",
    [
        *(
            "🚀/USDT",
            "🚀MOON/USDT",
            "1️⃣/USDT",
            "$AI/USDT",
            "B.C/USDT",
            "A_B/USDT",
            "A=B/USDT",
            "A B/USDT",
            "A\u00a0B/USDT",
        ),
        *(
            "..-USDT",
            "../USDT",
            "A/../USDT",
            "A\\B/USDT",
            "A\x00B/USDT",
            "A\nB/USDT",
            "A/USDT\n/B",
            "\u200bA/USDT",
            "\u3164/USDT",
        ),
        *(
            "A\u200d/USDT",
            "币" * 60 + "/USDT",
            "％/USDT",
            "A\u2044USDT",
            "½/USDT",
            "\u0301A/USDT",
            "币\ufe0f/USDT",
        ),
    ],
)
def test_signs_blanks_and_pictures_are_not(text):
    with pytest.raises(ValueError, match=r"symbol .*: expected the form BTC/USDT"):
        unified_symbol(text, "spot")


@given(st.text(st.characters(categories=["Lu", "Lo", "Nd"]), min_size=1, max_size=12))
def test_any_word_of_letters_stays_itself_on_its_way_into_a_path_and_back(word):
    try:
        unified = unified_symbol(f"{word}/USDT", "spot")
    except ValueError:
        return
    path = path_symbol(unified)
    assert unified_symbol(unified, "spot") == unified_symbol(path, "spot") == unified
    assert "/" not in path
    assert len(f"symbol={path}".encode()) < 255


def test_dagster_has_names_for_them_and_the_old_ones_for_the_others():
    assert identifier(dg.AssetKey(["binance", "spot", "ohlcv_1m", "BTC-USDT"])) == "binance__spot__ohlcv_1m__BTC_USDT"
    assert identifier(dg.AssetKey(["a", "币-USDT"])) == "a__u5e01__USDT"
    content = {
        "series": [entry("spot", ["ohlcv_1m", "ohlcv_1h", "trades"], ["币安人生/USDT", "币安/USDT", "BTC/USDT"], DAY)]
    }
    collection = parse_collection(content)
    keys = build(collection).resolve_asset_graph().get_all_asset_keys()
    assert dg.AssetKey(["binance", "spot", "ohlcv_1m", "币安人生-USDT"]) in keys
    assert dg.AssetKey(["warehouse", "binance", "spot", "ohlcv", "币安-USDT"]) in keys
    [(_, pairs)] = select(collection, symbols=["币安人生/usdt"], datasets=["trades"])
    assert [symbol for _, symbol in pairs] == ["币安人生/USDT"]


def test_a_symbol_of_such_letters_is_collected_and_read_like_any_other(postgres_url, tmp_path, monkeypatch):
    exchange = SyntheticArchive({"spot": ["币安人生USDT"]}, first_day=DAY, last_day=DAY, trades_per_day=500)
    with SandboxServer(exchange) as sandbox:
        work = Workbench(
            sandbox, postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1m", "trades"], ["币安人生/USDT"], DAY)
        )
        result = work.collect(DAY, DAY)
        assert result.of(DAY, symbol="币安人生/USDT").state == "available"
        assert any("/币安人生USDT/" in path for _, path in sandbox.requests())
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(tmp_path / "lake"))
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", postgres_url)
    rows = crypto_assets.read("binance", "币安人生/USDT", "ohlcv_1m", DAY, DAY, exact=True)
    assert len(rows) == 1440
    stored = crypto_assets.read("binance", "币安人生/USDT", "ohlcv_1m", DAY, DAY, source="warehouse", exact=True)
    assert list(stored["close"]) == list(rows["close"])
    pattern = tmp_path / "lake/exchange=*/market_type=*/dataset=ohlcv_1m/symbol=*/date=*/data.parquet"
    found = duckdb.sql(
        f"SELECT symbol, sum(volume) FROM read_parquet('{pattern}', hive_partitioning=true) GROUP BY 1"
    ).fetchall()
    assert found == [("币安人生-USDT", sum(rows["volume"], Decimal(0)))]


@pytest.mark.parametrize(
    ("symbol", "known", "meant"),
    [
        ("DOGE/USDT", ["SOL/USDT", "BTC/USDT"], []),
        ("DOGEUSDT", ["SOLUSDT", "BTCUSDT"], []),
        ("BTX/USDT", ["ETH/USDT", "BTC/USDT"], ["BTC/USDT"]),
        ("BTC/USDC", ["ETH/USDT", "BTC/USDT"], ["BTC/USDT"]),
        ("BTCCUSDT", ["BTCUSDT", "ETHUSDT"], ["BTCUSDT"]),
        ("AT/USDT", ["CAT/USDT", "BTC/USDT"], ["CAT/USDT"]),
    ],
)
def test_a_common_quote_makes_no_symbols_alike(symbol, known, meant):
    assert similar_symbols(symbol, known) == meant
