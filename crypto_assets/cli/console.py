"""Where the commands print: results to stdout, everything else to stderr.

Nothing that others have made passes as a code for the terminal or as a line of its own: `out`, `err` and `print_line` show
control characters as escapes. JSON has escapes of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from crypto_assets.text.visible import visible, visible_lines

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


class _Console(Console):
    """A console that prints each text as one line, whatever is in it; lines of ours are several texts with `sep="\\n"`."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(visible(one) if isinstance(one, str) else one for one in objects), **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a text what is drawn; all pass here, those in the cells of a table too."""
        return super().render_str(visible_lines(text), **options)


# Without emoji=False rich would print a stored text `:key:` as a picture of a key.
out = _Console(soft_wrap=True, highlight=False, emoji=False)
err = _Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)

_TERMINAL_WIDTH = max(out.width, 170)
# Rich cuts the cells of a table that is wider than this. A terminal breaks long lines by itself, and a pipe has no width.
out.width = 1_000_000


def print_line(text: str) -> None:
    """Print one line of a result as it is: no markup, no wrapping."""
    click.echo(visible(text))


def print_error(message: str) -> None:
    """Print the message of an error, which may have several lines, to stderr."""
    # Not by rich: this is said also where there is hardly any memory left.
    first, *more = map(visible, message.split("\n"))
    click.echo("\n".join((f"{click.style('error:', fg='red')} {first}", *more)), err=True)


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
    """Return a text as one line that can stand among rich's tags."""
    from rich.markup import escape

    return escape(visible(text))


def reading_address(url: str) -> str:
    """Return the address for people and their programs: the reader's on the embedded server, a named one as it is."""
    from crypto_assets.config.environment import settings
    from crypto_assets.text.urls import READER, with_user

    return url if settings().postgres_url else with_user(url, READER)


def without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    credentials, at, host = rest.rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}{at}{host}"
