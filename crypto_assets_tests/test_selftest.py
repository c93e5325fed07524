"""The selftest: the engine holds every promise, and an engine that does not is found out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from crypto_assets.cli import cli
from crypto_assets.collection import fetching
from crypto_assets.collection.storing import storer as storing
from crypto_assets.errors import ConfigError
from crypto_assets.model import SourceFile, State
from crypto_assets.sandbox.faults import CATALOGUE, parse_fault
from crypto_assets.selftest import cases_of, run_selftest
from crypto_assets.selftest.cases import BAD, CASES, DAYS, Case
from crypto_assets.selftest.evidence import Said, everything
from crypto_assets.selftest.verdict import Found, Truth, Verdict, judge, judge_after


@pytest.fixture(scope="module")
def verdicts(postgres_server_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """What became of every case: one selftest for all tests of this module."""
    found = run_selftest(postgres_server_url, tmp_path_factory.mktemp("selftest"), CASES)
    return {verdict.name: verdict for verdict in found}


# ---- the real engine -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_engine_holds_its_promises(verdicts: dict[str, Verdict], case: Case) -> None:
    verdict = verdicts[case.name]
    assert verdict.broken == []
    assert verdict.after == "all days available, as published"
    assert verdict.reported
    assert verdict.stored


def test_every_fault_of_the_sandbox_is_in_the_selftest() -> None:
    assert {name for case in CASES for name in case.fault_names} == {*CATALOGUE, "limit"}
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        for fault in case.faults:
            parse_fault(fault)


def test_the_table_says_what_was_stored_and_why_the_rest_was_not(verdicts: dict[str, Verdict]) -> None:
    assert verdicts["nothing"].stored == "6 of 6 days, as published"
    assert verdicts["nothing"].reported == "6 available"
    assert verdicts["wrong-bytes"].stored == "4 of 6 days, as published"
    assert verdicts["wrong-bytes"].reported.startswith("4 available, 2 missing: published sha256")
    assert "2 provisional" in verdicts["late, REST"].reported


def test_its_databases_are_gone_afterwards(verdicts: dict[str, Verdict], postgres_server_url: str) -> None:
    assert verdicts
    with psycopg.connect(postgres_server_url) as connection:
        left = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'crypto_assets_selftest%'"
        ).fetchall()
    assert left == []


# ---- engines that lie ------------------------------------------------------------------------------------------------


@pytest.fixture
def selftest(postgres_server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command in this process, so that what a test breaks is broken for it too."""
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", postgres_server_url)
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(tmp_path / "home"))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["selftest", *arguments])

    return run


def broken(result: Result) -> dict[str, list[str]]:
    assert result.exit_code == 1, result.output
    report = json.loads(result.stdout)
    assert report["held"] < report["of"]
    return {item["fault"]: item["broken"] for item in report["faults"] if not item["held"]}


def test_an_engine_that_holds_ends_with_0(selftest: Callable[..., Result], tmp_path: Path) -> None:
    result = selftest("--fault", "wrong-bytes", "--fault", "nothing", "--keep", str(tmp_path / "kept"))
    assert result.exit_code == 0, result.output
    assert "3 of 3 held" in result.stdout
    for column in ("fault", "what was stored", "what was reported", "after the fault was lifted", "held"):
        assert column in result.stdout
    report = json.loads((tmp_path / "kept" / "report.json").read_text())
    assert [item["fault"] for item in report["faults"]] == ["nothing", "wrong-bytes", "wrong-bytes, once"]
    files = list((tmp_path / "kept" / "wrong-bytes" / "lake").rglob("data.parquet"))
    assert len(files) == 6
    assert {pq.read_metadata(file).num_rows for file in files} == {600, 1440}


def test_an_engine_that_trusts_any_bytes_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trusting(client: Any, archive_url: str, exchange: Any, obj: Any) -> tuple[bytes, SourceFile]:
        content = client.get(f"{archive_url}/{obj.key}").content
        return content, SourceFile(obj.key, len(content), obj.etag, "0" * 64, "0" * 64, obj.last_modified)

    monkeypatch.setattr(fetching, "download", trusting)
    found = broken(selftest("--fault", "wrong-bytes", "--json"))["wrong-bytes"]
    assert any("expected missing, reported available" in line for line in found)
    assert any("available: the rows in the lake are not those published: row 3" in line for line in found)
    assert any("available: the rows in the warehouse are not those published" in line for line in found)


def test_an_engine_that_calls_every_day_complete_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "degrading", lambda table, findings: [])
    found = broken(selftest("--fault", "missing-minutes", "--json"))["missing-minutes"]
    assert f"ohlcv_1m {BAD}: expected degraded, reported available: " in found


def test_an_engine_that_loses_days_without_a_word_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fetching.locate
    monkeypatch.setattr(fetching, "locate", lambda *given: replace(real(*given), absent=[]))
    found = broken(selftest("--fault", "late", "--json"))
    assert f"trades {BAD}: a silent loss, the ledger has no word about it" in found["late"]


def test_an_engine_that_stores_wrong_rows_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "blocking", lambda table, findings: [])
    found = broken(selftest("--fault", "inconsistent-values", "--json"))["inconsistent-values"]
    assert any("the rows in the lake are not those published" in line for line in found)


def test_an_engine_that_fails_with_a_traceback_is_found_out(
    selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(*_: Any) -> None:
        raise KeyError("etag")

    monkeypatch.setattr(fetching, "download", careless)
    found = broken(selftest("--fault", "nothing", "--json"))["nothing"]
    assert "the run ended with KeyError (test_selftest.py:" in found[0]


def test_an_engine_that_hangs_is_found_out(selftest: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crypto_assets.selftest.rig.LONGEST_RUN_S", 1.0)
    monkeypatch.setattr("crypto_assets.selftest.rig._TIMEOUT_S", 3.0)
    found = broken(selftest("--fault", "hang, listing", "--json"))["hang, listing"]
    assert "the run ended with nothing for 1 seconds: it hangs" in found


# ---- the judge by itself ---------------------------------------------------------------------------------------------

ROWS = {where: [(number, 1), (number, 2)] for number, where in enumerate(everything())}
OTHER = [(9, 9), (9, 9)]
WHERE = ("trades", BAD)
CASE = Case("a case", (), frozenset({State.MISSING}), ("the cause",))


def found_of(state: State, reason: str, rows: list[Any] | None, named: bool = True) -> Found:
    """Return what a run leaves that is right but for one dataset of the bad day."""
    ledger = {where: Said(State.AVAILABLE, "", "") for where in everything()}
    ledger[WHERE] = Said(state, reason, "")
    stored = {where: kept for where, kept in ROWS.items() if where != WHERE} | ({WHERE: rows} if rows else {})
    return Found(stored, dict(stored), ledger, {WHERE: reason} if named else {}, [])


ONLY_TRADES = replace(CASE, datasets=("trades",))


def test_the_judge_is_content_with_a_day_that_is_missing_for_a_reason() -> None:
    assert judge(ONLY_TRADES, found_of(State.MISSING, "here is the cause", None), Truth(ROWS, ROWS)) == []


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (found_of(State.AVAILABLE, "", ROWS[WHERE]), "expected missing, reported available"),
        (found_of(State.MISSING, "here is the cause", ROWS[WHERE]), "missing: the rows in the lake"),
        (found_of(State.MISSING, "", None), "expected a reason of one line"),
        (found_of(State.MISSING, "the cause\nTraceback", None), "expected a reason of one line"),
        (found_of(State.MISSING, "another one", None), "expected the cause in the reason"),
        (found_of(State.MISSING, "the cause", None, named=False), "the run itself did not name the day"),
        (replace(found_of(State.MISSING, "the cause", None), error="KeyError"), "the run ended with KeyError"),
        (replace(found_of(State.MISSING, "the cause", None), foreign=["x.csv"]), "a file where none may be: x.csv"),
        (replace(found_of(State.MISSING, "the cause", None), ledger={}), "a silent loss"),
        (replace(found_of(State.MISSING, "the cause", None), warehouse=ROWS), "missing: the rows in the warehouse"),
    ],
)
def test_the_judge_finds_each_lie(found: Found, says: str) -> None:
    assert any(says in line for line in judge(ONLY_TRADES, found, Truth(ROWS, ROWS)))


def test_the_judge_compares_every_value_of_every_day() -> None:
    good = found_of(State.AVAILABLE, "", ROWS[WHERE])
    assert judge_after(good, Truth(ROWS, ROWS)) == []
    for where in everything():
        for rows in (OTHER, ROWS[where][:1], []):
            for place in ("lake", "warehouse"):
                wrong = replace(good, **{place: ROWS | {where: rows}})
                lines = judge_after(wrong, Truth(ROWS, ROWS))
                assert len(lines) == 1, (where, rows, place)
                assert lines[0].startswith(f"{where[0]} {where[1]}, available: the rows in the {place}")


def test_a_corrected_day_keeps_the_former_rows_and_a_renewed_one_has_the_new_ones() -> None:
    case = replace(ONLY_TRADES, states=frozenset({State.CORRECTED, State.AVAILABLE}), publishes="republished")
    truth = Truth(ROWS | {WHERE: OTHER}, ROWS)
    assert judge(case, found_of(State.CORRECTED, "the cause", ROWS[WHERE]), truth) == []
    assert judge(case, found_of(State.AVAILABLE, "", OTHER), truth) == []
    assert judge(case, found_of(State.CORRECTED, "the cause", OTHER), truth) != []
    assert judge(case, found_of(State.AVAILABLE, "", ROWS[WHERE]), truth) != []


def test_cases_are_chosen_by_fault_or_by_name() -> None:
    assert [case.name for case in cases_of(["html"])] == [case.name for case in CASES if "html" in case.name]
    assert [case.name for case in cases_of(["stored, then gone"])] == ["stored, then gone"]
    assert cases_of([]) == list(CASES)
    with pytest.raises(ConfigError, match="no such fault; expected one of"):
        cases_of(["htlm"])
    assert DAYS[1] == BAD == date(2024, 1, 2)
