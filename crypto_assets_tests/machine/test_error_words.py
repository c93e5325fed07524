"""Each kind of error is one line, and its traceback has a limited length."""

from __future__ import annotations

import errno
import json

import psycopg
import pytest
import sqlalchemy
import yaml
from botocore.exceptions import ClientError

from crypto_assets.errors import ConfigError
from crypto_assets.machine.error_words import traceback_of, words_of


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


STATEMENT = sqlalchemy.exc.ProgrammingError(
    "SELECT secret FROM t", {"a": "parameter"}, psycopg.errors.UndefinedColumn("column secret\nLINE 1: SELECT")
)
DENIED = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")
WORDS = {
    "ours": (ConfigError("--from: expected a day"), "--from: expected a day"),
    "a statement": (STATEMENT, "Postgres refused a statement: column secret; what was stored stays"),
    "a driver": (psycopg.errors.DiskFull("no room"), "Postgres refused a statement: no room; what was stored stays"),
    "a bucket": (DENIED, "the bucket of the lake fails: "),
    "YAML": (yaml.YAMLError("a tab"), "a YAML file cannot be read: a tab"),
    "JSON": (
        json.JSONDecodeError("Expecting value", "a secret document", 0),
        "a JSON text cannot be read: Expecting value",
    ),
    "a disk that is read-only": (
        OSError(errno.EROFS, "Read-only file system", "/lake/a"),
        "/lake/a: Read-only file system; its disk",
    ),
    "a disk that is broken": (
        OSError(errno.EIO, "Input/output error", b"/lake/b"),
        "/lake/b: Input/output error; its disk does",
    ),
    "too many files": (OSError(errno.EMFILE, "Too many open files"), "this process has too many open files"),
    "memory": (MemoryError(), "this process has not enough memory"),
    "depth": (RecursionError("maximum recursion"), "a file or an answer is nested too deeply to be read"),
    "what nobody expects": (KeyError("name"), "unexpected KeyError: 'name'; please report it"),
    "a password": (
        ValueError("postgresql://u:hunter2@h/d"),
        "unexpected ValueError: postgresql://u:***@h/d; please report it",
    ),
}


@pytest.mark.parametrize(("error", "words"), WORDS.values(), ids=WORDS.keys())
def test_every_kind_of_error_is_one_line_without_sql_or_passwords(error: BaseException, words: str) -> None:
    found = words_of(raised(error))
    assert found.startswith(words)
    assert "\n" not in found
    for hidden in ("SELECT", "parameter", "hunter2", "document"):
        assert hidden not in found


def test_a_traceback_has_a_bound_and_keeps_its_beginning_and_end() -> None:
    text = traceback_of(raised(ValueError("\n".join(f"line {number}" for number in range(10_000)))))
    assert len(text) < 21_000
    assert text.startswith("Traceback")
    assert text.endswith("line 9999")
