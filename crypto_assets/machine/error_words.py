"""Describe an error: one line for people, and its traceback with limited length. Neither has a password.

Errors of libraries and the system (psycopg2, SQLAlchemy, alembic, botocore, yaml) get their words only here. A line has no
SQL, no parameters and no traceback.
"""

from __future__ import annotations

import errno
import json
import os
import traceback

from crypto_assets.errors import ConfigError, CryptoAssetsError, NothingCollected, Stopped
from crypto_assets.machine.shortage import said_in, shortage
from crypto_assets.text.urls import masked

_ENTRY_CHARACTERS = 20_000
_LINE_CHARACTERS = 400
"""Longest line of a traceback: SQLAlchemy writes all rows of a statement into one."""

_MESSAGE_CHARACTERS = 500

_ADVICE = {
    errno.EROFS: "its disk can only be read: mount it for writing, then run this again; what was stored stays",
    errno.EIO: "its disk does not work: look at the system's log; what was stored before stays",
    errno.EACCES: "this user needs the right to it; CRYPTO_ASSETS_HOME and CRYPTO_ASSETS_LAKE_URL name other places",
}


def words_of(error: BaseException) -> str:
    """Return one line without passwords: what happened and what to do; our own errors keep their message."""
    if isinstance(error, CryptoAssetsError):
        return str(error)
    if (ours := shortage(error)) is not None:
        return str(ours)
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        advice = _ADVICE.get(error.errno or 0)
        return _line(f"{where}{error.strerror}" + (f"; {advice}" if advice else ""))
    if isinstance(error, RecursionError):
        return _line("a file or an answer is nested too deeply to be read")
    kinds = {f"{kind.__module__}.{kind.__name__}".lower() for kind in type(error).__mro__}
    for package, words in _OTHERS.items():
        if any(kind.startswith(package) for kind in kinds):
            return _line(words.format(_said(error)))
    # Arrow has no error type for a thread that could not be started, only text.
    if type(error).__module__.startswith("pyarrow") and (ours := said_in(_said(error))) is not None:
        return str(ours)
    return _line(f"unexpected {type(error).__name__}: {_said(error)}; please report it")


_DATABASE = "Postgres refused a statement: {}; what was stored stays"

_OTHERS = {
    "psycopg": _DATABASE,
    "sqlalchemy": _DATABASE,
    "alembic": "the tables in Postgres are not those of this version: {}; nothing was changed",
    "botocore": "the bucket of the lake fails: {}; check AWS_* and AWS_ENDPOINT_URL",
    "yaml": "a YAML file cannot be read: {}",
    "json": "a JSON text cannot be read: {}",
}
"""Messages for errors of libraries, by the start of their module's name."""


def _said(error: BaseException) -> str:
    """Return the first line of an error's text: SQL, parameters and rows come after it."""
    original = getattr(error, "orig", None)
    text = str(original if isinstance(original, BaseException) else error).strip()
    if isinstance(error, json.JSONDecodeError):
        text = error.msg
    return text.splitlines()[0][:_MESSAGE_CHARACTERS] if text else type(error).__name__


def _line(text: str) -> str:
    return masked(" ".join(text.split()))


def is_explained(error: BaseException) -> bool:
    """Return whether the line of an error is complete: a traceback would add nothing."""
    if isinstance(error, ConfigError) and not error.explained:
        return False
    return isinstance(error, ConfigError | NothingCollected | Stopped) or (
        isinstance(error, CryptoAssetsError)
        and error.__cause__ is None
        and (error.__context__ is None or error.__suppress_context__)
    )


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an error and its causes, limited in length, without passwords."""
    lines = [
        line if len(line) <= _LINE_CHARACTERS else f"{line[:_LINE_CHARACTERS]} … ({len(line):,} characters)"
        for part in traceback.format_exception(error)
        for line in part.splitlines()
    ]
    text = masked("\n".join(lines))
    half = _ENTRY_CHARACTERS // 2
    return text if len(text) <= _ENTRY_CHARACTERS else f"{text[:half]}\n…\n{text[-half:]}"
