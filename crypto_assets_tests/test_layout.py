"""Where things lie: SQL on the schema `collection` is in `ledger/`, but for the modules that are named here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import crypto_assets
from crypto_assets.storage.migrations.tables import STATEMENTS

ROOT = Path(crypto_assets.__file__).parent

ELSEWHERE: Mapping[str, set[str]] = {
    # Below the ledger, which they serve; nobody else reads or writes these tables.
    "storage/revisions.py": {"migrations", "migrated", "partitions"},
    "storage/warehouse_loads.py": {"warehouse_loads"},
    # The view of the newest prices is made with the tables of `market`, after the migrations.
    "storage/market_views.py": {"warehouse_loads"},
    "transport/breaker.py": {"breakers"},
    "transport/limit_state.py": {"budgets", "grants", "learn_clock"},
    "transport/limiter.py": {"take_grant", "move_grant"},
    # A proof that asked the code it proves would prove nothing.
    "sandbox/selftest/evidence.py": {"partitions", "incidents"},
}
"""Modules with SQL on tables and functions of `collection` outside `ledger/`, and on which; the migrations make them."""

TABLES = {
    name
    for statement in STATEMENTS
    for name in re.findall(r"CREATE (?:UNLOGGED )?(?:TABLE|VIEW|FUNCTION) collection\.(\w+)", statement)
} | {"migrations"}

_SQL = re.compile(r"\b(SELECT|FROM|JOIN|INSERT|INTO|UPDATE|DELETE|EXISTS|TRUNCATE|COPY)\b")


def tables_asked(source: str) -> set[str]:
    """Return the tables and functions of `collection` that the SQL in a module names; prose about them is no SQL.

    A literal that is only such a name is SQL too: somebody puts it into a query.
    """
    return {
        name
        for text in _texts(ast.parse(source))
        if _SQL.search(text) or re.fullmatch(r"\s*collection\.\w+\s*", text)
        for name in re.findall(r"\bcollection\.(\w+)", text)
        if name in TABLES
    }


def _texts(tree: ast.Module) -> Iterator[str]:
    """Yield the string literals of a module, f-strings with a space for what is put in; no docstrings."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            parts = [part for part in node.values if isinstance(part, ast.Constant)]
            inside |= {id(part) for part in parts}
            yield " ".join(str(part.value) for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""Reads collection.partitions FROM the ledger."""\n', set()),
        ('say(f"a row of collection.journal is not believed ({noted})")', set()),
        ('execute("SELECT day FROM collection.partitions")', {"partitions"}),
        ('execute(f"SELECT {names} FROM collection.quality_now WHERE {where}")', {"quality_now"}),
        ('QUERY = """\nUPDATE collection.incidents SET kind = %s\n"""', {"incidents"}),
        ('execute("SELECT * FROM collection.take_grant(%s)")', {"take_grant"}),
        ('read("collection.partitions", where)', {"partitions"}),
        ('execute("SELECT day FROM " + "collection.partitions " + where)', {"partitions"}),
    ],
)
def test_sql_is_told_from_prose(source: str, found: set[str]) -> None:
    assert tables_asked(source) == found


def test_sql_on_the_schema_collection_is_in_the_ledger() -> None:
    assert len(TABLES) > 25
    found: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        tables = tables_asked(path.read_text(encoding="utf-8"))
        if tables and not name.startswith(("ledger/", "storage/migrations/")):
            found[name] = tables
    assert found == ELSEWHERE
