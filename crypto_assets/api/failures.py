"""Answers for unknown routes and for failures: in words, never with a traceback."""

from __future__ import annotations

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from crypto_assets.access.problem import Problem
from crypto_assets.config.error_log import keep_traceback
from crypto_assets.errors import ConfigError, OtherVersion, StoreUnavailable
from crypto_assets.machine.error_words import words_of


def answered(_: Request, error: Exception) -> Response:
    """Answer a request with its Problem."""
    assert isinstance(error, Problem)  # noqa: S101  by the table of handlers
    return error.answer()


def no_route(request: Request, error: Exception) -> Response:
    """Answer an unknown path or method."""
    assert isinstance(error, HTTPException)  # noqa: S101  by the table of handlers
    if error.status_code == 405:
        allowed = set(error.headers["Allow"].split(", ")) if error.headers else set()
        # HEAD becomes GET before it reaches a route.
        allowed |= {"HEAD"} if "GET" in allowed else set()
        return Problem(405, "wrong method", ", ".join(sorted(allowed)), request.method).answer()
    return Problem(error.status_code, str(error.detail), "a path of GET /v1", request.url.path).answer()


def not_valid(_: Request, error: Exception) -> Response:
    """Answer a request that FastAPI refuses, with the first reason."""
    assert isinstance(error, RequestValidationError)  # noqa: S101  by the table of handlers
    first = error.errors()[0]
    return Problem(400, "not valid", f"{first['loc'][-1]}: {first['msg']}", str(first["input"])).answer()


def failed(_: Request, error: Exception) -> Response:
    """Answer a request that failed; the traceback of an unexpected failure is stored in the home."""
    if isinstance(error, StoreUnavailable):
        return Problem(
            503, "the database or the lake does not answer", "its answer", words_of(error), "ask again"
        ).answer()
    if isinstance(error, OtherVersion):
        return Problem(503, "another version", "tables of this version", words_of(error), "update, restart").answer()
    if isinstance(error, ConfigError):
        return Problem(500, "wrong configuration", "a readable collection", words_of(error), "correct it").answer()
    log = keep_traceback(error)
    found = words_of(error)
    return Problem(500, "the request failed", "an answer", found, f"see {log}" if log else "please report it").answer()
