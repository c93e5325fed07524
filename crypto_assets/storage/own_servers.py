"""Servers that this process has started itself: their addresses are right, and their logs say why they do not run."""

from __future__ import annotations

from collections.abc import Callable

_own: dict[str, Callable[[], str]] = {}


def is_own(url: str, why_down: Callable[[], str] = str) -> None:
    """Remember that a URL is of the embedded server, which nobody need ask whether a pooler stands before it.

    Args:
        why_down: returns why it does not run, as its log says; empty where it does not say.
    """
    _own[url] = why_down


def why_down(url: str) -> str:
    """Return why the server of a URL does not run, as far as that is known here; empty for a server of somebody else."""
    return _own[url]() if url in _own else ""


def known_as_own(url: str) -> bool:
    """Return whether a URL is of the embedded server: its address is right, for nobody has typed it."""
    return url in _own
