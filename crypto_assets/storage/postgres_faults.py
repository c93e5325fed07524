"""Classify errors of Postgres, from any driver: may the error pass by itself, and what does the message say.

Only the first line of an error is repeated. The rest (DETAIL, CONTEXT, SQL, parameters) may contain rows.
"""

from __future__ import annotations

import re
from typing import Any

from crypto_assets.errors import OutOfResources, PostgresUnavailable
from crypto_assets.machine.shortage import no_files_left, said_in
from crypto_assets.storage.own_servers import known_as_own, why_down
from crypto_assets.text.urls import postgres_place

# https://www.postgresql.org/docs/current/errcodes-appendix.html: 57P01 to 57P03 and 57P05: the server or session was ended
# or is starting; 53300: too many connections; 40001 and 40P01: a conflict of two transactions, one may be repeated.
_PASSING = frozenset({"57P01", "57P02", "57P03", "57P05", "53300", "40001", "40P01"})
_DISK_FULL = "53100"
_OUT_OF_MEMORY = "53200"

# Errors of libpq during connecting have no code.
_BUSY = re.compile(
    r"starting up|shutting down|in recovery mode|too many (?:clients|connections)|connection slots|not yet accepting",
    re.I,
)
_LOGIN = re.compile(
    r"password authentication failed|no password supplied|peer authentication failed|pg_hba|certificate", re.I
)
_NO_ROLE = re.compile(r'role "[^"]*" does not exist', re.I)
_NO_DATABASE = re.compile(r'database "?[^"]*"? does not exist', re.I)
_NO_SPACE = re.compile(r"no space left on device|disk full", re.I)
_LOST = re.compile(
    r"terminating connection|server closed the connection|connection (?:is|already) closed|the connection is lost|"
    r"connection to server was lost|SSL connection has been closed|broken pipe|connection reset|lost synchronization",
    re.I,
)
_REFUSED = re.compile(r"connection refused|no such file or directory", re.I)

_WORDS = (
    (_NO_SPACE, "its disk is full"),
    (re.compile(r"too many (?:clients|connections)|connection slots", re.I), "it has no free connection"),
    (re.compile(r"starting up|in recovery mode|not yet accepting", re.I), "it is starting up"),
    (re.compile(r"shutting down", re.I), "it is shutting down"),
    (_LOST, "the connection was cut"),
    (_REFUSED, "nothing answers there"),
)

_AGAIN = "what was stored stays; run this again once the server runs"


def is_lost(error: BaseException) -> bool:
    """Return whether an error of psycopg, psycopg2 or SQLAlchemy is about the server, not the statement."""
    error = _driver_error(error)
    code = _code(error)
    names = {kind.__name__ for kind in type(error).__mro__}
    if code is not None:
        return code in _PASSING or code[:2] in ("08", "53", "57", "58")
    # An InterfaceError may also be a mistake of the caller; a closed connection is not.
    return "OperationalError" in names or "PoolTimeout" in names or bool(_LOST.search(str(error)))


def is_busy(error: BaseException) -> bool:
    """Return whether a server answered that it cannot serve now: its address is right."""
    return _code(error) in ("57P03", "53300") or bool(_BUSY.search(str(error)))


def unavailable(url: str, error: BaseException) -> PostgresUnavailable | OutOfResources:
    """Return the error that names the server, never the password; or OutOfResources if the cause is a shortage here.

    `passing` says whether a retry soon may help.
    """
    error = _driver_error(error)
    said = _first_line(error)
    at = f"Postgres at {postgres_place(url)}"
    # The server's own errors have a SQLSTATE; the others come from libpq, and through it from the C library.
    if _code(error) is None and not _LOST.search(said) and (ours := said_in(said, at) or no_files_left(at)):
        return ours
    passing = _code(error) in _PASSING or str(_code(error) or "08").startswith("08")
    if _LOGIN.search(said) or _NO_ROLE.search(said):
        passing, advice = False, "correct user and password in CRYPTO_ASSETS_POSTGRES_URL"
    elif _NO_DATABASE.search(said):
        passing = False
        advice = "create the database with createdb, or correct its name in CRYPTO_ASSETS_POSTGRES_URL"
    elif _code(error) == _DISK_FULL or _NO_SPACE.search(said):
        passing, advice = False, "what was stored stays; make room there, then run this again"
    elif _code(error) == _OUT_OF_MEMORY:
        passing, advice = False, "what was stored stays; the server's machine needs more memory"
    elif _BUSY.search(said) or _LOST.search(said) or known_as_own(url):
        advice = _AGAIN
    else:
        advice = "what was stored stays; check CRYPTO_ASSETS_POSTGRES_URL and that the server runs"
    found = next((f"{words} ({_short(said)})" for text, words in _WORDS if text.search(said)), said)
    if (_NO_SPACE.search(said) or _REFUSED.search(said)) and (reason := why_down(url)):
        found = f"{found}; {reason}"
        if "make room there" in reason:  # the reason has its own advice
            advice = "what was stored stays"
    return PostgresUnavailable(f"{at}: expected an answer, found: {found}; {advice}", passing=passing)


def _short(said: str) -> str:
    """Return libpq's text without the address, which the message names: cut all up to `failed:`, or a severity."""
    return re.sub(r"^.*(?:failed: |FATAL: +|ERROR: +)", "", said)


def _driver_error(error: BaseException) -> BaseException:
    """Return the driver's own error behind one of SQLAlchemy's, which contains statement and parameters."""
    original = getattr(error, "orig", None)
    return original if isinstance(original, BaseException) else error


def _code(error: BaseException) -> str | None:
    found: Any = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return str(found) if found else None


def _first_line(error: BaseException) -> str:
    """Return the first line with content; if several addresses were tried, the first one."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # "connection to server … failed: FATAL:  …" has a line break after the colon if libpq adds a hint.
    return lines[0][:300]
