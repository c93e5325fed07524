"""Gaps that somebody accepts: which days can be, what is shown, and what ends it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from crypto_assets.cli import cli
from crypto_assets.config.collection import Collection, load_collection
from crypto_assets.engine.tally import Tally
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.gaps import NOT_COLLECTED, Gap, gaps
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import (
    ArchiveObject,
    Finding,
    Outcome,
    Partition,
    Series,
    SourceFile,
    State,
    StoredFile,
    Track,
    TrackDay,
)
from crypto_assets.quality.acknowledged_gaps import Decision, acknowledge, refresh_acknowledgements
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.quality.stored import put_files
from crypto_assets_tests.workbench import entry

BTC, ETH = "BTC/USDT", "ETH/USDT"
BARS = Series("binance", "spot", "ohlcv", "1m")
FIRST = date(2024, 3, 1)
PARTIAL, MISSING, PENDING, GOOD, NEW = (FIRST + timedelta(days=n) for n in range(5))
TODAY = NEW + timedelta(days=1)
KEY = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-{}.zip"
COMPLETE, SHORT = Finding(True, {"expected": 1440}), Finding(False, {"expected": 1440, "found": 1430, "missing": 10})


def stored(day: date, state: State, sha256: str = "c", etag: str = "e1") -> Outcome:
    return Outcome(
        BARS,
        Partition(BTC, day),
        state,
        "" if state is State.AVAILABLE else "complete: missing 10",
        {},
        SourceFile(KEY.format(day), 70, etag, "a" * 64),
        StoredFile(f"{day}.parquet", 1430, 1, sha256 * 64),
        {"complete": COMPLETE if state is State.AVAILABLE else SHORT},
    )


def absent(day: date, state: State = State.MISSING, reason: str = "no file") -> Outcome:
    return Outcome(BARS, Partition(BTC, day), state, reason)


def appears(ledger: Ledger, day: date, etag: str = "e1") -> None:
    ledger.record_objects("binance", [ArchiveObject(KEY.format(day), 70, etag, datetime(2024, 3, 5, tzinfo=UTC))])


@pytest.fixture
def ledger(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """Five days of BTC: partial, missing, pending, complete and not collected yet."""
    (tmp_path / "collection.yaml").write_text(
        yaml.safe_dump({"series": [entry("spot", ["ohlcv_1m"], [BTC, ETH], FIRST, end=NEW, warehouse=False)]})
    )
    monkeypatch.setenv("CRYPTO_ASSETS_CONFIG", str(tmp_path / "collection.yaml"))
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(tmp_path / "lake"))
    migrate(postgres_url)
    put_files(
        tmp_path / "lake",
        [stored(PARTIAL, State.DEGRADED), stored(GOOD, State.AVAILABLE), stored(MISSING, State.DEGRADED)],
    )
    with Ledger(postgres_url) as opened:
        appears(opened, PARTIAL)
        opened.record_outcomes(
            [
                stored(PARTIAL, State.DEGRADED),
                absent(MISSING),
                absent(PENDING, State.PENDING),
                stored(GOOD, State.AVAILABLE),
            ]
        )
        yield opened


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return load_collection(tmp_path / "collection.yaml")


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


ONE = ("--symbol", BTC, "--dataset", "ohlcv_1m")


def accept(first: date, last: date | None = None, *more: str) -> Result:
    words = ("gaps", "acknowledge", *ONE, "--from", str(first), "--to", str(last or first))
    return run(*words, "--reason", "the exchange says so", "--by", "ann", *more)


def of_btc(ledger: Ledger, collection: Collection) -> dict[date, Gap]:
    return {gap.day: gap for gap in gaps(collection, ledger, TODAY, tracks={(BARS, BTC)})}


def test_gaps_are_every_day_that_is_not_complete_in_order(ledger: Ledger, collection: Collection) -> None:
    found = list(gaps(collection, ledger, TODAY))
    assert [(gap.symbol, gap.day, gap.state) for gap in found] == [
        (BTC, PARTIAL, State.DEGRADED),
        (BTC, MISSING, State.MISSING),
        (BTC, PENDING, State.PENDING),
        (BTC, NEW, None),
        *((ETH, FIRST + timedelta(days=n), None) for n in range(5)),
    ]
    assert (found[0].source, found[0].source_etag, found[0].findings["complete"]["missing"]) == ("archive", "e1", 10)
    assert found[3].reason == NOT_COLLECTED
    some = gaps(collection, ledger, TODAY, tracks={(BARS, BTC)}, first=MISSING, last=PENDING)
    assert [gap.day for gap in some] == [MISSING, PENDING]
    assert [gap.day for gap in gaps(collection, ledger, MISSING, tracks={(BARS, BTC)})] == [PARTIAL]


def test_a_complete_day_whose_file_is_gone_is_a_gap(ledger: Ledger, collection: Collection) -> None:
    gone, of_none = TrackDay(BARS, BTC, GOOD), TrackDay(BARS, "XRP/USDT", GOOD)
    lost = {gone: "its file is gone from the lake", of_none: "of no entry"}
    found = [gap for gap in gaps(collection, ledger, TODAY, lost=lost) if gap.lost]
    assert [(gap.day, gap.state, gap.reason) for gap in found] == [
        (GOOD, State.MISSING, "its file is gone from the lake")
    ]
    accept(PARTIAL)
    (gap,) = gaps(
        collection, ledger, TODAY, tracks={(BARS, BTC)}, last=PARTIAL, lost={TrackDay(BARS, BTC, PARTIAL): "gone"}
    )
    assert gap.is_open, "what was accepted had a file"


def test_a_lost_day_is_collected_again_and_not_accepted(ledger: Ledger, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "lake")
    partial = accept(PARTIAL)
    assert f"{PARTIAL}: stored and lost" in str(partial.exception), "it would stay a gap whoever accepts it"
    refused = accept(GOOD)
    assert "2024-03-04: stored and lost" in str(refused.exception)


def test_days_of_no_data_are_no_gaps_inferred_or_proven(ledger: Ledger, collection: Collection) -> None:
    known = Outcome(BARS, Partition(BTC, NEW), State.NO_DATA, "delisted", {"inferred": True})
    proven = Outcome(BARS, Partition(BTC, PENDING), State.NO_DATA, "not listed", {"inferred": False})
    ledger.record_outcomes([known, proven])
    assert set(of_btc(ledger, collection)) == {PARTIAL, MISSING}


def test_a_run_counts_acknowledged_days_apart_only_as_they_were_acknowledged(ledger: Ledger) -> None:
    accept(PARTIAL, MISSING)
    tally = Tally()
    tally.add([stored(PARTIAL, State.DEGRADED), absent(MISSING), absent(PENDING, State.PENDING), absent(GOOD)])
    tally.accept(ledger)
    assert [one.partition.day for one in tally.accepted] == [PARTIAL, MISSING]
    assert [one.partition.day for one in tally.problems] == [PENDING, GOOD]
    assert tally.days == 4
    run("gaps", "acknowledge", *ONE, "--from", str(MISSING), "--withdraw")
    tally.accept(ledger)
    assert sorted(one.partition.day for one in tally.problems) == [MISSING, PENDING, GOOD]
    # An attempt that came to nothing is not what was acknowledged, though the stored rows are.
    other = Tally()
    other.add([absent(PARTIAL)])
    other.accept(ledger)
    assert [one.partition.day for one in other.problems] == [PARTIAL]


def test_acknowledged_days_are_counted_apart(ledger: Ledger) -> None:
    answer = accept(PARTIAL, MISSING)
    assert answer.exit_code == 0, answer.output
    assert [line.partition(": ")[0] for line in answer.output.splitlines()] == [
        f"binance spot BTC/USDT ohlcv_1m {PARTIAL} … {MISSING} (2 days)"
    ]
    seen = run("gaps", *ONE, "--to", str(MISSING))
    assert (seen.exit_code, seen.output) == (
        0,
        "nothing is missing that nobody has acknowledged\n2 days are acknowledged; --all lists them\n",
    )
    everything = run("gaps", *ONE, "--to", str(MISSING), "--all").output.splitlines()
    assert "acknowledged by ann on " in everything[0]
    assert everything[0].endswith("the exchange says so")
    assert everything[-1] == "2 days are acknowledged"
    rows = json.loads(run("gaps", *ONE, "--to", str(MISSING), "--json").output)
    assert [(row["day"], row["acknowledged"]["by"], row["acknowledged"]["withdrawn"]) for row in rows] == [
        (str(PARTIAL), "ann", None),
        (str(MISSING), "ann", None),
    ]
    others = run("gaps", *ONE)
    assert others.exit_code == 1, "the pending day and the one that was not collected yet still count"
    listed = json.loads(run("gaps", "acknowledged", "--json").output)
    assert [(row["day"], row["state"], row["reason"]) for row in listed] == [
        (str(PARTIAL), "degraded", "the exchange says so"),
        (str(MISSING), "missing", "the exchange says so"),
    ]


@pytest.mark.parametrize(
    ("first", "last", "why"),
    [
        (GOOD, GOOD, "2024-03-04: complete"),
        (PENDING, PENDING, "2024-03-03: not published yet"),
        (
            NEW,
            NEW,
            "2024-03-05: not collected yet. .* days that `crypto-assets fill` can still collect, .* not accepted",
        ),
        (FIRST - timedelta(days=3), FIRST, r"2024-02-27 … 2024-02-29 .3 days.: outside the collection"),
        (NEW + timedelta(days=1), NEW + timedelta(days=1), "outside the collection"),
        (MISSING, FIRST, "expected --from on or before --to"),
        (PARTIAL, NEW, "Nothing was acknowledged"),
    ],
)
def test_only_gaps_can_be_acknowledged_and_nothing_is_kept_where_one_day_is_none(
    ledger: Ledger, collection: Collection, first: date, last: date, why: str
) -> None:
    (part,) = collection.series
    with pytest.raises(ConfigError, match=why):
        acknowledge(
            ledger,
            collection,
            Decision([(part, {Track(BARS, BTC)})], first, last, "ann", "so"),
            today=TODAY + timedelta(days=9),
        )
    assert json.loads(run("gaps", "acknowledged", "--all", "--json").output) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--symbol", "DOGE/USDT", "--dataset", "ohlcv_1m", "--from", str(MISSING), "--reason", "x"), "DOGE"),
        (("--symbol", BTC, "--dataset", "trades", "--from", str(MISSING), "--reason", "x"), "trades"),
        ((*ONE, "--from", str(MISSING), "--reason", "  "), "--reason"),
        ((*ONE, "--from", "last week", "--reason", "x"), "2024-01-31"),
        ((*ONE, "--reason", "x"), "--from"),
        (("--symbol", BTC, "--from", str(MISSING), "--reason", "x"), "--dataset"),
        ((*ONE, "--from", str(MISSING), "--withdraw"), "expected acknowledged days"),
        ((*ONE, "--exchange", "kraken", "--from", str(MISSING), "--reason", "x"), "kraken"),
    ],
)
def test_wrong_words_are_refused_by_name(ledger: Ledger, words: tuple[str, ...], expected: str) -> None:
    assert ledger.url
    answer = run("gaps", "acknowledge", *words)
    assert answer.exit_code != 0
    assert expected in answer.output + str(answer.exception)
    assert answer.exit_code == 2 or isinstance(answer.exception, ConfigError)


CHANGES: dict[str, tuple[date, Callable[[Ledger], None], str]] = {
    "a file appears": (MISSING, lambda ledger: appears(ledger, MISSING), "the archive has a file now: data/spot/daily"),
    "another file appears": (
        PARTIAL,
        lambda ledger: appears(ledger, PARTIAL, "e2"),
        "the archive has another file now",
    ),
    "other rows": (
        PARTIAL,
        lambda ledger: ledger.record_outcomes([stored(PARTIAL, State.DEGRADED, "d")]),
        "its rows have changed",
    ),
    "the same rows in another file": (
        PARTIAL,
        lambda ledger: ledger.record_outcomes([stored(PARTIAL, State.DEGRADED, etag="e2")]),
        "the archive has published its file again",
    ),
    "another state": (
        MISSING,
        lambda ledger: ledger.record_outcomes([stored(MISSING, State.DEGRADED)]),
        "the day is degraded now, it was missing",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_withdraws_it_and_the_day_counts_again(ledger: Ledger, collection: Collection, change: str) -> None:
    day, make, because = CHANGES[change]
    assert accept(PARTIAL, MISSING).exit_code == 0
    make(ledger)
    found = of_btc(ledger, collection)
    other = PARTIAL if day is MISSING else MISSING
    assert (found[day].is_open, found[other].is_open) == (True, False)
    answer = run("gaps", *ONE, "--to", str(MISSING))
    assert answer.exit_code == 1
    line = answer.output.splitlines()[0]
    assert "acknowledged by ann on " in line
    assert f"withdrawn because {because}" in line
    assert answer.output.splitlines()[-1] == "1 day is acknowledged; --all lists them"


def test_a_withdrawal_lasts_even_where_the_day_is_as_it_was_again(ledger: Ledger, collection: Collection) -> None:
    accept(MISSING)
    ledger.record_outcomes([stored(MISSING, State.DEGRADED)])
    refresh_acknowledgements(ledger, collection, MISSING, MISSING, TODAY)
    with ledger.transaction() as connection:
        connection.execute("DELETE FROM collection.partitions WHERE day = %s", (MISSING,))
    ledger.record_outcomes([absent(MISSING)])
    gap = of_btc(ledger, collection)[MISSING]
    assert gap.is_open
    assert "the day is degraded now" in str(gap.acknowledged)
    assert accept(MISSING).exit_code == 0, "it can be acknowledged anew"
    assert not of_btc(ledger, collection)[MISSING].is_open


def test_collecting_a_day_again_that_is_as_it_was_changes_nothing(ledger: Ledger, collection: Collection) -> None:
    accept(PARTIAL, MISSING)
    appears(ledger, PARTIAL)
    ledger.record_outcomes(
        [replace(stored(PARTIAL, State.DEGRADED), unchanged=True), absent(MISSING, reason="still no file")]
    )
    assert refresh_acknowledgements(ledger, collection, PARTIAL, MISSING, TODAY) == []
    found = of_btc(ledger, collection)
    assert {day: gap.is_open for day, gap in found.items()} == {
        PARTIAL: False,
        MISSING: False,
        PENDING: True,
        NEW: True,
    }


def test_another_cause_withdraws_it(ledger: Ledger, collection: Collection) -> None:
    accept(MISSING)
    refused = Outcome(BARS, Partition(BTC, MISSING), State.MISSING, "wrong checksum", {"error": "ChecksumMismatch"})
    ledger.record_outcomes([refused])
    (changed,) = refresh_acknowledgements(ledger, collection, FIRST, MISSING, TODAY)
    assert changed.day == MISSING
    gap = of_btc(ledger, collection)[MISSING]
    assert gap.is_open
    assert "its cause is upstream_bad_file now, it was upstream_absent_file" in str(gap.acknowledged)


def test_days_in_a_row_are_one_line(ledger: Ledger, collection: Collection) -> None:
    (line,) = accept(PARTIAL, MISSING).output.splitlines()
    assert line.startswith(f"binance spot {BTC} ohlcv_1m {PARTIAL} … {MISSING} (2 days): acknowledged by ann on ")
    shown = run("gaps", "acknowledged").output.splitlines()
    assert [line.split(": ")[1] for line in shown] == ["partial", "missing"], (
        "days in other states are lines of their own"
    )
    words = ("gaps", "acknowledge", *ONE, "--from", str(PARTIAL), "--to", str(MISSING), "--withdraw")
    (line,) = run(*words).output.splitlines()
    assert f"{PARTIAL} … {MISSING} (2 days): counts again, it was acknowledged by ann on " in line


def test_the_help_says_what_is_needed_and_what_is_not_accepted() -> None:
    text = " ".join(run("gaps", "acknowledge", "--help").output.split())
    assert "[required without --withdraw]" in text
    assert "Days that `crypto-assets fill` can still collect" in text
    assert "are refused" in text


def test_a_person_can_withdraw_it(ledger: Ledger, collection: Collection) -> None:
    accept(PARTIAL, MISSING)
    answer = run(
        "gaps", "acknowledge", *ONE, "--from", str(MISSING), "--withdraw", "--by", "bob", "--reason", "too soon"
    )
    assert answer.exit_code == 0, answer.output
    found = of_btc(ledger, collection)
    assert (found[PARTIAL].is_open, found[MISSING].is_open) == (False, True)
    assert "withdrawn because bob withdrew it: too soon" in run("gaps", *ONE, "--to", str(MISSING)).output
    assert len(json.loads(run("gaps", "acknowledged", "--json").output)) == 1
    assert len(json.loads(run("gaps", "acknowledged", "--all", "--json").output)) == 2


def test_options_before_a_subcommand_are_refused(ledger: Ledger) -> None:
    assert ledger.url
    answer = run("gaps", "--from", str(FIRST), "acknowledged")
    assert (answer.exit_code, "found first before it" in answer.output) == (2, True)
