"""A new dataset is one file, and so is a new check; shown with a copy of the package and a real Postgres."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import crypto_assets
from crypto_assets.storage.market_tables import TABLES
from crypto_assets.storage.migrations import migrate
from crypto_assets.text.urls import READER
from crypto_assets_tests.command import PROJECT
from crypto_assets_tests.conftest import new_database
from crypto_assets_tests.datasets import added, use_added

COMMON = {"ascending_time", "contract", "inside_day", "unique_key"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with one more dataset, and an exchange that has it; the folder that it is in."""
    folder = tmp_path_factory.mktemp("copy")
    copy = folder / "crypto_assets"
    shutil.copytree(Path(crypto_assets.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "datasets" / "open_interests.py").write_text(added.DATASET)
    (copy / "sources" / "desk.py").write_text(added.SOURCE)
    return folder


@pytest.fixture(scope="module")
def database(postgres_server_url: str) -> Iterator[str]:
    """A database that the package without the dataset has made its tables in."""
    with new_database(postgres_server_url) as url:
        migrate(url)
        yield url


@pytest.fixture(scope="module")
def found(package: Path, database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return used(package, database, tmp_path_factory.mktemp("lake"))


def used(package: Path, url: str, lake: Path) -> dict[str, Any]:
    """Return what `use_added` says of the copy."""
    done = subprocess.run(
        [sys.executable, str(Path(use_added.__file__)), url, str(lake)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(package), str(PROJECT)])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert Path(answer["package"]).is_relative_to(package)
    return answer


def test_arrow_has_the_columns_with_what_they_mean(found: dict[str, Any]) -> None:
    assert found["schema"] == [
        ["interest_time", "timestamp[us, tz=UTC]", False, "instant of the count"],
        ["open_interest", "decimal128(38, 18)", False, "what is held, 'long' or 'short'"],
        ["open_interest_quote", "decimal128(38, 18)", True, "its worth"],
        ["accounts", "int64", True, "accounts that hold a position"],
        ["leaning", "dictionary<values=string, indices=int8, ordered=0>", False, "the side of most accounts"],
    ]


def test_the_table_is_made_in_a_database_that_is_there_already(found: dict[str, Any], database: str) -> None:
    assert found["counts"] == [{"open_interests": 3}, {"open_interests": 3}]
    with psycopg.connect(database) as connection:
        columns = connection.execute(
            """SELECT attname, format_type(atttypid, atttypmod), attnotnull, col_description(attrelid, attnum)
            FROM pg_attribute WHERE attrelid = 'market.open_interests'::regclass AND attnum > 0 ORDER BY attnum"""
        ).fetchall()
        [key] = connection.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid = 'market.open_interests'::regclass AND contype = 'p'"
        ).fetchall()
        [others] = connection.execute(
            "SELECT obj_description('market.open_interests'::regclass), "
            f"has_table_privilege('{READER}', 'market.open_interests', 'SELECT')"
        ).fetchall()
    assert [column[:3] for column in columns[:3]] == [
        (name, "text", True) for name in ("exchange", "market_type", "symbol")
    ]
    assert columns[3:] == [
        ("interest_time", "timestamp with time zone", True, "instant of the count; UTC, microseconds"),
        ("open_interest", "numeric", True, "what is held, 'long' or 'short'; base"),
        ("open_interest_quote", "numeric", False, "its worth; quote"),
        ("accounts", "bigint", False, "accounts that hold a position"),
        ("leaning", "text", True, "the side of most accounts"),
    ]
    assert key == ("PRIMARY KEY (exchange, market_type, symbol, interest_time)",)
    assert others == ("Open interest as the exchange publishes it.", True)
    assert "open_interests" not in TABLES  # nor has this process it


def test_what_is_stored_is_what_is_read(found: dict[str, Any]) -> None:
    assert found["same rows"]
    assert found["corrected"] == (
        "rows 1 changed; columns open_interest; open_interest at 2024-01-01 00:00:00: 12 → 12.5 (4.17 %)"
    )
    assert found["exact"] == ["12.500000000000000000", "12.000000000000000001", "12.000000000000000000"]
    assert found["lake"] == found["warehouse"]
    assert found["lake"][:2] == [
        {
            "interest_time": "2024-01-01T00:00:00.000Z",
            "open_interest": 12.5,
            "open_interest_quote": 0.3,
            "accounts": 2**53 + 1,
            "leaning": "long",
        },
        {
            "interest_time": "2024-01-01T01:00:00.000Z",
            "open_interest": 12.0,
            "open_interest_quote": None,
            "accounts": None,
            "leaning": "long",
        },
    ]


def test_the_checks_that_find_their_columns_judge_it(found: dict[str, Any]) -> None:
    assert found["clean"] == dict.fromkeys(sorted(COMMON), True)
    wrong = found["wrong"]
    assert wrong["contract"] == {
        "violations": 2,
        "rules": {"accounts: greater_than(0)": 1, "open_interest: greater_than_or_equal_to(0)": 1},
        "first": "row 0: open_interest = -1.0, expected greater_than_or_equal_to(0)",
    }
    assert {name for name, passed in wrong.items() if passed is not True} == {"contract"}


def test_the_page_describes_it(found: dict[str, Any]) -> None:
    assert "| `accounts` | int64 |  | > 0; may be null | accounts that hold a position |\n" in found["page"]


def test_a_check_is_one_file_and_judges_what_has_its_columns(
    package: Path, found: dict[str, Any], database: str, tmp_path: Path
) -> None:
    (package / "crypto_assets" / "checks" / "interest_moves.py").write_text(added.CHECK)
    with_check = used(package, database, tmp_path)
    assert with_check["clean"] == {**found["clean"], "interest_moves": True}
    assert with_check["still"]["interest_moves"] == {"hours": 1}
    assert with_check["rules of bars"] == found["rules of bars"]
