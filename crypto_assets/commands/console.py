"""Where the commands print: results to stdout, everything else to stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.table import Table

# Without emoji=False rich would print a stored text `:key:` as a picture of a key.
out = Console(soft_wrap=True, highlight=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)

_TERMINAL_WIDTH = max(out.width, 170)
# Rich cuts the cells of a table that is wider than this. A terminal breaks long lines by itself, and a pipe has no width.
out.width = 1_000_000


def print_table(table: Table, *, markup: bool = False, fold: bool = False) -> None:
    """Print a table with every value whole, whatever the width of the output.

    Args:
        markup: whether the cells have rich's tags; others are printed as they are, brackets too.
        fold: on a terminal, go on in the next line of a cell where the table is too wide for it.
    """
    out.print(table, markup=markup, width=_TERMINAL_WIDTH if fold and out.is_terminal else None)


def counted(number: int, noun: str) -> str:
    """Return `1 day`, `1,440 days`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


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
