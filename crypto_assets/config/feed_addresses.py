"""Refuse a news feed that has two names: it would be asked for and stored twice."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit


def require_one_name_each(addresses: Mapping[str, str]) -> None:
    """Refuse one address under two names; the host in capital letters and port 443 make no other one.

    Raises:
        ValueError: it has both names.
    """
    names: dict[tuple[object, ...], str] = {}
    for name, address in addresses.items():
        parts = urlsplit(address)
        key = parts.hostname, parts.port or 443, parts.path or "/"
        if (other := names.setdefault(key, name)) != name:
            raise ValueError(f"expected one name for the feed {address}, found {other} and {name}; keep one of them")
