"""Scores and delays as a user sees them: on the command line and over HTTP, from one real ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner, Result

from crypto_assets.cli import cli
from crypto_assets.cli.commands.delays import span
from crypto_assets.cli.commands.scores import _number
from crypto_assets.config.collection import parse_collection
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import ArchiveObject, Outcome, Partition, State
from crypto_assets.quality.score_store import refresh_scores
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.api.served import get, refused, serving
from crypto_assets_tests.quality.ledger_rows import put_files
from crypto_assets_tests.quality.test_score_store import (
    BARS,
    BTC,
    CUT,
    CUT_TOTAL,
    ETH,
    FIRST,
    key_of,
    no_outage,
    stored,
)
from crypto_assets_tests.workbench import entry

LAST = date(2024, 3, 3)
DAYS = {"from": str(FIRST), "to": str(LAST)}
CONTENT = {"series": [entry("spot", ["ohlcv_1m"], [BTC, ETH], FIRST, warehouse=False)], "quality": {"threshold": 0.85}}
"""Three days of BTC of which one lacks bars and one everything; three whole days of ETH, the last one late."""


@pytest.fixture(scope="module")
def place(module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a collection whose scores are not kept yet."""
    folder = tmp_path_factory.mktemp("scores")
    (folder / "collection.yaml").write_text(yaml.safe_dump(CONTENT))
    migrate(module_postgres_url)
    with Ledger(module_postgres_url) as ledger:
        ledger.record_outcomes(
            [
                stored(FIRST),
                stored(date(2024, 3, 2), findings=CUT),
                Outcome(BARS, Partition(BTC, LAST), State.MISSING, "the archive does not list it"),
                *(stored(FIRST + timedelta(days=n), ETH) for n in range(3)),
            ]
        )
        modified = datetime(2024, 3, 4, 5, tzinfo=UTC)
        ledger.record_objects("binance", [ArchiveObject(key_of(LAST, ETH), 70, "e1", modified)])
        with ledger.transaction() as connection:
            connection.execute("UPDATE collection.archive_objects SET first_seen = first_modified")
        ledger.record_outcomes([Outcome(BARS, Partition(ETH, date(2024, 3, 4)), State.PENDING, "not published yet")])
    put_files(module_postgres_url, folder / "lake")
    return {
        "CRYPTO_ASSETS_POSTGRES_URL": module_postgres_url,
        "CRYPTO_ASSETS_CONFIG": str(folder / "collection.yaml"),
        "CRYPTO_ASSETS_HOME": str(folder),
        "COLUMNS": "200",
    }


@pytest.fixture(scope="module")
def kept(place: dict[str, str]) -> dict[str, str]:
    """The same with its scores kept."""
    with Ledger(place["CRYPTO_ASSETS_POSTGRES_URL"]) as ledger:
        refresh_scores(ledger, parse_collection(CONTENT), FIRST, LAST, outages=no_outage)
    return place


@pytest.fixture(scope="module")
def client(kept: dict[str, str]) -> Iterator[httpx.Client]:
    with serving(kept["CRYPTO_ASSETS_POSTGRES_URL"], Path(kept["CRYPTO_ASSETS_CONFIG"])) as made:
        yield made


def run(place: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, env=place)


def quality(place: dict[str, str], *arguments: str, code: int = 1) -> Any:
    answer = run(place, "quality", "--from", str(FIRST), "--to", str(LAST), "--json", *arguments)
    assert answer.exit_code == code, answer.output
    return json.loads(answer.stdout)


HEADER = "what days judged below accuracy completeness timeliness agreement total worst day"
MEAN = (1 + CUT_TOTAL + 0) / 3


# ---- command line -----------------------------------------------------------------------------------------------------


def test_days_are_scored_before_they_are_shown_unless_that_is_not_wanted(place: dict[str, str]) -> None:
    assert quality(place, "--no-refresh", code=0) == []
    btc, eth = quality(place)
    assert (btc["symbol"], btc["days"], btc["judged"], btc["below"]) == (BTC, 3, 3, 1)
    assert btc["total"] == pytest.approx(MEAN)
    assert (btc["worst"]["day"], btc["worst"]["total"]) == ("2024-03-03", 0)
    assert (eth["symbol"], eth["total"], eth["below"], eth["timeliness"]) == (ETH, 1.0, 0, 1.0)
    assert quality(place, "--no-refresh") == [btc, eth]


def test_the_exit_code_says_whether_a_total_that_is_shown_is_below_the_threshold(kept: dict[str, str]) -> None:
    assert [one["symbol"] for one in quality(kept, "--symbol", "ETH-USDT", code=0)] == [ETH]
    assert quality(kept, "--symbol", "BTC/USDT", code=1)[0]["total"] == pytest.approx(MEAN)
    assert quality(kept, "--by", "series", "--below", "0.5", code=0) == []
    shown = quality(kept, "--by", "partition", "--below", "0.999")
    assert [(one["day"], one["state"], one["reason"]) for one in shown] == [
        ("2024-03-02", "degraded", "360 bars lack"),
        ("2024-03-03", "missing", "the archive does not list it"),
    ]
    [exchange] = quality(kept, "--by", "exchange")
    assert (exchange["days"], exchange["total"]) == (6, pytest.approx((MEAN + 1) / 2))


def test_for_people_a_table_names_the_worst_day(kept: dict[str, str]) -> None:
    answer = run(kept, "quality", *(f"--{name}={day}" for name, day in DAYS.items()))
    assert answer.exit_code == 1
    header, btc, eth, last = answer.stdout.splitlines()
    assert " ".join(header.split()) == HEADER
    total = f"{int(MEAN * 10_000) / 10_000:.4f}"
    assert btc.split() == [
        *("binance/spot/ohlcv_1m/BTC-USDT", "3", "3", "1", "1.0000", "0.5833", "–", "–", total),
        *("2024-03-03", "(0.0000)"),
    ]
    assert eth.split()[-5:] == ["1.0000", "1.0000", "1.0000", "–", "1.0000"]
    assert last == "1 of 2 below 0.85"


def test_the_trend_has_a_line_for_each_day_that_changed_a_score(kept: dict[str, str]) -> None:
    today = datetime.now(UTC).date()
    points = quality(kept, "--trend", "--by", "series")
    assert [(p["dataset"], p["judged"], p["total"]) for p in points] == [("ohlcv_1m", 6, pytest.approx((MEAN + 1) / 2))]
    assert date.fromisoformat(points[0]["on"]) in (today, today - timedelta(days=1))
    table = run(kept, "quality", "--trend", "--no-refresh").stdout
    assert table.splitlines()[0].split()[:3] == ["what", "on", "judged"]
    assert "binance/spot/ohlcv_1m/BTC-USDT" in table


def test_a_filter_that_matches_nothing_is_an_error(kept: dict[str, str]) -> None:
    assert isinstance(run(kept, "quality", "--symbol", "XRP/USDT").exception, ConfigError)


def test_what_is_not_quite_1_does_not_look_like_it() -> None:
    assert [_number(value) for value in (1.0, 0.99999, 0.9993, 0.0, 1e-9, None)] == [
        *("1.0000", "0.9999", "0.9993", "0.0000", "0.0000"),
        "–",
    ]


def test_delays_for_people_and_as_json(kept: dict[str, str]) -> None:
    found = json.loads(run(kept, "delays", "--json").stdout)
    [delay] = found["delays"]
    assert (delay["dataset"], delay["period"], delay["watched"], delay["objects"]) == ("ohlcv_1m", "day", True, 1)
    assert (delay["p50_s"], delay["p95_s"], delay["latest_s"], delay["latest_day"]) == (*[18_000] * 3, "2024-03-03")
    [late] = found["late"]
    assert (late["symbol"], late["day"], late["due_at"]) == (ETH, "2024-03-04", "2024-03-08T00:00:00+00:00")
    answer = run(kept, "delays")
    assert answer.exit_code == 0
    _, row, line = answer.stdout.splitlines()
    assert " ".join(row.split()) == f"binance/spot/ohlcv_1m day seen 1 {' '.join(['5 h 00 min'] * 3)} 2024-03-03 1"
    key = key_of(date(2024, 3, 4), ETH)
    assert line.startswith(f"late: binance spot ETH/USDT ohlcv_1m 2024-03-04: expected {key} by 2024-03-08 00:00 UTC, ")


def test_spans_are_short() -> None:
    assert [span(s) for s in (0, 3_569, 3_600, 18_420, 2 * 86_400 - 60, 3 * 86_400 + 4 * 3_600)] == [
        *("0 min", "59 min", "1 h 00 min", "5 h 07 min", "47 h 59 min"),
        "3 d 4 h",
    ]


# ---- HTTP -------------------------------------------------------------------------------------------------------------


def test_the_api_has_scores_by_level_with_the_threshold_of_the_collection(client: httpx.Client) -> None:
    btc, eth = get(client, "/v1/quality", **DAYS)["items"]
    assert (btc["symbol"], btc["total"], btc["below"]) == (BTC, pytest.approx(MEAN), 1)
    assert btc["worst"] == {
        "market_type": "spot",
        "symbol": BTC,
        "dataset": "ohlcv_1m",
        "day": "2024-03-03",
        "total": 0,
    }
    assert (eth["symbol"], eth["total"]) == (ETH, 1.0)
    bad = get(client, "/v1/quality", by="partition", below="0.999", **DAYS)["items"]
    assert [(one["day"], one["reason"]) for one in bad] == [
        ("2024-03-02", "360 bars lack"),
        ("2024-03-03", "the archive does not list it"),
    ]


def test_a_stored_day_whose_file_is_lost_is_missing_in_every_answer_until_it_is_back(
    kept: dict[str, str], client: httpx.Client
) -> None:
    """What is kept stays: a lake that is another one for a moment spoils no history."""
    which = ("--symbol", ETH, "--no-refresh")
    before = quality(kept, *which, "--by", "partition", code=0)
    trend = quality(kept, *which, "--trend", code=0)
    lake = Path(kept["CRYPTO_ASSETS_HOME"]) / "lake"
    file = lake / Lake(str(lake)).path(BARS, Partition(ETH, FIRST))
    away = file.rename(file.with_suffix(".away"))
    try:
        [eth] = quality(kept, "--symbol", ETH, code=1)
        assert (eth["days"], eth["lost"], eth["below"], eth["completeness"]) == (3, 1, 1, pytest.approx(2 / 3))
        assert (eth["worst"]["day"], eth["worst"]["total"]) == ("2024-03-01", 0)
        assert get(client, "/v1/quality", symbol=ETH, **DAYS)["items"] == [eth]
        first, *others = quality(kept, *which, "--by", "partition", code=1)
        assert (first["state"], first["completeness"], first["accuracy"], first["total"]) == ("missing", 0, None, 0)
        assert "its file is missing in the lake" in first["reason"]
        assert others == before[1:]
        words = run(kept, "quality", *which, "--from", str(FIRST), "--to", str(LAST), "--below", "0.1")
        assert words.exit_code == 1, "also where the mean hides it"
        assert words.stderr.startswith("1 of 3 stored days is lost and counts as missing; ")
        assert quality(kept, *which, "--trend", code=1) == trend
    finally:
        away.rename(file)
    assert quality(kept, *which, "--by", "partition", code=0) == before


def test_the_api_gives_scores_in_pages(client: httpx.Client) -> None:
    seen, path = [], "/v1/quality?by=partition&limit=2&to=2024-03-03"
    while path:
        page = get(client, path)
        assert 0 < len(page["items"]) <= 2
        seen += [(one["symbol"], one["day"]) for one in page["items"]]
        path = page["next"]
    assert seen == [(symbol, f"2024-03-0{day}") for symbol in (BTC, ETH) for day in (1, 2, 3)]


def test_the_api_has_the_trend(client: httpx.Client) -> None:
    points = get(client, "/v1/quality", trend="true", by="exchange", **DAYS)["items"]
    assert [(p["exchange"], p["symbol"], p["judged"]) for p in points] == [("binance", None, 6)]
    assert points[0]["total"] == pytest.approx((MEAN + 1) / 2)


@pytest.mark.parametrize(
    ("asked", "error", "found"),
    [
        ("by=planet", "unknown level", "planet"),
        ("below=2", "not a number in range", "2"),
        ("below=nan", "not a number in range", "nan"),
        ("below=0.5&trend=true", "not together", "both"),
        ("threshold=1", "unknown parameter", "threshold"),
    ],
)
def test_the_api_refuses_what_it_does_not_understand(client: httpx.Client, asked: str, error: str, found: str) -> None:
    answer = refused(client.get(f"/v1/quality?{asked}"), 400)
    assert (answer["error"], answer["found"]) == (error, found)


def test_the_api_has_delays_and_what_is_late(client: httpx.Client) -> None:
    answer = get(client, "/v1/delays")
    assert [(one["dataset"], one["watched"], one["p95_s"]) for one in answer["items"]] == [("ohlcv_1m", True, 18_000)]
    assert [(one["symbol"], one["day"]) for one in answer["late"]] == [(ETH, "2024-03-04")]
    refused(client.get("/v1/delays?exchange=binance"), 400)
