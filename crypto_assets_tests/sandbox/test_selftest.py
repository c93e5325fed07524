"""The selftest: the engine keeps every promise."""

from __future__ import annotations

from datetime import date

import psycopg
import pytest

from crypto_assets.errors import ConfigError
from crypto_assets.sandbox.faults import CATALOGUE, parse_fault
from crypto_assets.sandbox.selftest import cases_of, run_selftest
from crypto_assets.sandbox.selftest.case import BAD, Case
from crypto_assets.sandbox.selftest.cases import CASES
from crypto_assets.sandbox.selftest.scenes import THREE_DAYS
from crypto_assets.sandbox.selftest.verdict import Verdict

pytestmark = pytest.mark.timeout(900)  # the first test waits for the whole selftest, on machines that others use too


@pytest.fixture(scope="module")
def verdicts(postgres_server_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """The verdict of every case: one selftest for all tests of this module."""
    found = run_selftest(postgres_server_url, tmp_path_factory.mktemp("selftest"), CASES)
    return {verdict.name: verdict for verdict in found}


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


def test_cases_are_chosen_by_fault_or_by_name() -> None:
    assert [case.name for case in cases_of(["html"])] == [case.name for case in CASES if "html" in case.name]
    assert [case.name for case in cases_of(["stored, then gone"])] == ["stored, then gone"]
    assert cases_of([]) == list(CASES)
    with pytest.raises(ConfigError, match="no such fault; expected one of"):
        cases_of(["htlm"])
    assert THREE_DAYS.days[1] == BAD == date(2024, 1, 2)
