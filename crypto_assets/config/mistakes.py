"""Mistakes in collection.yaml in words: the place, what was expected, what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

MOST_PROBLEMS = 10
"""Most problems listed for one file; the others are counted."""

_SHOWN = 200


def explain(error: Any, known_keys: Callable[[Sequence[Any]], Iterable[str]]) -> str:
    """Return one line for one pydantic error: the place in the file, what was expected, what was found.

    Args:
        known_keys: returns the keys that may be at a place where an unknown one was found.
    """
    parts = [part if isinstance(part, int) else _plain(str(part)) for part in error["loc"]]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = f"unknown key{did_you_mean(str(error['loc'][-1]), known_keys(error['loc']))}"
    elif error["type"] == "missing":
        message = "this required key is missing"
    elif not error["type"].startswith("value_error"):
        message = f"{message}, found {_shortened(error.get('input'))}"
    return f"{place}: {message}" if place else message


def _plain(text: str) -> str:
    """Return a key of the file in a printable form."""
    return text[:_SHOWN] if text.isprintable() else repr(text[:_SHOWN])


def _shortened(value: Any) -> str:
    text = f"{len(value)} of them" if isinstance(value, list) and len(value) > MOST_PROBLEMS else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the known one that is close, or all."""
    known, word = list(known), word[:_SHOWN]  # the search takes the square of its length
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
