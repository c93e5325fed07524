"""Servers that this process started itself: their addresses are right, and their logs say why they do not run."""

from __future__ import annotations

from collections.abc import Callable

_own: dict[str, Callable[[], str]] = {}


def is_own(url: str, why_down: Callable[[], str] = str) -> None:
    """Remember that a URL belongs to the embedded server; it has no pooler in front.

    Args:
        why_down: returns the reason from its log why it does not run; empty if the log gives none.
    """
    _own[url] = why_down


def why_down(url: str) -> str:
    """Return why the server of a URL does not run, if known; empty for a server that this process did not start."""
    return _own[url]() if url in _own else ""


def known_as_own(url: str) -> bool:
    """Return whether a URL belongs to the embedded server: nobody typed its address, so it is right."""
    return url in _own
