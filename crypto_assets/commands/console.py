"""Where the commands print: results to stdout, everything else to stderr."""

from __future__ import annotations

from rich.console import Console

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)
# Where the output is narrower, or no terminal at all, lines go on in the next one; rich would cut the cells of a table.
out.width = max(out.width, 170)


def escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def reading_address(url: str) -> str:
    """Return the address for people and their programs: the reader's on the embedded server, a named one as it is."""
    from crypto_assets.config import settings
    from crypto_assets.urls import READER, with_user

    return url if settings().postgres_url else with_user(url, READER)


def without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    credentials, at, host = rest.rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}{at}{host}"
