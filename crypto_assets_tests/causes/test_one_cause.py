"""One day has one cause, wherever it is asked for: on the command line, by the API, in the report, in incidents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from markupsafe import escape

from crypto_assets.causes.incidents import read_incidents, refresh_incidents
from crypto_assets.causes.rules import cause_of_day
from crypto_assets.cli import cli
from crypto_assets.config.collection import load_collection
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.profiles import write_profiles
from crypto_assets.model import Finding, Outcome, Partition, Profile, Series, SourceFile, State, StoredFile
from crypto_assets.model.kinds import Kind
from crypto_assets.quality.query import Query
from crypto_assets.quality.report.facts import read_facts
from crypto_assets.quality.report.page import page
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.api.served import serving
from crypto_assets_tests.quality.stored import put_files, stored
from crypto_assets_tests.workbench import entry

BTC, ETH = "BTC/USDT", "ETH/USDT"
BARS = Series("binance", "spot", "ohlcv", "1m")
FIRST = date(2023, 3, 20)
HALT = date(2023, 3, 24)  # a known outage from 11:27 to 14:00
NEVER = date(2023, 3, 31)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


SHORT = {"complete": Finding(False, {"expected": 1440, "found": 1400, "missing": 40, "spans": ["08:20–08:59"]})}
FAILED: dict[date, tuple[State, dict[str, Any], Kind]] = {
    day(0): (State.MISSING, {"first_listed": "2020-01-01"}, Kind.UPSTREAM_ABSENT_FILE),
    day(1): (State.MISSING, {"error": "ChecksumMismatch"}, Kind.UPSTREAM_BAD_FILE),
    day(2): (State.MISSING, {"error": "HostUnreachable"}, Kind.OUR_FAILURE),
    day(3): (State.PENDING, {}, Kind.NOT_YET_PUBLISHED),
}
PARTIAL: dict[date, tuple[list[tuple[int, int]], bool, Kind]] = {
    # Minutes that are missing, whether another symbol trades meanwhile, and the cause.
    HALT: ([(760, 840), (500, 540)], False, Kind.UNEXPLAINED),
    day(6): ([(500, 540)], True, Kind.UPSTREAM_PARTIAL_FILE),
    day(8): ([(500, 540)], False, Kind.UNEXPLAINED),
}
CAUSES = (
    {at: kind for at, (*_, kind) in FAILED.items()}
    | {at: kind for at, (*_, kind) in PARTIAL.items()}
    | {NEVER: Kind.NOT_COLLECTED}
)


@pytest.fixture
def ledger(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    (tmp_path / "collection.yaml").write_text(
        yaml.safe_dump({"series": [entry("spot", ["ohlcv_1m"], [BTC], FIRST, end=NEVER, warehouse=False)]})
    )
    monkeypatch.setenv("CRYPTO_ASSETS_CONFIG", str(tmp_path / "collection.yaml"))
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(tmp_path / "lake"))
    migrate(postgres_url)
    outcomes, profiles = [], []
    with Ledger(postgres_url) as opened:
        for number in range((NEVER - FIRST).days):
            at = day(number)
            if at in FAILED:
                state, evidence, _ = FAILED[at]
                outcomes.append(Outcome(BARS, Partition(BTC, at), state, f"why number {number}", evidence))
                continue
            absent, others, _ = PARTIAL.get(at, ([], True, None))
            sha256 = f"{number:064d}"
            source, file = SourceFile(f"{at}.zip", 1, "e", "a"), StoredFile(f"{at}", 1400, 1, sha256)
            state = State.DEGRADED if absent else State.AVAILABLE
            findings = SHORT if absent else {"complete": Finding(True)}
            outcomes.append(Outcome(BARS, Partition(BTC, at), state, "", {}, source, file, findings))
            profiles.append(profile(BTC, at, sha256, absent))
            if others:
                profiles.append(profile(ETH, at, sha256, []))
        opened.record_outcomes(outcomes)
        put_files(tmp_path / "lake", outcomes)
        with opened.transaction() as connection:
            write_profiles(connection, BARS, profiles)
        refresh_incidents(opened, ("binance", "spot"), FIRST, NEVER)
        yield opened


def profile(symbol: str, at: date, sha256: str, absent: list[tuple[int, int]]) -> Profile:
    made = stored(symbol, at, absent=absent)
    start = datetime(at.year, at.month, at.day, tzinfo=UTC)
    return Profile(symbol, at, sha256, 1400, start, made.last_time, silent=made.silent, absent=made.absent)


def test_one_day_has_one_cause_wherever_it_is_asked_for(ledger: Ledger, tmp_path: Path) -> None:
    rows = json.loads(CliRunner().invoke(cli, ["gaps", "--json"]).output)
    by_command = {date.fromisoformat(row["day"]): Kind(row["cause"]) for row in rows}
    assert by_command == CAUSES

    with serving(ledger.url, tmp_path / "collection.yaml") as client:
        items = client.get("/v1/gaps").json()["items"]
    assert items == rows

    facts = read_facts(ledger, load_collection(tmp_path / "collection.yaml"), Query())
    by_report = {
        reason.first + timedelta(days=n): reason.causes
        for reason in facts.reasons
        for n in range((reason.last - reason.first).days + 1)
    }
    assert by_report == {at: [kind] for at, kind in CAUSES.items()}
    html = page(facts, [])
    for kind in set(CAUSES.values()):
        assert f'title="{escape(kind.sentence)}">{kind.value.replace("_", " ")}<' in html

    # What Dagster is told of a day that could not be collected comes from its outcome alone.
    assert {at: cause_of_day(at, state, evidence).kind for at, (state, evidence, _) in FAILED.items()} == {
        at: kind for at, (*_, kind) in FAILED.items()
    }
    with ledger.transaction() as connection:
        incidents = read_incidents(connection, symbols=[BTC])
    spans = {(one.start_time.date(), f"{one.start_time:%H:%M}"): one.kind for one in incidents}
    minutes = {
        (date.fromisoformat(row["day"]), span["start"][11:16]): Kind(span["cause"])
        for row in rows
        for span in row["minutes"]
    }
    assert minutes == {
        (HALT, "08:20"): Kind.UNEXPLAINED,
        (HALT, "12:40"): Kind.EXCHANGE_OUTAGE,
        (day(6), "08:20"): Kind.UPSTREAM_PARTIAL_FILE,
        (day(8), "08:20"): Kind.UNEXPLAINED,
    }
    assert {place: kind for place, kind in spans.items() if kind is not Kind.EXCHANGE_OUTAGE} == {
        place: kind for place, kind in minutes.items() if kind is not Kind.EXCHANGE_OUTAGE
    }
    assert spans[HALT, "11:27"] is Kind.EXCHANGE_OUTAGE, "the incident is as long as the outage"


def test_every_cause_has_a_sentence_for_people() -> None:
    assert len({kind.sentence for kind in Kind}) == len(Kind)
    assert all(not kind.sentence.endswith(".") and kind.sentence[0].islower() for kind in Kind)
