"""The cause of a day in SQL is the one that the command gives, for every kind of evidence, and follows what is recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from click.testing import CliRunner

from crypto_assets.causes import known_outages
from crypto_assets.causes.known_outages import KnownOutage, all_known
from crypto_assets.cli import cli
from crypto_assets.errors import BAD_FILES, REFUSALS
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.profiles import write_profiles
from crypto_assets.model import STORED_FILE, Finding, Outcome, Partition, Profile, Series, SourceFile, State, StoredFile
from crypto_assets.model.kinds import Kind
from crypto_assets.quality.stored_causes import refresh_causes
from crypto_assets.text.urls import READER, with_user
from crypto_assets_tests.conftest import new_database
from crypto_assets_tests.quality.stored import put_files, stored
from crypto_assets_tests.workbench import entry

BTC, ETH = "BTC/USDT", "ETH/USDT"
SPOT = ("binance", "spot")
FIRST = date(2022, 1, 1)
APART = timedelta(days=10)
"""Between the days of two cases: they judge each other within four days."""

Minutes = Sequence[tuple[int, int]]
Case = tuple[str, str]


@dataclass(frozen=True)
class Day:
    """One day of BTC: its record, its missing minutes, and those of the other stored days of that day."""

    kind: Kind
    state: State
    evidence: dict[str, Any] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    absent: Minutes = ()
    beside: dict[Case, Minutes] = field(default_factory=dict)
    dataset: str = "ohlcv_1m"
    down: tuple[timedelta, timedelta] | None = None


def hours(number: float) -> timedelta:
    return timedelta(hours=number)


def missing(kind: Kind, **evidence: Any) -> Day:
    return Day(kind, State.MISSING, evidence)


def partial(kind: Kind, *absent: tuple[int, int], **more: Any) -> Day:
    return Day(kind, State.DEGRADED, findings={"complete": Finding(False, {"missing": 9})}, absent=absent, **more)


ALL_DAY = (hours(-1), hours(25))
MORNING = (hours(1), hours(3))
OTHER = {(ETH, "ohlcv_1m"): ()}

CASES: dict[str, Day] = {
    **{
        f"refused: {error}": missing(Kind.UPSTREAM_BAD_FILE if error in BAD_FILES else Kind.OUR_FAILURE, error=error)
        for error in REFUSALS
    },
    **{
        f"failed: {error}": missing(Kind.OUR_FAILURE, error=error, status=404)
        for error in ("HostRefused", "HostUnreachable", "Stopped", "SourceFault")
    },
    "no file": missing(Kind.UPSTREAM_ABSENT_FILE),
    "not published": missing(Kind.UPSTREAM_ABSENT_FILE, error="NotPublished", first_listed="2020-01-01"),
    "unknown symbol": missing(Kind.UPSTREAM_ABSENT_FILE, error="UnknownSymbol"),
    "listed and 404": missing(Kind.UPSTREAM_ABSENT_FILE, error="HostRefused", listed="a.zip", status=404),
    "listed and 410": missing(Kind.UPSTREAM_ABSENT_FILE, error="HostRefused", listed="a.zip", status=410),
    "listed and 403": missing(Kind.OUR_FAILURE, error="HostRefused", listed="a.zip", status=403),
    "down all day": Day(Kind.EXCHANGE_OUTAGE, State.MISSING, {"error": "NotPublished"}, down=ALL_DAY),
    "down in the morning": Day(Kind.UPSTREAM_ABSENT_FILE, State.MISSING, down=MORNING),
    "down all day, and listed": Day(
        Kind.UPSTREAM_ABSENT_FILE, State.MISSING, {"listed": "a.zip", "status": 404}, down=ALL_DAY
    ),
    "down all day, and contradicted": Day(
        Kind.UPSTREAM_ABSENT_FILE, State.MISSING, {"contradicted_by": "trades"}, down=ALL_DAY
    ),
    "damaged": Day(
        Kind.OUR_FAILURE, State.MISSING, {"error": "NotPublished"}, {STORED_FILE: Finding(False, {"problem": "cut"})}
    ),
    "pending": Day(Kind.NOT_YET_PUBLISHED, State.PENDING),
    "corrected": Day(Kind.UPSTREAM_BAD_FILE, State.CORRECTED, {"error": "ChecksumMismatch"}),
    "corrected without an error": Day(Kind.UNEXPLAINED, State.CORRECTED),
    "corrected by a fault of ours": Day(Kind.OUR_FAILURE, State.CORRECTED, {"error": "HostUnreachable"}),
    "partial without a minute": partial(Kind.UPSTREAM_PARTIAL_FILE),
    "partial, rows not received": Day(Kind.OUR_FAILURE, State.DEGRADED, {"missing": "page 3"}),
    "partial, nothing to show for it": Day(Kind.UPSTREAM_PARTIAL_FILE, State.DEGRADED, {"missing": 0}),
    "one symbol and dataset, 40 minutes": partial(Kind.UNEXPLAINED, (500, 540)),
    "one symbol and dataset, 3 minutes": partial(Kind.UNEXPLAINED, (480, 483)),
    "3 minutes, another symbol traded": partial(Kind.UPSTREAM_PARTIAL_FILE, (480, 483), beside=OTHER),
    "3 minutes, its trades are there": partial(Kind.UPSTREAM_PARTIAL_FILE, (480, 483), beside={(BTC, "trades"): ()}),
    "many short spans against a long one": partial(
        Kind.UNEXPLAINED,
        *((60 * n, 60 * n + 4) for n in range(2, 10)),
        (800, 820),
        beside={(BTC, "trades"): [(60 * n, 60 * n + 4) for n in range(2, 10)]},
    ),
    "an outage, and little else": partial(Kind.UNEXPLAINED, (60, 180), (700, 702), down=MORNING),
    "an outage only": partial(Kind.EXCHANGE_OUTAGE, (60, 180), down=MORNING),
    "more beside an outage than in it": partial(
        Kind.UPSTREAM_PARTIAL_FILE, (60, 64), (300, 330), (900, 910), down=(hours(1), hours(1.1)), beside=OTHER
    ),
    "the gap is in another dataset only": partial(
        Kind.UPSTREAM_PARTIAL_FILE, beside={(BTC, "ohlcv_5m"): [(500, 520)], **OTHER}
    ),
    "trades, every symbol silent at once": partial(
        Kind.EXCHANGE_OUTAGE, (500, 540), dataset="trades", beside={(ETH, "trades"): [(500, 540)]}
    ),
    "corrected, with missing minutes": Day(
        Kind.UPSTREAM_BAD_FILE, State.CORRECTED, {"error": "InvalidRows"}, absent=[(500, 540)], beside=OTHER
    ),
}
DAYS = {name: FIRST + number * APART for number, name in enumerate(CASES)}


class Stored:
    """A ledger whose rows a test records, what the command says of them, and what SQL says."""

    def __init__(self, url: str, folder: Path, patch: pytest.MonkeyPatch, end: date) -> None:
        self.url = url
        self.folder = folder
        datasets = ["ohlcv_1m", "trades"]
        series = [entry("spot", datasets, [BTC], FIRST, end=end, warehouse=False)]
        (folder / "collection.yaml").write_text(yaml.safe_dump({"series": series}))
        patch.setenv("CRYPTO_ASSETS_CONFIG", str(folder / "collection.yaml"))
        patch.setenv("CRYPTO_ASSETS_POSTGRES_URL", url)
        patch.setenv("CRYPTO_ASSETS_LAKE_URL", str(folder / "lake"))
        self.ledger = Ledger(url)

    def record(self, day: date, one: Day) -> None:
        self.put(BTC, one.dataset, day, one.state, one.absent, one.evidence, one.findings)
        for (symbol, dataset), absent in one.beside.items():
            self.put(symbol, dataset, day, State.AVAILABLE, absent)

    def put(
        self,
        symbol: str,
        dataset: str,
        day: date,
        state: State = State.AVAILABLE,
        absent: Minutes = (),
        evidence: dict[str, Any] | None = None,
        findings: dict[str, Finding] | None = None,
    ) -> None:
        """Record a day; if its state says that rows are stored, with their profile and a file of the right size."""
        series, partition, kept = Series.named(*SPOT, dataset), Partition(symbol, day), evidence or {}
        if state in (State.MISSING, State.PENDING):
            self.ledger.record_outcomes([Outcome(series, partition, state, "why", kept, findings=findings or {})])
            return
        sha256 = f"{abs(hash((symbol, dataset, day, tuple(absent)))):064x}"[-64:]
        file, source = StoredFile(f"{symbol}{day}", 1400, 1, sha256), SourceFile(f"{day}.zip", 1, "e", "a")
        outcome = Outcome(series, partition, state, "why", kept, source, file, findings or {})
        self.ledger.record_outcomes([outcome])
        put_files(self.folder / "lake", [outcome])
        made = stored(symbol, day, absent=absent, dataset=dataset)
        start = datetime.combine(day, time(), UTC)
        profile = Profile(symbol, day, sha256, 1400, start, made.last_time, silent=made.silent, absent=made.absent)
        with self.ledger.transaction() as connection:
            write_profiles(connection, series, [profile])

    def close(self, first: date, last: date | None = None) -> None:
        refresh_causes(self.ledger, *SPOT, first, last or first)

    def by_sql(self) -> dict[tuple[str, date], str | None]:
        """Return the causes in the view, as readers get them, by dataset and day; holes between records are left out."""
        query = """SELECT dataset, first_day, days, cause FROM collection.gaps
            WHERE symbol = %s AND state <> 'not_collected'"""
        with psycopg.connect(with_user(self.url, READER)) as connection:
            spans = connection.execute(query, (BTC,)).fetchall()
        return {
            (dataset, first + timedelta(days=n)): cause for dataset, first, days, cause in spans for n in range(days)
        }

    def by_command(self) -> dict[tuple[str, date], str]:
        answer = CliRunner().invoke(cli, ["gaps", "--json"], catch_exceptions=False)
        return {
            (one["dataset"], date.fromisoformat(one["day"])): one["cause"]
            for one in json.loads(answer.stdout)
            if one["state"] is not None
        }


@pytest.fixture(scope="module")
def of_every_kind(postgres_server_url: str, tables: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """A day of each case, and outages of the list where a case says so."""

    def listed() -> tuple[KnownOutage, ...]:
        made = []
        for name, one in CASES.items():
            if one.down:
                begin = datetime.combine(DAYS[name], time(), UTC)
                span = begin + one.down[0], begin + one.down[1]
                made.append(KnownOutage(*SPOT, *span, Kind.EXCHANGE_OUTAGE, "minute", "halt", "https://example.org"))
        return (*all_known(), *made)

    every = listed()
    with pytest.MonkeyPatch.context() as patch, new_database(postgres_server_url, tables) as url:
        patch.setattr(known_outages, "all_known", lambda: every)
        store = Stored(url, tmp_path_factory.mktemp("causes"), patch, max(DAYS.values()))
        with store.ledger:
            for name, one in CASES.items():
                store.record(DAYS[name], one)
            store.close(FIRST, max(DAYS.values()))
            yield store


@pytest.fixture(scope="module")
def both(of_every_kind: Stored) -> tuple[dict[tuple[str, date], str | None], dict[tuple[str, date], str]]:
    return of_every_kind.by_sql(), of_every_kind.by_command()


@pytest.mark.parametrize("name", CASES)
def test_sql_gives_the_cause_that_the_command_gives(
    both: tuple[dict[tuple[str, date], str | None], dict[tuple[str, date], str]], name: str
) -> None:
    by_sql, by_command = both
    place = CASES[name].dataset, DAYS[name]
    assert by_sql[place] == by_command[place] == CASES[name].kind


def test_no_other_day_is_a_gap(
    both: tuple[dict[tuple[str, date], str | None], dict[tuple[str, date], str]],
) -> None:
    by_sql, by_command = both
    assert by_sql == by_command
    assert by_sql.keys() == {(CASES[name].dataset, day) for name, day in DAYS.items()}


# ---- later ------------------------------------------------------------------------------------------------------------

DAY = date(2024, 3, 4)
NEXT = DAY + timedelta(days=1)


@pytest.fixture
def store(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stored]:
    store = Stored(postgres_url, tmp_path, monkeypatch, end=NEXT)
    with store.ledger:
        yield store


def assert_cause(store: Stored, kind: Kind, day: date = DAY) -> None:
    """SQL and the command give this cause, and say the same of every other day."""
    assert store.by_sql() == store.by_command()
    assert store.by_sql()["ohlcv_1m", day] == kind


def stored_rows(store: Stored) -> list[tuple[date, datetime]]:
    with store.ledger.transaction() as connection:
        return connection.execute("SELECT day, judged_at FROM collection.day_causes ORDER BY day").fetchall()


def test_a_day_that_is_published_again_has_no_cause_until_it_is_judged(store: Stored) -> None:
    store.record(DAY, partial(Kind.UNEXPLAINED, (500, 540)))
    assert store.by_sql() == {("ohlcv_1m", DAY): None}, "its run has not ended"
    store.close(DAY)
    assert_cause(store, Kind.UNEXPLAINED)
    store.record(DAY, partial(Kind.UPSTREAM_PARTIAL_FILE, (700, 710), beside={(BTC, "trades"): ()}))
    assert store.by_sql()["ohlcv_1m", DAY] is None, "the former cause was of other rows"
    store.close(DAY)
    assert_cause(store, Kind.UPSTREAM_PARTIAL_FILE)


@pytest.mark.parametrize("former", [State.PROVISIONAL, State.AVAILABLE, State.MISSING])
def test_a_day_changes_from_complete_to_partial_and_back(store: Stored, former: State) -> None:
    """As when the archive publishes fewer rows than REST gave, and corrects its file later."""
    store.put(BTC, "ohlcv_1m", DAY, former)
    store.close(DAY)
    assert store.by_sql().get(("ohlcv_1m", DAY)) == (Kind.UPSTREAM_ABSENT_FILE if former is State.MISSING else None)
    store.record(DAY, partial(Kind.UNEXPLAINED, (480, 483)))
    store.close(DAY)
    assert_cause(store, Kind.UNEXPLAINED)
    store.put(BTC, "ohlcv_1m", DAY, State.AVAILABLE)
    store.close(DAY)
    assert (store.by_sql(), store.by_command(), stored_rows(store)) == ({}, {}, [])


@pytest.mark.parametrize(
    ("symbol", "dataset", "kind"),
    [(ETH, "ohlcv_1m", Kind.UPSTREAM_PARTIAL_FILE), (BTC, "trades", Kind.UPSTREAM_PARTIAL_FILE)],
)
def test_what_is_stored_later_beside_a_day_changes_its_cause(
    store: Stored, symbol: str, dataset: str, kind: Kind
) -> None:
    store.record(DAY, partial(Kind.UNEXPLAINED, (500, 503)))
    store.close(DAY)
    store.put(symbol, dataset, DAY)
    store.close(DAY)
    assert_cause(store, kind)


def test_the_end_of_the_run_of_the_next_day_judges_the_day_before(store: Stored) -> None:
    store.record(DAY, partial(Kind.UNEXPLAINED, (1000, 1440)))
    store.close(DAY)
    assert_cause(store, Kind.UNEXPLAINED)
    series = Series.named(*SPOT, "ohlcv_1m")
    store.ledger.record_outcomes([Outcome(series, Partition(BTC, NEXT), State.NO_DATA, "not listed any more")])
    store.close(NEXT)
    assert_cause(store, Kind.DELISTED)


def test_a_day_of_a_run_that_was_killed_is_judged_by_the_next_run_of_the_market(store: Stored) -> None:
    store.record(DAY - 30 * timedelta(days=1), missing(Kind.UPSTREAM_ABSENT_FILE))
    store.ledger.record_outcomes(
        [Outcome(Series.named("binance", "linear", "ohlcv_1m"), Partition(f"{BTC}:USDT", DAY), State.MISSING, "why")]
    )
    store.close(DAY)
    assert_cause(store, Kind.UPSTREAM_ABSENT_FILE, DAY - 30 * timedelta(days=1))
    assert [day for day, _ in stored_rows(store)] == [DAY - 30 * timedelta(days=1)], "of its market only"


def test_what_is_stored_already_is_not_written_again(store: Stored) -> None:
    store.record(DAY, partial(Kind.UNEXPLAINED, (500, 540)))
    store.record(NEXT, missing(Kind.UPSTREAM_ABSENT_FILE))
    store.close(DAY)
    before = stored_rows(store)
    store.close(DAY, NEXT)
    assert stored_rows(store) == before != []
